//! The server: a child process of this program, which the benchmark can kill. It runs the product's router,
//! service, ledger and store, with the null engine.

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
use tintype_http::{CorsPolicy, HostPolicy, HttpSettings, router};
use tintype_ledger::Ledger;
use tintype_ledger_bucket::{BucketLedger, Sleeper};
use tintype_ledger_sqlite::{SqliteLedger, Synchronous};
use tintype_service::{AnonymousAccess, Service, ServiceSettings, Topology};
use tintype_storage::{Embedded, EmbeddedSettings, S3Settings, S3Store};
use tintype_testing::{MemoryStore, NullEngine};
use tokio::net::TcpListener;

/// The bucket for images.
const BUCKET: &str = "pictures";
/// Access key id of the S3 service.
pub(crate) const ACCESS_KEY_ID: &str = "AKIDBENCH";
/// Secret access key of the S3 service.
pub(crate) const SECRET_ACCESS_KEY: &str = "sekret";
/// Path at which the child reports the latencies of its 429 responses.
pub(crate) const REJECTIONS_PATH: &str = "/bench/refusals";

/// Where the ledger and the images are stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Storage {
    /// SQLite in the folder, images in memory.
    Memory,
    /// SQLite and the embedded store in the folder, as by default.
    Folder,
    /// Ledger and images in a bucket of the S3 service at this URL, shared by several processes.
    Bucket(String),
}

/// The options of a child, passed as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ServerOptions {
    pub(crate) folder: PathBuf,
    // `bench/api/bench.py` uses this name.
    #[serde(rename = "place")]
    pub(crate) storage: Storage,
    /// Time of the engine for a step.
    pub(crate) step: Duration,
    /// Number of jobs that the engine runs at the same time.
    pub(crate) slots: usize,
    /// Maximum number of queued requests.
    pub(crate) queue: usize,
    /// Requests without a key are served.
    pub(crate) anonymous: bool,
}

impl ServerOptions {
    /// Opens the store. Only one process can open a folder.
    pub(crate) async fn store(&self, url: &str) -> Result<Arc<dyn ObjectStore>> {
        Ok(match &self.storage {
            Storage::Memory => Arc::new(MemoryStore::default()),
            Storage::Folder => {
                let settings = EmbeddedSettings {
                    folder: self.folder.join("data"),
                    public_url: url.to_owned(),
                    proxied: false,
                    bucket: BUCKET.to_owned(),
                    reserved: Vec::new(),
                };
                Embedded::open(settings)?.store()
            }
            Storage::Bucket(endpoint) => Arc::new(bucket(endpoint)?),
        })
    }

    /// Opens the ledger. `store` contains a ledger in a bucket.
    pub(crate) fn ledger(&self, store: Arc<dyn ObjectStore>) -> Result<Arc<dyn Ledger>> {
        if let Storage::Bucket(_) = self.storage {
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
        credentials: Some((ACCESS_KEY_ID.to_owned(), Secret::new(SECRET_ACCESS_KEY))),
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
    pub(crate) async fn start(options: &ServerOptions) -> Result<Self> {
        let options = serde_json::to_string(options)?;
        tokio::task::spawn_blocking(move || {
            let mut process = Command::new(std::env::current_exe()?)
                .args(["serve", &options])
                .stdout(Stdio::piped())
                .spawn()
                .context("failed to start the server process")?;
            let mut line = String::new();
            let stdout = process.stdout.take().context("the child's output is not piped")?;
            BufReader::new(stdout).read_line(&mut line)?;
            let address = line.trim().parse().context("the server did not start")?;
            Ok(Self { process, address })
        })
        .await?
    }

    /// Kills the child (SIGKILL) and waits for its end.
    pub(crate) async fn kill(self) -> Result<()> {
        tokio::task::spawn_blocking(move || drop(self)).await?;
        Ok(())
    }

    /// Resident memory in MiB; none on systems other than Linux.
    pub(crate) fn resident(&self) -> Option<f64> {
        resident(
            &std::fs::read_to_string(Path::new("/proc").join(self.process.id().to_string()).join("status"))
                .ok()?,
        )
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both calls fail if the process has already ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn resident(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok()? / 1_024.0)
}

/// Runs the child, which serves until it is killed.
pub(crate) fn run(options: &str) -> Result<()> {
    let options: ServerOptions = serde_json::from_str(options)?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve(options))
}

async fn serve(options: ServerOptions) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let origin = format!("http://{address}");
    let store = options.store(&origin).await?;
    let ledger = options.ledger(store.clone())?;
    let settings = ServiceSettings {
        queue: options.queue,
        anonymous: if options.anonymous { AnonymousAccess::Trusted } else { AnonymousAccess::Denied },
        topology: match options.storage {
            Storage::Bucket(_) => Topology::Cluster,
            _ => Topology::SingleProcess,
        },
        price: "0.001usd".parse().ok(),
        ..ServiceSettings::default()
    };
    let service = Service::new(settings, store, ledger);
    let http = HttpSettings {
        get_enabled: true,
        hosts: HostPolicy::Any,
        time_budget: None,
        origin,
        cors: CorsPolicy::default(),
    };
    let rejections: Arc<RejectionLatencies> = Arc::default();
    let reported = rejections.clone();
    let api = router(service.clone(), http)
        .route(REJECTIONS_PATH, get(async move || Json(reported.summary())))
        .layer(from_fn_with_state(rejections, measure_rejections));
    service.engine_ready(Arc::new(NullEngine::new(options.step).with_slots(options.slots)));
    writeln!(std::io::stdout(), "{address}")?;
    // As in the product: without Nagle's algorithm, because a response is written in a few small packets.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    axum::serve(listener, api).await?;
    Ok(())
}

/// A histogram of the latencies of 429 responses, with buckets of 0.05 ms. The last bucket has all longer
/// ones.
struct RejectionLatencies([AtomicU64; 2_000]);

impl Default for RejectionLatencies {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl RejectionLatencies {
    /// The number of responses, and the 50th and 99th percentile in milliseconds.
    fn summary(&self) -> Value {
        let counts: Vec<_> = self.0.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let all: u64 = counts.iter().sum();
        let percentile = |percent: u64| {
            let mut left = (all * percent).div_ceil(100);
            let bucket = counts.iter().position(|&count| {
                let found = count >= left;
                left = left.saturating_sub(count);
                found
            });
            bucket.map_or(0.0, |bucket| (bucket + 1) as f64 / 20.0)
        };
        json!({"count": all, "p50": percentile(50), "p99": percentile(99)})
    }
}

/// Measures the time from the head of a request to the head of a 429 response.
async fn measure_rejections(
    State(rejections): State<Arc<RejectionLatencies>>,
    request: Request,
    next: Next,
) -> Response {
    let began = Instant::now();
    let response = next.run(request).await;
    if response.status() == StatusCode::TOO_MANY_REQUESTS {
        let bucket = (began.elapsed().as_micros() / 50).min(1_999) as usize;
        rejections.0[bucket].fetch_add(1, Ordering::Relaxed);
    }
    response
}
