//! A server that is killed again and again while clients use it: what was accepted ends, and is charged once.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use tintype_core::store::{Key, StoreError};
use tintype_ledger::policy::Policy;
use tokio::sync::watch;

use crate::chaos::{Crowd, Heard, is_final};
use crate::client::Client;
use crate::figures::Sheet;
use crate::job_totals::Books;
use crate::keys;
use crate::server::{Place, Server, Setup};
use crate::weed::Weed;

const CUSTOMERS: [&str; 3] = ["acme", "beta", "corp"];

/// How a server is treated.
struct Treatment {
    times: u32,
    /// It lives so long, at random, once it listens.
    lives: std::ops::Range<Duration>,
    /// Clients of each key, and how long each of them pauses between two requests.
    clients: (usize, Duration),
    /// How long the last one may take to end every job.
    patience: Duration,
}

/// With the ledger in SQLite and the embedded store.
pub(crate) async fn sqlite(sheet: &mut Sheet, times: u32) -> Result<()> {
    sheet.part(&format!(
        "kills: SQLite and the embedded store, kill -9 at {times} random moments of a mixed load"
    ))?;
    let treatment = Treatment {
        times,
        lives: Duration::from_millis(5)..Duration::from_millis(500),
        clients: (6, Duration::from_millis(5)),
        patience: Duration::from_secs(60),
    };
    run(sheet, Place::Folder, &treatment).await
}

/// With both in a bucket of SeaweedFS. Nobody knows there whether a job's worker is dead before its lease is over, so there
/// are fewer kills, and a wait of more than a lease (60 s) and a round of the search for lost jobs (30 s) at the end.
pub(crate) async fn bucket(sheet: &mut Sheet, times: u32, program: &Path) -> Result<()> {
    sheet.part(&format!(
        "bucket: ledger and pictures in SeaweedFS, kill -9 at {times} random moments; lost jobs come back when their lease \
         of 60 s is over, so it waits for that at the end"
    ))?;
    let weed = Weed::start(program).await?;
    let treatment = Treatment {
        times,
        lives: Duration::from_millis(100)..Duration::from_secs(4),
        clients: (2, Duration::from_millis(50)),
        patience: Duration::from_secs(240),
    };
    run(sheet, Place::Bucket(weed.url.clone()), &treatment).await
}

async fn run(sheet: &mut Sheet, place: Place, treatment: &Treatment) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let setup = Setup {
        folder: folder.path().to_owned(),
        place,
        step: Duration::from_millis(2),
        slots: 2,
        queue: 64,
        anonymous: false,
    };
    let keys = keys::make(&setup, &CUSTOMERS, &Policy::default()).await?;
    let (here, server) = watch::channel(None);
    let (crowd, mut clients) = Crowd::gather(&keys, treatment.clients, server);
    let began = Instant::now();
    for _ in 0..treatment.times {
        let server = Server::start(&setup).await?;
        here.send_replace(Some(server.address));
        let span = treatment.lives.end - treatment.lives.start;
        tokio::time::sleep(treatment.lives.start + span.mul_f64(fastrand::f64())).await;
        server.kill().await?;
        here.send_replace(None);
    }
    let took = began.elapsed();
    let server = Server::start(&setup).await?;
    here.send_replace(Some(server.address));
    crowd.go_home();
    while clients.join_next().await.is_some() {}
    let books = Books::read(&Client::new(server.address), &keys, treatment.patience).await?;
    server.kill().await?;
    sheet.row("minutes of it", format_args!("{:.1}", took.as_secs_f64() / 60.0), "")?;
    let settled = format!("{:.1} s", books.settled_in.as_secs_f64());
    sheet.row("until the last server had ended all jobs", settled, "")?;
    {
        let heard = crowd.heard();
        answers(sheet, &heard)?;
        ends(sheet, &heard, &books)?;
    }
    charges(sheet, &setup.place, &books)?;
    sheet.claim("pictures that are not in the store", missing(&setup, &books).await?, 0)
}

/// What clients were answered.
fn answers(sheet: &mut Sheet, heard: &Heard) -> Result<()> {
    sheet.row(
        "requests answered / cut off by a kill",
        format_args!("{} / {}", heard.answers, heard.cut),
        "",
    )?;
    for (status, count) in &heard.refused {
        sheet.row(format_args!("  {status}"), count, "")?;
    }
    let missed = heard.refused.iter().filter(|(status, _)| status.starts_with("404")).map(|(_, count)| count);
    sheet.claim("answered 404 for what had been accepted", missed.sum::<u64>().into(), 0)
}

/// What became of the jobs.
fn ends(sheet: &mut Sheet, heard: &Heard, books: &Books) -> Result<()> {
    sheet.row("accepted: jobs that an answer named", heard.jobs.len(), "")?;
    sheet.row("in the ledger, with those whose answer was cut off", books.jobs.len(), "")?;
    for status in ["succeeded", "failed", "canceled"] {
        sheet.row(format_args!("  {status}"), books.count(status), "")?;
    }
    let ended = |id: &String| books.jobs.get(id).is_some_and(|job| is_final(&job.status));
    let lost = heard.jobs.keys().filter(|id| !ended(id)).count();
    sheet.claim("lost: accepted and never ended", lost as i128, 0)?;
    let open = books.jobs.values().filter(|job| !is_final(&job.status)).count();
    sheet.claim("in the ledger and never ended", open as i128, 0)?;
    for wrong in heard.wrong.iter().take(5) {
        sheet.line(format_args!("    {wrong}"))?;
    }
    sheet.claim("gone, or ended twice and differently", heard.wrong.len() as i128, 0)?;
    let now = |id: &String| books.jobs.get(id).map(|job| &job.status);
    let turned =
        heard.jobs.iter().filter(|(id, told)| told.ended.is_some() && told.ended.as_ref() != now(id));
    sheet.claim("ended, and now otherwise", turned.count() as i128, 0)?;
    let stopped = heard.jobs.iter().filter(|(id, told)| {
        told.kept && !told.canceled && now(id).is_some_and(|status| status == "canceled")
    });
    sheet.claim("promised (202 or idempotent), canceled by nobody", stopped.count() as i128, 0)?;
    let mut prompts: HashMap<&str, usize> = HashMap::new();
    for job in books.jobs.values() {
        *prompts.entry(&job.prompt).or_default() += 1;
    }
    let twice =
        heard.named.iter().filter(|(prompt, ids)| ids.len() > 1 || prompts.get(prompt.as_str()) != Some(&1));
    sheet.row("idempotency keys", heard.named.len(), "")?;
    sheet.claim("idempotency keys with two jobs, or none", twice.count() as i128, 0)
}

/// What was charged for them.
fn charges(sheet: &mut Sheet, place: &Place, books: &Books) -> Result<()> {
    let cost: i128 = books.jobs.values().map(|job| job.engine_ms).sum();
    sheet.row("engine seconds of all jobs", format_args!("{:.3}", cost as f64 / 1e3), "")?;
    sheet.claim("charged twice: engine ms booked beyond that", books.charged_beyond, 0)?;
    sheet.claim("engine ms not booked", books.charged_short, 0)?;
    match place {
        // A reservation and its job are two objects there, and a kill may leave the first without the second.
        Place::Bucket(_) => sheet.row(
            "engine ms still reserved",
            books.reserved,
            "left by kills between a reservation and its job; free after 5 min, when needed",
        ),
        _ => sheet.claim("engine ms still reserved", books.reserved, 0),
    }
}

async fn missing(setup: &Setup, books: &Books) -> Result<i128> {
    let store = setup.store("http://127.0.0.1:1").await?;
    let mut missing = 0;
    for key in books.jobs.values().flat_map(|job| &job.pictures) {
        match store.head(&Key::new(key.clone())?).await {
            Ok(_) => {}
            Err(StoreError::NotFound) => missing += 1,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(missing)
}
