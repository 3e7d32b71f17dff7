//! Many clients of one key against its budget.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tintype_ledger::policy::Policy;

use crate::client::{Ask, Client, Gone};
use crate::figures::Sheet;
use crate::keys;
use crate::server::{Place, Server, Setup};

const CLIENTS: usize = 100;
const BUDGET: f64 = 20.0;
const SLOTS: usize = 8;
/// The least that the service reserves for a job.
const RESERVED: f64 = 1.0;
/// Enough to spend the budget several times over.
const LONGEST: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Counts {
    made: AtomicU64,
    refused: AtomicU64,
    other: AtomicU64,
    over: AtomicBool,
}

pub(crate) async fn run(sheet: &mut Sheet) -> Result<()> {
    sheet.part(&format!(
        "budget: {CLIENTS} clients of one key, {BUDGET} engine seconds a day, jobs of 0.1 s on {SLOTS} slots"
    ))?;
    let folder = tempfile::tempdir()?;
    let setup = Setup {
        folder: folder.path().to_owned(),
        place: Place::Folder,
        step: Duration::from_millis(25),
        slots: SLOTS,
        queue: 2 * CLIENTS,
        anonymous: false,
    };
    let unlimited = keys::make(&setup, &["unlimited"], &Policy::default()).await?.swap_remove(0);
    let budgets = vec![format!("{BUDGET}s/day").parse().context("a budget")?];
    let policy = Policy { budgets, ..Policy::default() };
    let key = keys::make(&setup, &["acme"], &policy).await?.swap_remove(0);
    let server = Server::start(&setup).await?;
    let client = Arc::new(Client::new(server.address));
    // Until a job has been measured the longest that one may take is reserved, and that is more than this budget.
    client.send(Ask::picture(&json!({"prompt": "measured"})).key(&unlimited)).await?;

    let (counts, began) = (Arc::<Counts>::default(), Instant::now());
    let clients: Vec<_> =
        (0..CLIENTS).map(|_| tokio::spawn(spend(client.clone(), key.clone(), counts.clone()))).collect();
    let left = loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let usage = client.send(Ask::get("/v1/usage").key(&key)).await?.json();
        let today = &usage["data"][0];
        let reserved = today["reserved_engine_seconds"].as_f64().unwrap_or(f64::MAX);
        let spent = today["engine_seconds"].as_f64().unwrap_or_default();
        if reserved == 0.0 && spent + RESERVED > BUDGET {
            break usage;
        }
        if began.elapsed() > LONGEST {
            bail!("the budget was not spent within {LONGEST:?}: {usage}");
        }
    };
    let took = began.elapsed();
    counts.over.store(true, Ordering::SeqCst);
    for client in clients {
        client.await??;
    }
    tell(sheet, &left, &counts, took)
}

/// Asks for one picture after the other, and not at once again after a refusal.
async fn spend(client: Arc<Client>, key: String, counts: Arc<Counts>) -> Result<(), Gone> {
    while !counts.over.load(Ordering::SeqCst) {
        let ask = Ask::picture(&json!({"prompt": format!("picture {}", fastrand::u64(..))})).key(&key);
        let answer = client.send(ask).await?;
        let count = match answer.status.as_u16() {
            201 => &counts.made,
            402 => &counts.refused,
            _ => &counts.other,
        };
        count.fetch_add(1, Ordering::SeqCst);
        if answer.status.as_u16() != 201 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(())
}

fn tell(sheet: &mut Sheet, usage: &Value, counts: &Counts, took: Duration) -> Result<()> {
    let today = &usage["data"][0];
    let spent = today["engine_seconds"].as_f64().context("what was spent")?;
    // A job takes less than is reserved for it, so nothing may be spent beyond the budget.
    sheet.row("spent, engine seconds", format_args!("{spent:.3}"), format_args!("at most {BUDGET}"))?;
    sheet.claim("milliseconds beyond the budget", ((spent - BUDGET).max(0.0) * 1e3) as i128, 0)?;
    let made = counts.made.load(Ordering::SeqCst);
    sheet.claim(
        "jobs booked and not answered, or the reverse",
        i128::from(today["jobs"].as_u64().unwrap_or(0)) - i128::from(made),
        0,
    )?;
    sheet.row("accepted (201)", made, "")?;
    sheet.row("refused (402)", counts.refused.load(Ordering::SeqCst), "")?;
    sheet.row("answered otherwise", counts.other.load(Ordering::SeqCst), "0")?;
    sheet.row("until the budget was spent", format_args!("{:.1} s", took.as_secs_f64()), "")
}
