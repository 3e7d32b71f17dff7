//! Many clients of one key spend its budget.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tintype_ledger::policy::Policy;

use crate::client::{ApiRequest, Client, ConnectionLost};
use crate::keys;
use crate::report::Report;
use crate::server::{Server, ServerOptions, Storage};

const CLIENTS: usize = 100;
const BUDGET: f64 = 20.0;
const SLOTS: usize = 8;
/// Minimum reservation of the service for a job, in engine seconds.
const MIN_RESERVATION: f64 = 1.0;
/// Several times the time that it takes to spend the budget.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Number of responses by status, and the signal to stop.
#[derive(Default)]
struct Counts {
    created: AtomicU64,
    budget_exceeded: AtomicU64,
    other: AtomicU64,
    stopped: AtomicBool,
}

pub(crate) async fn run(report: &mut Report) -> Result<()> {
    report.section(&format!(
        "budget: {CLIENTS} clients of one key, {BUDGET} engine seconds a day, jobs of 0.1 s on {SLOTS} slots"
    ))?;
    let folder = tempfile::tempdir()?;
    let options = ServerOptions {
        folder: folder.path().to_owned(),
        storage: Storage::Folder,
        step: Duration::from_millis(25),
        slots: SLOTS,
        queue: 2 * CLIENTS,
        anonymous: false,
    };
    let unlimited = keys::create(&options, &["unlimited"], &Policy::default()).await?.swap_remove(0);
    let budgets = vec![format!("{BUDGET}s/day").parse().context("a budget")?];
    let policy = Policy { budgets, ..Policy::default() };
    let key = keys::create(&options, &["acme"], &policy).await?.swap_remove(0);
    let server = Server::start(&options).await?;
    let client = Arc::new(Client::new(server.address));
    // Until the service has measured a job, it reserves the maximum time of a job, which exceeds this budget.
    client.send(ApiRequest::create_image(&json!({"prompt": "measured"})).key(&unlimited)).await?;

    let (counts, began) = (Arc::<Counts>::default(), Instant::now());
    let clients: Vec<_> =
        (0..CLIENTS).map(|_| tokio::spawn(spend(client.clone(), key.clone(), counts.clone()))).collect();
    let usage = loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let usage = client.send(ApiRequest::get("/v1/usage").key(&key)).await?.json();
        let today = &usage["data"][0];
        let reserved = today["reserved_engine_seconds"].as_f64().unwrap_or(f64::MAX);
        let spent = today["engine_seconds"].as_f64().unwrap_or_default();
        if reserved == 0.0 && spent + MIN_RESERVATION > BUDGET {
            break usage;
        }
        if began.elapsed() > TIMEOUT {
            bail!("the budget was not spent within {TIMEOUT:?}: {usage}");
        }
    };
    let elapsed = began.elapsed();
    counts.stopped.store(true, Ordering::SeqCst);
    for client in clients {
        client.await??;
    }
    report_results(report, &usage, &counts, elapsed)
}

/// Creates one image after the other, with a pause of 50 ms after an error response.
async fn spend(client: Arc<Client>, key: String, counts: Arc<Counts>) -> Result<(), ConnectionLost> {
    while !counts.stopped.load(Ordering::SeqCst) {
        let request =
            ApiRequest::create_image(&json!({"prompt": format!("picture {}", fastrand::u64(..))})).key(&key);
        let response = client.send(request).await?;
        let count = match response.status.as_u16() {
            201 => &counts.created,
            402 => &counts.budget_exceeded,
            _ => &counts.other,
        };
        count.fetch_add(1, Ordering::SeqCst);
        if response.status.as_u16() != 201 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(())
}

fn report_results(report: &mut Report, usage: &Value, counts: &Counts, elapsed: Duration) -> Result<()> {
    let today = &usage["data"][0];
    let spent = today["engine_seconds"].as_f64().context("the usage has no engine_seconds")?;
    // A job takes less time than its reservation, so the budget must not be exceeded.
    report.row("spent, engine seconds", format_args!("{spent:.3}"), format_args!("at most {BUDGET}"))?;
    report.check("milliseconds above the budget", ((spent - BUDGET).max(0.0) * 1e3) as i128, 0)?;
    let created = counts.created.load(Ordering::SeqCst);
    report.check(
        "charged jobs minus responses 201",
        i128::from(today["jobs"].as_u64().unwrap_or(0)) - i128::from(created),
        0,
    )?;
    report.row("created (201)", created, "")?;
    report.row("rejected (402)", counts.budget_exceeded.load(Ordering::SeqCst), "")?;
    report.row("other responses", counts.other.load(Ordering::SeqCst), "0")?;
    report.row("time until the budget was spent", format_args!("{:.1} s", elapsed.as_secs_f64()), "")
}
