//! The door.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tintype_core::engine::{Engine, Model};
use tintype_core::request::{Draft, GenerateRequest};
use tintype_core::store::ObjectStore;
use tintype_core::violation::{Violation, ViolationKind};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::error::ServiceError;
use crate::job::Job;
use crate::queue::Queue;
use crate::settings::ServiceSettings;
use crate::ticket::{Finished, Ticket};
use crate::worker::Worker;

/// Whether the service takes work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Not yet: the model is being loaded.
    Loading,
    /// Yes.
    Ready,
    /// No, and it will not: the model could not be loaded.
    Failed,
    /// Not any more: it is shutting down.
    Draining,
}

/// The application. Dropping it stops all its work.
pub struct Service {
    settings: ServiceSettings,
    store: Arc<dyn ObjectStore>,
    queue: Arc<Queue>,
    /// Set once: the engine, or nothing if it could not be loaded.
    engine: OnceLock<Option<Arc<dyn Engine>>>,
    runtime: Handle,
}

impl Service {
    /// A service whose engine is still being loaded.
    ///
    /// # Panics
    /// Outside of a tokio runtime: the work is done by tasks of the one it is made in.
    pub fn new(settings: ServiceSettings, store: Arc<dyn ObjectStore>) -> Arc<Self> {
        let queue = Arc::new(Queue::new(settings.queue, settings.abandon_after));
        Arc::new(Self { settings, store, queue, engine: OnceLock::new(), runtime: Handle::current() })
    }

    /// The engine is loaded: work can begin. May be called from any thread; a second engine is ignored.
    pub fn engine_ready(&self, engine: Arc<dyn Engine>) {
        if self.engine.set(Some(engine.clone())).is_err() {
            return;
        }
        let slots = engine.slots().max(1);
        self.queue.set_slots(slots);
        let worker = Worker {
            queue: self.queue.clone(),
            engine,
            store: self.store.clone(),
            storing: Arc::new(Semaphore::new(slots)),
        };
        for _ in 0..slots {
            self.runtime.spawn(worker.clone().run());
        }
    }

    /// The engine will not come; `why` goes to the log.
    pub fn engine_failed(&self, why: String) {
        tracing::error!(%why, "the model could not be loaded");
        let _ = self.engine.set(None);
    }

    /// Whether it takes work.
    pub fn readiness(&self) -> Readiness {
        if self.queue.is_draining() {
            return Readiness::Draining;
        }
        match self.engine.get() {
            None => Readiness::Loading,
            Some(Some(_)) => Readiness::Ready,
            Some(None) => Readiness::Failed,
        }
    }

    /// Checks a draft against the model and the operator's limits.
    ///
    /// # Errors
    /// [`ServiceError::Invalid`] with everything that is wrong; [`ServiceError::NotReady`], [`ServiceError::NoEngine`] and
    /// [`ServiceError::Draining`] while there is no model to check it against.
    pub fn check(&self, draft: Draft) -> Result<GenerateRequest, ServiceError> {
        let engine = self.engine()?;
        let model = engine.model();
        let request = draft
            .check(model, &self.settings.limits(model), fastrand::u32(..))
            .map_err(ServiceError::Invalid)?;
        match self.too_much_memory(&**engine, &request) {
            Some(violation) => Err(ServiceError::Invalid(vec![violation])),
            None => Ok(request),
        }
    }

    /// Hands a request in. The ticket is the place among those who wait for it; a retry of a request whose every waiter
    /// hung up a moment ago joins that one's work.
    ///
    /// # Errors
    /// [`ServiceError::QueueFull`], and while it takes no work [`ServiceError::NotReady`], [`ServiceError::NoEngine`] or
    /// [`ServiceError::Draining`].
    pub fn submit(&self, request: GenerateRequest) -> Result<Ticket, ServiceError> {
        self.engine()?;
        let expires_in = request.expires_in;
        let job = self.queue.admit(Job::new(request))?;
        Ok(Ticket::new(job, self.queue.clone(), self.store.clone(), expires_in))
    }

    /// Hands a request in and waits for its pictures. Dropping the future is hanging up.
    ///
    /// # Errors
    /// Those of [`submit`](Self::submit) and of [`Ticket::finished`].
    pub async fn generate(&self, request: GenerateRequest) -> Result<Finished, ServiceError> {
        self.submit(request)?.finished().await
    }

    /// Takes nothing new, lets what is accepted finish within `grace`, and then ends the rest with
    /// [`ServiceError::Abandoned`].
    pub async fn drain(&self, grace: Duration) {
        self.queue.refuse();
        // Whether all ended in time or not, what is left is stopped.
        let _ = tokio::time::timeout(grace, self.queue.emptied()).await;
        self.queue.stop();
    }

    fn engine(&self) -> Result<&Arc<dyn Engine>, ServiceError> {
        match self.readiness() {
            Readiness::Draining => Err(ServiceError::Draining),
            _ => self.engine.get().ok_or(ServiceError::NotReady)?.as_ref().ok_or(ServiceError::NoEngine),
        }
    }

    /// Every slot may be busy with a request like this one, so each has its share.
    fn too_much_memory(&self, engine: &dyn Engine, request: &GenerateRequest) -> Option<Violation> {
        let limit = self.settings.max_memory? / engine.slots().max(1) as u64;
        let actual = engine.memory_needed(request);
        let kind = ViolationKind::TooMuchMemory { limit, actual };
        (actual > limit).then(|| Violation::new(largest(engine.model(), request), kind))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.queue.stop();
    }
}

/// The parameter that makes a request larger than the model's usual one.
fn largest(model: &Model, request: &GenerateRequest) -> &'static str {
    match request {
        request if request.width > model.width => "width",
        request if request.height > model.height => "height",
        request if request.n > 1 => "n",
        _ => "width",
    }
}
