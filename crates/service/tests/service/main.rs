//! The service through its public door, with a null engine, a store in memory and a clock that stands still unless
//! everybody waits for it.

mod draining;
mod making;
mod refusing;
mod storm;
mod waiting;

use std::sync::Arc;
use std::time::Duration;

use tintype_core::request::{Draft, GenerateRequest};
use tintype_service::{Finished, Service, ServiceError, ServiceSettings};
use tintype_testing::{MemoryStore, NullEngine};
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// A service with hold of what is behind it. A request takes as many seconds as it has steps.
struct Bench {
    service: Arc<Service>,
    engine: Arc<NullEngine>,
    store: Arc<MemoryStore>,
}

impl Bench {
    fn new() -> Self {
        Self::with(ServiceSettings::default(), NullEngine::new(SECOND))
    }

    fn with(settings: ServiceSettings, engine: NullEngine) -> Self {
        let (engine, store) = (Arc::new(engine), Arc::new(MemoryStore::default()));
        let service = Service::new(settings, store.clone());
        service.engine_ready(engine.clone());
        Self { service, engine, store }
    }

    /// A checked request for one picture of so many steps.
    fn request(&self, prompt: &str, steps: i64) -> GenerateRequest {
        self.service.check(draft(prompt, steps)).expect("a valid request")
    }

    /// Starts a request whose client waits until it is aborted.
    fn client(&self, prompt: &str, steps: i64) -> JoinHandle<Result<Finished, ServiceError>> {
        let (service, request) = (self.service.clone(), self.request(prompt, steps));
        tokio::spawn(async move { service.generate(request).await })
    }
}

const SECOND: Duration = Duration::from_secs(1);

fn draft(prompt: &str, steps: i64) -> Draft {
    Draft { prompt: Some(prompt.into()), steps: Some(steps), ..Draft::default() }
}

/// Lets so many seconds pass.
async fn pass(seconds: f64) {
    sleep(Duration::from_secs_f64(seconds)).await;
}

/// Hangs up on a client's behalf.
async fn hang_up(client: JoinHandle<Result<Finished, ServiceError>>) {
    client.abort();
    let end = client.await;
    assert!(end.is_err_and(|error| error.is_cancelled()), "it had its answer already");
}
