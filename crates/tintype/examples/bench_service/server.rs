//! The server: this program once more, as a child that can be killed. The product's router, service, ledger and store, with
//! the null engine.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use axum::Json;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::get;
use axum::serve::ListenerExt;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tintype_core::secret::Secret;
use tintype_core::store::ObjectStore;
use tintype_http::{HostPolicy, HttpSettings, router};
use tintype_ledger::{BucketLedger, Ledger, Sleeper, SqliteLedger, Synchronous};
use tintype_service::{AnonymousAccess, Service, ServiceSettings};
use tintype_storage::{Embedded, EmbeddedSettings, S3Settings, S3Store};
use tintype_testing::{MemoryStore, NullEngine};
use tokio::net::TcpListener;

/// The bucket, wherever it is.
const BUCKET: &str = "pictures";
/// What opens it.
pub(crate) const CREDENTIALS: (&str, &str) = ("AKIDBENCH", "sekret");
/// Where the child tells how long it took to refuse requests.
pub(crate) const REFUSALS: &str = "/bench/refusals";

/// Where records and pictures are kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Place {
    /// SQLite in the folder, pictures in memory.
    Memory,
    /// SQLite and the embedded store in the folder: a laptop.
    Folder,
    /// Both in the bucket of the S3 service at this URL, with others who may work on the same jobs.
    Bucket(String),
}

/// What a child is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Setup {
    pub(crate) folder: PathBuf,
    pub(crate) place: Place,
    /// What the engine takes for a step.
    pub(crate) step: Duration,
    /// How many jobs it works on at a time.
    pub(crate) slots: usize,
    /// How many requests may wait.
    pub(crate) queue: usize,
    /// Requests without a key are served.
    pub(crate) anonymous: bool,
}

impl Setup {
    /// The store, opened by whoever needs it; only one process can have a folder.
    pub(crate) async fn store(&self, url: &str) -> Result<Arc<dyn ObjectStore>> {
        Ok(match &self.place {
            Place::Memory => Arc::new(MemoryStore::default()),
            Place::Folder => {
                let settings = EmbeddedSettings {
                    folder: self.folder.join("data"),
                    public_url: url.to_owned(),
                    proxied: false,
                    bucket: BUCKET.to_owned(),
                    reserved: Vec::new(),
                };
                Embedded::open(settings)?.store()
            }
            Place::Bucket(endpoint) => Arc::new(bucket(endpoint)?),
        })
    }

    /// The ledger; `store` is where one in a bucket is.
    pub(crate) fn ledger(&self, store: Arc<dyn ObjectStore>) -> Result<Arc<dyn Ledger>> {
        if let Place::Bucket(_) = self.place {
            let sleeper: Sleeper = Arc::new(|time: Duration| Box::pin(tokio::time::sleep(time)));
            return Ok(Arc::new(BucketLedger::new(store, sleeper)));
        }
        Ok(Arc::new(SqliteLedger::open(&self.folder.join("ledger.db"), Synchronous::Normal)?))
    }
}

fn bucket(endpoint: &str) -> Result<S3Store> {
    let settings = S3Settings {
        bucket: BUCKET.to_owned(),
        endpoint: Some(endpoint.to_owned()),
        credentials: Some((CREDENTIALS.0.to_owned(), Secret::new(CREDENTIALS.1))),
        ..S3Settings::default()
    };
    Ok(S3Store::new(settings)?)
}

/// A running child. Dropping it kills it.
pub(crate) struct Server {
    process: Child,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts a child and waits until it listens.
    pub(crate) async fn start(setup: &Setup) -> Result<Self> {
        let setup = serde_json::to_string(setup)?;
        tokio::task::spawn_blocking(move || {
            let mut process = Command::new(std::env::current_exe()?)
                .args(["serve", &setup])
                .stdout(Stdio::piped())
                .spawn()
                .context("this program cannot be started once more")?;
            let mut line = String::new();
            let said = process.stdout.take().context("the child's output was asked for")?;
            BufReader::new(said).read_line(&mut line)?;
            let address = line.trim().parse().context("the server did not start")?;
            Ok(Self { process, address })
        })
        .await?
    }

    /// Kills it at once (SIGKILL) and waits until it is gone.
    pub(crate) async fn kill(self) -> Result<()> {
        tokio::task::spawn_blocking(move || drop(self)).await?;
        Ok(())
    }

    /// Resident memory in MiB, where the system tells.
    pub(crate) fn resident(&self) -> Option<f64> {
        resident(
            &std::fs::read_to_string(Path::new("/proc").join(self.process.id().to_string()).join("status"))
                .ok()?,
        )
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself, and then there is nothing left to do.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn resident(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok()? / 1_024.0)
}

/// The child: serves until it is killed.
pub(crate) fn run(setup: &str) -> Result<()> {
    let setup: Setup = serde_json::from_str(setup)?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve(setup))
}

async fn serve(setup: Setup) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let origin = format!("http://{address}");
    let store = setup.store(&origin).await?;
    let ledger = setup.ledger(store.clone())?;
    let settings = ServiceSettings {
        queue: setup.queue,
        anonymous: if setup.anonymous { AnonymousAccess::Trusted } else { AnonymousAccess::Denied },
        single_process: !matches!(setup.place, Place::Bucket(_)),
        price: "0.001usd".parse().ok(),
        ..ServiceSettings::default()
    };
    let service = Service::new(settings, store, ledger);
    let http = HttpSettings {
        get_enabled: true,
        hosts: HostPolicy::Any,
        time_budget: None,
        origin,
        aliases: Vec::new(),
    };
    let refusals: Arc<Refusals> = Arc::default();
    let told = refusals.clone();
    let api = router(service.clone(), http)
        .route(REFUSALS, get(async move || Json(told.told())))
        .layer(from_fn_with_state(refusals, clock));
    service.engine_ready(Arc::new(NullEngine::new(setup.step).with_slots(setup.slots)));
    writeln!(std::io::stdout(), "{address}")?;
    // As in the product: an answer is written in a few small pieces, and none of them waits for an acknowledgement.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    axum::serve(listener, api).await?;
    Ok(())
}

/// How many refusals took how long, in twentieths of a millisecond; the last counts all that took longer.
struct Refusals([AtomicU64; 2_000]);

impl Default for Refusals {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Refusals {
    /// How many there were, and the times in milliseconds that 50% and 99% of them were within.
    fn told(&self) -> Value {
        let counts: Vec<_> = self.0.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let all: u64 = counts.iter().sum();
        let within = |percent: u64| {
            let mut left = (all * percent).div_ceil(100);
            let place = counts.iter().position(|&count| {
                let found = count >= left;
                left = left.saturating_sub(count);
                found
            });
            place.map_or(0.0, |place| (place + 1) as f64 / 20.0)
        };
        json!({"count": all, "p50": within(50), "p99": within(99)})
    }
}

/// From the request's head to the answer's.
async fn clock(State(refusals): State<Arc<Refusals>>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let response = next.run(request).await;
    if response.status() == StatusCode::TOO_MANY_REQUESTS {
        let place = (began.elapsed().as_micros() / 50).min(1_999) as usize;
        refusals.0[place].fetch_add(1, Ordering::Relaxed);
    }
    response
}
