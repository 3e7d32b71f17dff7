//! Sends ten times as many requests as the engine can process.

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

use crate::client::{ApiRequest, Client};
use crate::keys;
use crate::report::{Latencies, Report};
use crate::server::{REJECTIONS_PATH, Server, ServerOptions, Storage};

/// Duration of a step; each job has one step.
const STEP: Duration = Duration::from_millis(20);
const QUEUE: usize = 32;
/// Request rate as a multiple of the engine's capacity.
const LOAD_FACTOR: f64 = 10.0;
/// Warm-up of the caches and the queue; responses in this time are not counted.
const WARM_UP: Duration = Duration::from_secs(3);

/// The responses after the warm-up.
#[derive(Default)]
struct Responses {
    created: Latencies,
    rejected: Latencies,
    other: u64,
}

/// Whether requests have an API key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Caller {
    Anonymous,
    WithKey,
}

pub(crate) async fn run(report: &mut Report, duration: Duration) -> Result<()> {
    let capacity = measure_capacity(Duration::from_secs(3)).await?;
    for caller in [Caller::Anonymous, Caller::WithKey] {
        run_overload(report, capacity, duration, caller).await?;
    }
    Ok(())
}

/// Jobs per second of the engine alone. Its timer's resolution makes that less than one job per 20 ms.
async fn measure_capacity(duration: Duration) -> Result<f64> {
    struct NullObserver;
    #[async_trait]
    impl Observer for NullObserver {
        fn progress(&self, _: Progress) {}
        fn is_abandoned(&self) -> bool {
            false
        }
    }
    let engine = NullEngine::new(STEP);
    let draft = Draft { prompt: Some("alone".into()), steps: Some(1), ..Draft::default() };
    let request = draft.check(engine.model(), &RequestLimits::for_model(engine.model()), 1);
    let request = Arc::new(request.ok().context("the request is invalid")?);
    let began = Instant::now();
    while began.elapsed() < duration {
        engine.generate(request.clone(), Arc::new(NullObserver)).await?;
    }
    Ok(engine.finished() as f64 / began.elapsed().as_secs_f64())
}

async fn run_overload(report: &mut Report, capacity: f64, duration: Duration, caller: Caller) -> Result<()> {
    let offered = capacity * LOAD_FACTOR;
    let caller_label = match caller {
        Caller::Anonymous => "without a key",
        Caller::WithKey => "with a key",
    };
    report.section(&format!(
        "overload, {caller_label}: {offered:.0} requests/s for {} s, capacity {capacity:.1}/s, \
         queue of {QUEUE}",
        duration.as_secs()
    ))?;
    let folder = tempfile::tempdir()?;
    let options = ServerOptions {
        folder: folder.path().to_owned(),
        storage: Storage::Folder,
        step: STEP,
        slots: 1,
        queue: QUEUE,
        anonymous: caller == Caller::Anonymous,
    };
    let key = match caller {
        Caller::Anonymous => String::new(),
        Caller::WithKey => keys::create(&options, &["acme"], &Policy::default()).await?.swap_remove(0),
    };
    let server = Server::start(&options).await?;
    let client = Arc::new(Client::new(server.address));
    let timing = Timing { began: Instant::now(), end: WARM_UP + duration };
    let responses = Arc::<Mutex<Responses>>::default();
    let (mut requests, mut memory) = (JoinSet::new(), Vec::new());
    let mut scheduled = Duration::ZERO;
    while scheduled < timing.end {
        // Requests of independent clients arrive as a Poisson process.
        scheduled += Duration::from_secs_f64(-(1.0 - fastrand::f64()).ln() / offered);
        tokio::time::sleep_until((timing.began + scheduled).into()).await;
        let body = json!({"prompt": format!("picture {scheduled:?}"), "steps": 1});
        let request = ApiRequest::create_image(&body).key(&key);
        requests.spawn(send_one(client.clone(), request, scheduled, timing, responses.clone()));
        while requests.try_join_next().is_some() {}
        if timing.began.elapsed() > WARM_UP + duration * memory.len() as u32 / 10 && memory.len() < 10 {
            memory.extend(server.resident());
        }
    }
    memory.extend(server.resident());
    requests.join_all().await;
    let in_server = client.send(ApiRequest::get(REJECTIONS_PATH)).await?.json();
    let mut responses = std::mem::take(&mut *responses.lock().unwrap_or_else(PoisonError::into_inner));
    let total = (responses.created.len() + responses.rejected.len()) as f64 + responses.other as f64;
    let rate = responses.created.len() as f64 / duration.as_secs_f64();
    report.row("actual requests per second", format_args!("{:.0}", total / duration.as_secs_f64()), "")?;
    report.row(
        "images per second, and share of the capacity",
        format_args!("{rate:.1} = {:.1}%", rate / capacity * 100.0),
        "≥ 95%",
    )?;
    let full_queue_ms = (QUEUE + 1) as f64 / rate * 1e3;
    report.row(
        "created (201): latency p50 / p99",
        responses.created.summary(),
        format_args!("the whole queue: {full_queue_ms:.0} ms"),
    )?;
    let share = responses.rejected.len() as f64 / total * 100.0;
    report.row("rejected (429)", format_args!("{} = {share:.1}%", responses.rejected.len()), "")?;
    report.row(
        "rejected: latency p50 / p99 in the client",
        responses.rejected.summary(),
        "client and server share the machine",
    )?;
    let in_server = format!(
        "{:.2} / {:.2} ms",
        in_server["p50"].as_f64().unwrap_or(-1.0),
        in_server["p99"].as_f64().unwrap_or(-1.0)
    );
    report.row("rejected: latency p50 / p99 in the server", in_server, "≤ 5 ms")?;
    report.row("other responses", responses.other, "0")?;
    let at = |tenth: usize| memory.get((memory.len() - 1) * tenth / 10).copied().unwrap_or_default();
    if !memory.is_empty() {
        let resident = format!("{:.1} / {:.1} / {:.1} MiB", at(0), at(5), at(10));
        report.row("server's memory: start / middle / end", resident, "constant")?;
    }
    Ok(())
}

/// The start of a run, and its end relative to the start.
#[derive(Clone, Copy)]
struct Timing {
    began: Instant,
    end: Duration,
}

/// Sends a request and records the response. The latency starts at the time for which the request was
/// scheduled.
async fn send_one(
    client: Arc<Client>,
    request: ApiRequest,
    scheduled: Duration,
    timing: Timing,
    responses: Arc<Mutex<Responses>>,
) {
    let response = client.send(request).await;
    let received = timing.began.elapsed();
    // Count the responses that arrive after the warm-up and before the end.
    if received < WARM_UP || received >= timing.end {
        return;
    }
    let mut responses = responses.lock().unwrap_or_else(PoisonError::into_inner);
    match response.map(|response| response.status.as_u16()) {
        Ok(201) => responses.created.push(received - scheduled),
        Ok(429) => responses.rejected.push(received - scheduled),
        _ => responses.other += 1,
    }
}
