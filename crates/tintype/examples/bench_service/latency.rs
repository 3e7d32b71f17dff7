//! The latency of the service with an engine that takes no time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use http::StatusCode;
use serde_json::json;
use tintype_ledger::policy::Policy;

use crate::client::{ApiRequest, Client};
use crate::keys;
use crate::report::{Latencies, Report};
use crate::server::{Server, ServerOptions, Storage};

const CONNECTIONS: [usize; 3] = [1, 8, 64];

/// Measures each kind of request with different numbers of connections, half of `duration` each.
pub(crate) async fn run(report: &mut Report, duration: Duration) -> Result<()> {
    let duration = duration / 2;
    report.section(&format!(
        "latency: an engine that takes no time, SQLite, images in memory, one key, {} s each",
        duration.as_secs_f64()
    ))?;
    let folder = tempfile::tempdir()?;
    let options = ServerOptions {
        folder: folder.path().to_owned(),
        storage: Storage::Memory,
        step: Duration::ZERO,
        slots: 1,
        queue: 1_000,
        anonymous: false,
    };
    let key = keys::create(&options, &["acme"], &Policy::default()).await?.swap_remove(0);
    let server = Server::start(&options).await?;
    let client = Arc::new(Client::new(server.address));
    let created = client.send(create_image("first", &key)).await?;
    let id = created.json()["id"].as_str().context("the response has no id")?.to_owned();
    type RequestFactory = Box<dyn Fn(u64) -> ApiRequest + Send + Sync>;
    let own = key.clone();
    let kinds: [(&str, StatusCode, RequestFactory); 3] = [
        ("GET /healthz", StatusCode::OK, Box::new(|_| ApiRequest::get("/healthz"))),
        (
            "GET /v1/images/{id}",
            StatusCode::OK,
            Box::new(move |_| ApiRequest::get(format!("/v1/images/{id}")).key(&own)),
        ),
        (
            "POST /v1/images",
            StatusCode::CREATED,
            Box::new(move |i| create_image(&format!("picture {i}"), &key)),
        ),
    ];
    for (kind, expected, request) in kinds {
        let request = Arc::new(request);
        for connections in CONNECTIONS {
            let (rate, mut latencies) =
                closed_loop(&client, connections, duration, &request, expected).await?;
            let label = format!("{kind}, {connections} connections: p50 / p99, rate");
            report.row(label, latencies.summary(), format_args!("{rate:>7.0}/s"))?;
        }
    }
    Ok(())
}

fn create_image(prompt: &str, key: &str) -> ApiRequest {
    ApiRequest::create_image(&json!({"prompt": prompt})).key(key)
}

/// Sends requests over each connection, one after the other, and returns the rate per second and the
/// latencies.
async fn closed_loop<F>(
    client: &Arc<Client>,
    connections: usize,
    duration: Duration,
    request: &Arc<F>,
    expected: StatusCode,
) -> Result<(f64, Latencies)>
where
    F: Fn(u64) -> ApiRequest + Send + Sync + 'static,
{
    client.warm_up(connections).await?;
    let began = Instant::now();
    let loops: Vec<_> = (0..connections)
        .map(|_| {
            let (client, request) = (client.clone(), request.clone());
            tokio::spawn(async move {
                let mut times = Latencies::default();
                while began.elapsed() < duration {
                    let request = request(fastrand::u64(..));
                    let sent = Instant::now();
                    let response = client.send(request).await?;
                    times.push(sent.elapsed());
                    ensure!(response.status == expected, "{}: {:?}", response.status, response.body);
                }
                Ok(times)
            })
        })
        .collect();
    let mut times = Latencies::default();
    for ended in loops {
        times.extend(ended.await??);
    }
    Ok((times.len() as f64 / began.elapsed().as_secs_f64(), times))
}
