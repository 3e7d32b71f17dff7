//! The service through its public door, with a null engine, a store in memory and a clock that stands still unless
//! everybody waits for it.

mod api_keys;
mod draining;
mod generating;
mod load;
mod rejecting;
mod remote_jobs;
mod restarting;
mod retrying;
mod serverless;
mod several_processes;
mod waiting;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tintype_core::request::{Draft, GenerateRequest};
use tintype_core::store::ObjectStore;
use tintype_service::ledger::{BucketLedger, Ledger};
use tintype_service::{Caller, Image, JobHandle, Service, ServiceError, ServiceSettings, Submission};
use tintype_testing::{MemoryStore, NullEngine};
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// A service with hold of what is behind it. A request takes as many seconds as it has steps.
struct Bench {
    service: Arc<Service>,
    engine: Arc<NullEngine>,
    store: Arc<MemoryStore>,
    ledger: Arc<dyn Ledger>,
}

/// A ledger in memory: it needs no thread, so a clock that stands still stands still for it too.
fn ledger() -> Arc<dyn Ledger> {
    ledger_in(Arc::new(MemoryStore::default()))
}

/// The books in this store.
fn ledger_in(store: Arc<dyn ObjectStore>) -> Arc<dyn Ledger> {
    let sleeper = Arc::new(|time: Duration| -> BoxFuture<'static, ()> { Box::pin(sleep(time)) });
    Arc::new(BucketLedger::new(store, sleeper))
}

/// A service whose engine has not come yet.
fn without_engine() -> Arc<Service> {
    Service::new(ServiceSettings::default(), Arc::new(MemoryStore::default()), ledger())
}

impl Bench {
    fn new() -> Self {
        Self::with(ServiceSettings::default(), NullEngine::new(SECOND))
    }

    fn with(settings: ServiceSettings, engine: NullEngine) -> Self {
        Self::on(ledger(), settings, engine)
    }

    /// On a ledger that may have jobs in it.
    fn on(ledger: Arc<dyn Ledger>, settings: ServiceSettings, engine: NullEngine) -> Self {
        let (engine, store) = (Arc::new(engine), Arc::new(MemoryStore::default()));
        let service = Service::new(settings, store.clone(), ledger.clone());
        service.engine_ready(engine.clone());
        Self { service, engine, store, ledger }
    }

    /// A checked request for one picture of so many steps.
    fn request(&self, prompt: &str, steps: i64) -> GenerateRequest {
        self.service.check(draft(prompt, steps)).expect("a valid request")
    }

    /// Hands in a request of somebody without a key.
    async fn submit(&self, request: GenerateRequest) -> Result<JobHandle, ServiceError> {
        self.service.submit(&Caller::anonymous(), Submission::new(request)).await
    }

    /// The same, and waits for its pictures.
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

/// Lets so many seconds pass.
async fn pass(seconds: f64) {
    sleep(Duration::from_secs_f64(seconds)).await;
}

/// Hangs up on a client's behalf.
async fn hang_up(client: Client) {
    client.abort();
    let end = client.await;
    assert!(end.is_err_and(|error| error.is_cancelled()), "it had its answer already");
}
