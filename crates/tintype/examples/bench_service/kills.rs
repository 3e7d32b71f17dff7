//! Kills the server repeatedly under load, and checks that every accepted job finishes and is charged once.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use tintype_core::store::{Key, StoreError};
use tintype_ledger::policy::Policy;
use tokio::sync::watch;

use crate::chaos::{ChaosClients, Load, Observations, is_final};
use crate::client::Client;
use crate::job_totals::JobTotals;
use crate::keys;
use crate::report::Report;
use crate::seaweedfs::SeaweedFs;
use crate::server::{Server, ServerOptions, Storage};

const CUSTOMERS: [&str; 3] = ["acme", "beta", "corp"];

/// When servers are killed, and under which load.
struct KillSchedule {
    /// Number of kills.
    kills: u32,
    /// Lifetime of a server, a random value of this range.
    lifetime: std::ops::Range<Duration>,
    /// The load on the servers.
    load: Load,
    /// Maximum time for the last server to finish all jobs.
    settle_timeout: Duration,
}

/// With SQLite and the embedded store.
pub(crate) async fn sqlite(report: &mut Report, times: u32) -> Result<()> {
    report.section(&format!(
        "kills: SQLite and the embedded store, kill -9 at {times} random times under a mixed load"
    ))?;
    let schedule = KillSchedule {
        kills: times,
        lifetime: Duration::from_millis(5)..Duration::from_millis(500),
        load: Load { clients_per_key: 6, pause: Duration::from_millis(5) },
        settle_timeout: Duration::from_secs(60),
    };
    run(report, Storage::Folder, &schedule).await
}

/// With ledger and images in a bucket of SeaweedFS. There, a killed worker's job is taken over only after its
/// lease of 60 s has expired and the search for lost jobs (every 30 s) has found it. So there are fewer
/// kills, and a longer wait at the end.
pub(crate) async fn bucket(report: &mut Report, times: u32, program: &Path) -> Result<()> {
    report.section(&format!(
        "bucket: ledger and images in SeaweedFS, kill -9 at {times} random times; jobs of killed workers \
         restart when their lease of 60 s has expired, so the run waits for that at the end"
    ))?;
    let seaweedfs = SeaweedFs::start(program).await?;
    let schedule = KillSchedule {
        kills: times,
        lifetime: Duration::from_millis(100)..Duration::from_secs(4),
        load: Load { clients_per_key: 2, pause: Duration::from_millis(50) },
        settle_timeout: Duration::from_secs(240),
    };
    run(report, Storage::Bucket(seaweedfs.url.clone()), &schedule).await
}

async fn run(report: &mut Report, storage: Storage, schedule: &KillSchedule) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let options = ServerOptions {
        folder: folder.path().to_owned(),
        storage,
        step: Duration::from_millis(2),
        slots: 2,
        queue: 64,
        anonymous: false,
    };
    let keys = keys::create(&options, &CUSTOMERS, &Policy::default()).await?;
    let (address, server) = watch::channel(None);
    let (clients, mut tasks) = ChaosClients::start(&keys, schedule.load, server);
    let began = Instant::now();
    for _ in 0..schedule.kills {
        let server = Server::start(&options).await?;
        address.send_replace(Some(server.address));
        let span = schedule.lifetime.end - schedule.lifetime.start;
        tokio::time::sleep(schedule.lifetime.start + span.mul_f64(fastrand::f64())).await;
        server.kill().await?;
        address.send_replace(None);
    }
    let elapsed = began.elapsed();
    let server = Server::start(&options).await?;
    address.send_replace(Some(server.address));
    clients.stop();
    while tasks.join_next().await.is_some() {}
    let totals = JobTotals::read(&Client::new(server.address), &keys, schedule.settle_timeout).await?;
    server.kill().await?;
    report.row("duration in minutes", format_args!("{:.1}", elapsed.as_secs_f64() / 60.0), "")?;
    let settled = format!("{:.1} s", totals.settled_in.as_secs_f64());
    report.row("time until the last server had finished all jobs", settled, "")?;
    {
        let observations = clients.observations();
        report_responses(report, &observations)?;
        report_jobs(report, &observations, &totals)?;
    }
    report_charges(report, &options.storage, &totals)?;
    report.check("images missing from the store", missing_images(&options, &totals).await?, 0)
}

/// The responses to clients.
fn report_responses(report: &mut Report, observed: &Observations) -> Result<()> {
    report.row(
        "requests with a response / without, due to a kill",
        format_args!("{} / {}", observed.responses, observed.lost),
        "",
    )?;
    for (status, count) in &observed.errors {
        report.row(format_args!("  {status}"), count, "")?;
    }
    let missing =
        observed.errors.iter().filter(|(status, _)| status.starts_with("404")).map(|(_, count)| count);
    report.check("responses 404 for accepted jobs", missing.sum::<u64>().into(), 0)
}

/// The final status of jobs.
fn report_jobs(report: &mut Report, observed: &Observations, totals: &JobTotals) -> Result<()> {
    report.row("accepted: jobs in responses", observed.jobs.len(), "")?;
    report.row("jobs in the ledger, also those without a response", totals.jobs.len(), "")?;
    for status in ["succeeded", "failed", "canceled"] {
        report.row(format_args!("  {status}"), totals.count(status), "")?;
    }
    let is_finished = |id: &String| totals.jobs.get(id).is_some_and(|job| is_final(&job.status));
    let lost = observed.jobs.keys().filter(|id| !is_finished(id)).count();
    report.check("lost: accepted and not finished", lost as i128, 0)?;
    let unfinished = totals.jobs.values().filter(|job| !is_final(&job.status)).count();
    report.check("in the ledger and not finished", unfinished as i128, 0)?;
    for contradiction in observed.contradictions.iter().take(5) {
        report.line(format_args!("    {contradiction}"))?;
    }
    report.check("disappeared, or changed their final status", observed.contradictions.len() as i128, 0)?;
    let status_of = |id: &String| totals.jobs.get(id).map(|job| &job.status);
    let changed = observed
        .jobs
        .iter()
        .filter(|(id, job)| job.final_status.is_some() && job.final_status.as_ref() != status_of(id));
    report.check("final status differs from the ledger's", changed.count() as i128, 0)?;
    let canceled = observed.jobs.iter().filter(|(id, job)| {
        job.must_finish && !job.cancel_requested && status_of(id).is_some_and(|status| status == "canceled")
    });
    report.check("202 or idempotent, canceled without a request", canceled.count() as i128, 0)?;
    let mut prompts: HashMap<&str, usize> = HashMap::new();
    for job in totals.jobs.values() {
        *prompts.entry(&job.prompt).or_default() += 1;
    }
    let violations = observed
        .idempotent
        .iter()
        .filter(|(prompt, ids)| ids.len() > 1 || prompts.get(prompt.as_str()) != Some(&1));
    report.row("idempotency keys", observed.idempotent.len(), "")?;
    report.check("idempotency keys with more or less than one job", violations.count() as i128, 0)
}

/// The charges for all jobs.
fn report_charges(report: &mut Report, storage: &Storage, totals: &JobTotals) -> Result<()> {
    let cost: i128 = totals.jobs.values().map(|job| job.engine_ms).sum();
    report.row("engine seconds of all jobs", format_args!("{:.3}", cost as f64 / 1e3), "")?;
    report.check("engine ms charged above that (charged twice)", totals.overcharged_ms, 0)?;
    report.check("engine ms not charged", totals.undercharged_ms, 0)?;
    match storage {
        // In a bucket, a reservation and its job are two objects. A kill between the two writes leaves a
        // reservation.
        Storage::Bucket(_) => report.row(
            "engine ms still reserved",
            totals.reserved_ms,
            "left by kills between a reservation and its job; expires after 5 min",
        ),
        _ => report.check("engine ms still reserved", totals.reserved_ms, 0),
    }
}

async fn missing_images(options: &ServerOptions, totals: &JobTotals) -> Result<i128> {
    let store = options.store("http://127.0.0.1:1").await?;
    let mut missing = 0;
    for key in totals.jobs.values().flat_map(|job| &job.images) {
        match store.head(&Key::new(key.clone())?).await {
            Ok(_) => {}
            Err(StoreError::NotFound) => missing += 1,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(missing)
}
