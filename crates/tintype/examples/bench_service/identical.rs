//! A thousand identical requests at the same time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;
use tintype_ledger::policy::Policy;
use tokio::sync::Barrier;

use crate::client::{ApiRequest, Client, ConnectionLost};
use crate::keys;
use crate::report::{Latencies, Report};
use crate::server::{Server, ServerOptions, Storage};

const REQUESTS: usize = 1_000;
/// Duration of the job: long enough for all requests to arrive while it runs.
const JOB: Duration = Duration::from_secs(1);

pub(crate) async fn run(report: &mut Report) -> Result<()> {
    report.section(&format!(
        "identical: {REQUESTS} requests at once, one key, an explicit seed, a job of {JOB:?}"
    ))?;
    let folder = tempfile::tempdir()?;
    let options = ServerOptions {
        folder: folder.path().to_owned(),
        storage: Storage::Folder,
        step: JOB / 4,
        slots: 1,
        queue: 32,
        anonymous: false,
    };
    let keys = keys::create(&options, &["acme", "admin"], &Policy::default()).await?;
    let server = Server::start(&options).await?;
    let client = Arc::new(Client::new(server.address));
    client.warm_up(REQUESTS).await?;
    let request = ApiRequest::create_image(&json!({"prompt": "a tiger", "seed": 7})).key(&keys[0]);
    let gate = Arc::new(Barrier::new(REQUESTS));
    let requests: Vec<_> = (0..REQUESTS)
        .map(|_| {
            let (client, request, gate) = (client.clone(), request.clone(), gate.clone());
            tokio::spawn(async move {
                gate.wait().await;
                let sent = Instant::now();
                Ok::<_, ConnectionLost>((client.send(request).await?, sent.elapsed()))
            })
        })
        .collect();
    let mut latencies = Latencies::default();
    let mut images = BTreeSet::new();
    let (mut created, mut charged, mut free, mut stored) = (0, 0, 0, 0);
    for request in requests {
        let (response, latency) = request.await??;
        latencies.push(latency);
        let body = response.json();
        if response.status.as_u16() == 201 {
            created += 1;
            let link = body["images"][0]["url"].as_str().unwrap_or_default().to_owned();
            images.insert(link.split('?').next().unwrap_or_default().to_owned());
        }
        match body["cost"]["engine_seconds"].as_f64() {
            Some(cost) if cost > 0.0 => charged += 1,
            Some(_) => free += 1,
            None => {}
        }
        stored += i32::from(body["cache"] == "hit");
    }
    let metrics = client.send(ApiRequest::get("/metrics").key(&keys[1])).await?;
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    let generations =
        metrics.lines().find_map(|line| line.strip_prefix("tintype_generations_total{")?.split_once("} "));
    report.check("generations", generations.and_then(|(_, count)| count.parse().ok()).unwrap_or(-1), 1)?;
    report.check("responses with the image (201)", created, REQUESTS as i128)?;
    report.check("different images in the responses", images.len() as i128, 1)?;
    report.check("charged responses", charged, 1)?;
    report.check("responses with cost 0", free, REQUESTS as i128 - 1)?;
    report.row("of these from the store; the others joined the job", stored, "")?;
    report.row("latency p50 / p99", latencies.summary(), format_args!("the job takes {JOB:?}"))
}
