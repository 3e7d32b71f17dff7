//! What the service adds to an engine that takes no time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use http::StatusCode;
use serde_json::json;
use tintype_ledger::policy::Policy;

use crate::client::{Ask, Client};
use crate::figures::{Sheet, Times};
use crate::keys;
use crate::server::{Place, Server, Setup};

const CONNECTIONS: [usize; 3] = [1, 8, 64];

/// Asks as fast as answers come, over so many connections, for so long.
pub(crate) async fn run(sheet: &mut Sheet, lasts: Duration) -> Result<()> {
    let lasts = lasts / 2;
    sheet.part(&format!(
        "latency: an engine that takes no time, SQLite, pictures in memory, one key, {} s each",
        lasts.as_secs_f64()
    ))?;
    let folder = tempfile::tempdir()?;
    let setup = Setup {
        folder: folder.path().to_owned(),
        place: Place::Memory,
        step: Duration::ZERO,
        slots: 1,
        queue: 1_000,
        anonymous: false,
    };
    let key = keys::make(&setup, &["acme"], &Policy::default()).await?.swap_remove(0);
    let server = Server::start(&setup).await?;
    let client = Arc::new(Client::new(server.address));
    let made = client.send(picture("first", &key)).await?;
    let id = made.json()["id"].as_str().context("a picture has an id")?.to_owned();
    type Asked = Box<dyn Fn(u64) -> Ask + Send + Sync>;
    let own = key.clone();
    let asked: [(&str, StatusCode, Asked); 3] = [
        ("GET /healthz", StatusCode::OK, Box::new(|_| Ask::get("/healthz"))),
        (
            "GET /v1/images/{id}",
            StatusCode::OK,
            Box::new(move |_| Ask::get(format!("/v1/images/{id}")).key(&own)),
        ),
        ("POST /v1/images", StatusCode::CREATED, Box::new(move |i| picture(&format!("picture {i}"), &key))),
    ];
    for (what, expected, ask) in asked {
        let ask = Arc::new(ask);
        for connections in CONNECTIONS {
            let (rate, mut times) = closed_loop(&client, connections, lasts, &ask, expected).await?;
            let what = format!("{what}, {connections} at a time: p50 / p99, rate");
            sheet.row(what, times.told(), format_args!("{rate:>7.0}/s"))?;
        }
    }
    Ok(())
}

fn picture(prompt: &str, key: &str) -> Ask {
    Ask::picture(&json!({"prompt": prompt})).key(key)
}

async fn closed_loop<F>(
    client: &Arc<Client>,
    connections: usize,
    lasts: Duration,
    ask: &Arc<F>,
    expected: StatusCode,
) -> Result<(f64, Times)>
where
    F: Fn(u64) -> Ask + Send + Sync + 'static,
{
    client.warm_up(connections).await?;
    let began = Instant::now();
    let loops: Vec<_> = (0..connections)
        .map(|_| {
            let (client, ask) = (client.clone(), ask.clone());
            tokio::spawn(async move {
                let mut times = Times::default();
                while began.elapsed() < lasts {
                    let ask = ask(fastrand::u64(..));
                    let sent = Instant::now();
                    let answer = client.send(ask).await?;
                    times.push(sent.elapsed());
                    ensure!(answer.status == expected, "{}: {:?}", answer.status, answer.body);
                }
                Ok(times)
            })
        })
        .collect();
    let mut times = Times::default();
    for ended in loops {
        times.extend(ended.await??);
    }
    Ok((times.len() as f64 / began.elapsed().as_secs_f64(), times))
}
