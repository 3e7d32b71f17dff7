//! Ten times as much as the engine can do.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use async_trait::async_trait;
use serde_json::json;
use tintype_core::engine::{Engine, Observer, Progress};
use tintype_core::request::{Draft, RequestLimits};
use tintype_ledger::policy::Policy;
use tintype_testing::NullEngine;
use tokio::task::JoinSet;

use crate::client::{Ask, Client};
use crate::figures::{Sheet, Times};
use crate::keys;
use crate::server::{Place, REFUSALS, Server, Setup};

/// Of a job with one step.
const STEP: Duration = Duration::from_millis(20);
const QUEUE: usize = 32;
const TIMES_CAPACITY: f64 = 10.0;
/// Until caches are warm and the queue is full; nothing before it counts.
const WARM_UP: Duration = Duration::from_secs(3);

/// What the clients saw after the warm-up.
#[derive(Default)]
struct Seen {
    good: Times,
    refused: Times,
    other: u64,
}

pub(crate) async fn run(sheet: &mut Sheet, lasts: Duration) -> Result<()> {
    let capacity = alone(Duration::from_secs(3)).await?;
    for anonymous in [true, false] {
        one(sheet, capacity, lasts, anonymous).await?;
    }
    Ok(())
}

/// Jobs per second of the engine with nothing around it: its timer has a grain, so that is less than one per 20 ms.
async fn alone(lasts: Duration) -> Result<f64> {
    struct Nobody;
    #[async_trait]
    impl Observer for Nobody {
        fn progress(&self, _: Progress) {}
        fn is_abandoned(&self) -> bool {
            false
        }
    }
    let engine = NullEngine::new(STEP);
    let draft = Draft { prompt: Some("alone".into()), steps: Some(1), ..Draft::default() };
    let request = draft.check(engine.model(), &RequestLimits::for_model(engine.model()), 1);
    let request = Arc::new(request.ok().context("a request that the engine takes")?);
    let began = Instant::now();
    while began.elapsed() < lasts {
        engine.generate(request.clone(), Arc::new(Nobody)).await?;
    }
    Ok(engine.finished() as f64 / began.elapsed().as_secs_f64())
}

async fn one(sheet: &mut Sheet, capacity: f64, lasts: Duration, anonymous: bool) -> Result<()> {
    let offered = capacity * TIMES_CAPACITY;
    let who = if anonymous { "without a key" } else { "with a key" };
    sheet.part(&format!(
        "overload, {who}: {offered:.0} requests/s for {} s, {capacity:.1}/s can be done, {QUEUE} may wait",
        lasts.as_secs()
    ))?;
    let folder = tempfile::tempdir()?;
    let setup = Setup {
        folder: folder.path().to_owned(),
        place: Place::Folder,
        step: STEP,
        slots: 1,
        queue: QUEUE,
        anonymous,
    };
    let key = match anonymous {
        true => String::new(),
        false => keys::make(&setup, &["acme"], &Policy::default()).await?.swap_remove(0),
    };
    let server = Server::start(&setup).await?;
    let client = Arc::new(Client::new(server.address));
    let (seen, began) = (Arc::<Mutex<Seen>>::default(), Instant::now());
    let (mut asking, mut resident) = (JoinSet::new(), Vec::new());
    let mut arrival = Duration::ZERO;
    let until = WARM_UP + lasts;
    while arrival < until {
        // Arrivals of clients who know nothing of each other.
        arrival += Duration::from_secs_f64(-(1.0 - fastrand::f64()).ln() / offered);
        tokio::time::sleep_until((began + arrival).into()).await;
        let ask = Ask::picture(&json!({"prompt": format!("picture {arrival:?}"), "steps": 1})).key(&key);
        asking.spawn(ask_once(client.clone(), ask, (began, arrival, until), seen.clone()));
        while asking.try_join_next().is_some() {}
        if began.elapsed() > WARM_UP + lasts * resident.len() as u32 / 10 && resident.len() < 10 {
            resident.extend(server.resident());
        }
    }
    resident.extend(server.resident());
    asking.join_all().await;
    let served = client.send(Ask::get(REFUSALS)).await?.json();
    let mut seen = std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner));
    let all = (seen.good.len() + seen.refused.len()) as f64 + seen.other as f64;
    let rate = seen.good.len() as f64 / lasts.as_secs_f64();
    sheet.row("asked per second, really", format_args!("{:.0}", all / lasts.as_secs_f64()), "")?;
    sheet.row(
        "pictures per second, and of what can be done",
        format_args!("{rate:.1} = {:.1}%", rate / capacity * 100.0),
        "≥ 95%",
    )?;
    let longest = (QUEUE + 1) as f64 / rate * 1e3;
    sheet.row("accepted: p50 / p99", seen.good.told(), format_args!("the whole queue: {longest:.0} ms"))?;
    let share = seen.refused.len() as f64 / all * 100.0;
    sheet.row("refused (429)", format_args!("{} = {share:.1}%", seen.refused.len()), "")?;
    sheet.row(
        "refused: p50 / p99 at the client",
        seen.refused.told(),
        "client and server share the machine",
    )?;
    let served = format!(
        "{:.2} / {:.2} ms",
        served["p50"].as_f64().unwrap_or(-1.0),
        served["p99"].as_f64().unwrap_or(-1.0)
    );
    sheet.row("refused: p50 / p99 in the server", served, "≤ 5 ms")?;
    sheet.row("answered otherwise", seen.other, "0")?;
    let at = |part: usize| resident.get((resident.len() - 1) * part / 10).copied().unwrap_or_default();
    if !resident.is_empty() {
        let told = format!("{:.1} / {:.1} / {:.1} MiB", at(0), at(5), at(10));
        sheet.row("server's memory: start / middle / end", told, "flat")?;
    }
    Ok(())
}

/// Asks, and notes what came of it and how long it took from the moment that was planned for it.
async fn ask_once(
    client: Arc<Client>,
    ask: Ask,
    (began, arrival, until): (Instant, Duration, Duration),
    seen: Arc<Mutex<Seen>>,
) {
    let answer = client.send(ask).await;
    let ended = began.elapsed();
    // What is answered in these seconds counts, whenever it was asked.
    if ended < WARM_UP || ended >= until {
        return;
    }
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    match answer.map(|answer| answer.status.as_u16()) {
        Ok(201) => seen.good.push(ended - arrival),
        Ok(429) => seen.refused.push(ended - arrival),
        _ => seen.other += 1,
    }
}
