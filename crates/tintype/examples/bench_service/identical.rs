//! A thousand times the same request at once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;
use tintype_ledger::policy::Policy;
use tokio::sync::Barrier;

use crate::client::{Ask, Client, Gone};
use crate::figures::{Sheet, Times};
use crate::keys;
use crate::server::{Place, Server, Setup};

const REQUESTS: usize = 1_000;
/// Long enough that all of them come while it runs.
const JOB: Duration = Duration::from_secs(1);

pub(crate) async fn run(sheet: &mut Sheet) -> Result<()> {
    sheet.part(&format!(
        "identical: {REQUESTS} requests at once, one key, an explicit seed, a job of {JOB:?}"
    ))?;
    let folder = tempfile::tempdir()?;
    let setup = Setup {
        folder: folder.path().to_owned(),
        place: Place::Folder,
        step: JOB / 4,
        slots: 1,
        queue: 32,
        anonymous: false,
    };
    let keys = keys::make(&setup, &["acme", "admin"], &Policy::default()).await?;
    let server = Server::start(&setup).await?;
    let client = Arc::new(Client::new(server.address));
    client.warm_up(REQUESTS).await?;
    let ask = Ask::picture(&json!({"prompt": "a tiger", "seed": 7})).key(&keys[0]);
    let gate = Arc::new(Barrier::new(REQUESTS));
    let asked: Vec<_> = (0..REQUESTS)
        .map(|_| {
            let (client, ask, gate) = (client.clone(), ask.clone(), gate.clone());
            tokio::spawn(async move {
                gate.wait().await;
                let sent = Instant::now();
                Ok::<_, Gone>((client.send(ask).await?, sent.elapsed()))
            })
        })
        .collect();
    let (mut times, mut pictures, mut good, mut charged, mut free, mut stored) =
        (Times::default(), BTreeSet::new(), 0, 0, 0, 0);
    for answer in asked {
        let (answer, took) = answer.await??;
        times.push(took);
        let body = answer.json();
        if answer.status.as_u16() == 201 {
            good += 1;
            let link = body["images"][0]["url"].as_str().unwrap_or_default().to_owned();
            pictures.insert(link.split('?').next().unwrap_or_default().to_owned());
        }
        match body["cost"]["engine_seconds"].as_f64() {
            Some(cost) if cost > 0.0 => charged += 1,
            Some(_) => free += 1,
            None => {}
        }
        stored += i32::from(body["cache"] == "hit");
    }
    let metrics = client.send(Ask::get("/metrics").key(&keys[1])).await?;
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    let made = metrics.lines().find_map(|line| line.strip_prefix("tintype_generations_total "));
    sheet.claim("generations", made.and_then(|made| made.parse().ok()).unwrap_or(-1), 1)?;
    sheet.claim("answered with the picture", good, REQUESTS as i128)?;
    sheet.claim("different pictures in the answers", pictures.len() as i128, 1)?;
    sheet.claim("charged", charged, 1)?;
    sheet.claim("answered at cost 0", free, REQUESTS as i128 - 1)?;
    sheet.row("of them from the store, the rest joined", stored, "")?;
    sheet.row("p50 / p99", times.told(), format_args!("the job takes {JOB:?}"))
}
