//! Tests of the service's public API with a null engine, a store in memory, and tokio's paused clock.

mod api_keys;
mod draining;
mod generating;
mod killable_store;
mod load;
mod models;
mod rejecting;
mod remote_jobs;
mod restarting;
mod retrying;
mod serverless;
mod several_processes;
mod unreadable_records;
mod waiting;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tintype_core::request::{Draft, GenerateRequest};
use tintype_core::store::ObjectStore;
use tintype_ledger::Ledger;
use tintype_ledger_bucket::BucketLedger;
use tintype_service::{Caller, Image, JobHandle, Service, ServiceError, ServiceSettings, Submission};
use tintype_testing::{MemoryStore, NullEngine};
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// A service with access to its parts. A request takes as many seconds as it has steps.
struct Harness {
    service: Arc<Service>,
    engine: Arc<NullEngine>,
    store: Arc<MemoryStore>,
    ledger: Arc<dyn Ledger>,
}

/// A ledger in memory. It uses no thread, so that it works with a paused clock.
fn ledger() -> Arc<dyn Ledger> {
    ledger_in(Arc::new(MemoryStore::default()))
}

/// A ledger in this store.
fn ledger_in(store: Arc<dyn ObjectStore>) -> Arc<dyn Ledger> {
    let sleeper = Arc::new(|time: Duration| -> BoxFuture<'static, ()> { Box::pin(sleep(time)) });
    Arc::new(BucketLedger::new(store, sleeper))
}

/// A service whose engine is still loading.
fn without_engine() -> Arc<Service> {
    Service::new(ServiceSettings::default(), Arc::new(MemoryStore::default()), ledger())
}

impl Harness {
    fn new() -> Self {
        Self::with(ServiceSettings::default(), NullEngine::new(SECOND))
    }

    fn with(settings: ServiceSettings, engine: NullEngine) -> Self {
        Self::on(ledger(), settings, engine)
    }

    /// A service on a ledger that may have jobs.
    fn on(ledger: Arc<dyn Ledger>, settings: ServiceSettings, engine: NullEngine) -> Self {
        let (engine, store) = (Arc::new(engine), Arc::new(MemoryStore::default()));
        let service = Service::new(settings, store.clone(), ledger.clone());
        service.engine_ready(engine.clone());
        Self { service, engine, store, ledger }
    }

    /// A checked request for one image with this number of steps.
    fn request(&self, prompt: &str, steps: i64) -> GenerateRequest {
        self.service.check(None, draft(prompt, steps)).expect("a valid request")
    }

    /// Submits a request of a caller without a key.
    async fn submit(&self, request: GenerateRequest) -> Result<JobHandle, ServiceError> {
        self.service.submit(&Caller::anonymous(), Submission::new(request)).await
    }

    /// The same, and waits for the images.
    async fn generate(&self, request: GenerateRequest) -> Result<Image, ServiceError> {
        self.submit(request).await?.finished().await
    }

    /// Starts a request whose client waits until it is aborted.
    fn client(&self, prompt: &str, steps: i64) -> Client {
        let (service, request) = (self.service.clone(), self.request(prompt, steps));
        tokio::spawn(async move { service.generate(&Caller::anonymous(), Submission::new(request)).await })
    }
}

type Client = JoinHandle<Result<Image, ServiceError>>;

const SECOND: Duration = Duration::from_secs(1);

fn draft(prompt: &str, steps: i64) -> Draft {
    Draft { prompt: Some(prompt.into()), steps: Some(steps), ..Draft::default() }
}

/// Lets this many seconds pass.
async fn wait_seconds(seconds: f64) {
    sleep(Duration::from_secs_f64(seconds)).await;
}

/// Disconnects a client that is still waiting.
async fn disconnect(client: Client) {
    client.abort();
    let end = client.await;
    assert!(end.is_err_and(|error| error.is_cancelled()), "the client had its response already");
}
