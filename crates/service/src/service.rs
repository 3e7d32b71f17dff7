//! The door, and what is behind it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tintype_core::causes::causes;
use tintype_core::engine::{Engine, ModelCard};
use tintype_core::request::{Draft, GenerateRequest, RequestLimits};
use tintype_core::store::ObjectStore;
use tintype_core::violation::{Violation, ViolationKind};
use tintype_ledger::Ledger;
use tintype_ledger::id::WorkerId;
use tintype_ledger::job::{JobRecord, Reason, RecoveryScope};
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, SetOnce, watch};
use tokio::time::Instant;
use uuid::Uuid;

use crate::active_job::{ActiveJob, JobState, StopReason};
use crate::admission::AdmissionCounter;
use crate::error::ServiceError;
use crate::janitor;
use crate::metrics::Metrics;
use crate::pricing::Estimates;
use crate::registry::JobRegistry;
use crate::settings::ServiceSettings;
use crate::task_tracker::TaskTracker;
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
    pub(crate) inner: Arc<Inner>,
}

/// What requests, workers and tickets share.
pub(crate) struct Inner {
    pub(crate) settings: ServiceSettings,
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) registry: JobRegistry,
    pub(crate) estimates: Estimates,
    pub(crate) metrics: Metrics,
    /// The name of this process in the ledger, unlike any other's.
    pub(crate) process: WorkerId,
    /// One permit per request that may be on its way with a client that waits; none until there is an engine.
    pub(crate) queue_places: Arc<Semaphore>,
    /// One permit per job that the engine works on at a time; none until there is an engine.
    pub(crate) slots: Arc<Semaphore>,
    /// Orders that are being let in.
    pub(crate) admissions: AdmissionCounter,
    /// Pictures of so many jobs may be on their way into the store while the engine goes on; a slow store slows the
    /// engine down instead of filling the memory. None until there is an engine.
    pub(crate) storing: Arc<Semaphore>,
    /// A job may be there to be claimed.
    pub(crate) arrivals: Notify,
    /// Set once: the engine, or nothing if it could not be loaded.
    engine: SetOnce<Option<Arc<dyn Engine>>>,
    /// What has to be written down before the process may be frozen.
    pub(crate) tasks: TaskTracker,
    /// What is being worked on is to end at once.
    pub(crate) releasing: watch::Sender<bool>,
    /// When jobs of others are to be looked for again.
    pub(crate) next_pending_check: Mutex<Option<Instant>>,
    pub(crate) runtime: Handle,
}

impl Service {
    /// A service whose engine is still being loaded.
    ///
    /// # Panics
    /// Outside of a tokio runtime: the work is done by tasks of the one it is made in.
    pub fn new(settings: ServiceSettings, store: Arc<dyn ObjectStore>, ledger: Arc<dyn Ledger>) -> Arc<Self> {
        let process = Uuid::now_v7().simple().to_string();
        let process: WorkerId = process.parse().expect("hexadecimal digits are a name");
        let inner = Inner {
            estimates: Estimates::new(settings.max_job, settings.price),
            metrics: Metrics::new(),
            process: process.clone(),
            ledger,
            store,
            registry: JobRegistry::new(process, settings.single_process),
            settings,
            queue_places: Arc::new(Semaphore::new(0)),
            slots: Arc::new(Semaphore::new(0)),
            admissions: AdmissionCounter::default(),
            storing: Arc::new(Semaphore::new(0)),
            arrivals: Notify::new(),
            engine: SetOnce::new(),
            tasks: TaskTracker::new(),
            releasing: watch::Sender::new(false),
            next_pending_check: Mutex::default(),
            runtime: Handle::current(),
        };
        Arc::new(Self { inner: Arc::new(inner) })
    }

    /// The engine is loaded: work can begin. May be called from any thread; a second engine is ignored.
    pub fn engine_ready(&self, engine: Arc<dyn Engine>) {
        let inner = &self.inner;
        if inner.engine.set(Some(engine.clone())).is_err() {
            return;
        }
        let slots = engine.slots().max(1);
        inner.queue_places.add_permits(inner.settings.queue + slots);
        inner.storing.add_permits(slots);
        inner.runtime.spawn(janitor::renew_leases(Arc::downgrade(inner)));
        if inner.settings.serverless {
            return;
        }
        let workers: Vec<_> =
            (0..slots).map(|slot| Worker::new(inner.clone(), engine.clone(), slot)).collect();
        let first = inner.clone();
        inner.runtime.spawn(async move {
            // Before the workers begin: what runs in the ledger now is another process's.
            first
                .recover(if first.settings.single_process {
                    RecoveryScope::All
                } else {
                    RecoveryScope::ExpiredLeases
                })
                .await;
            first.slots.add_permits(slots);
            for worker in workers {
                first.runtime.spawn(worker.run_loop());
            }
            first.runtime.spawn(janitor::recover_lost_jobs(Arc::downgrade(&first)));
        });
    }

    /// The engine will not come; `why` goes to the log.
    pub fn engine_failed(&self, why: String) {
        tracing::error!(%why, "failed to load model");
        let _ = self.inner.engine.set(None);
    }

    /// Whether work is taken.
    pub fn readiness(&self) -> Readiness {
        match self.inner.engine.get() {
            _ if self.inner.registry.is_draining() => Readiness::Draining,
            None => Readiness::Loading,
            Some(Some(_)) => Readiness::Ready,
            Some(None) => Readiness::Failed,
        }
    }

    /// The model that pictures are made with, once it is there.
    ///
    /// # Errors
    /// [`ServiceError::NotReady`], [`ServiceError::NoEngine`], [`ServiceError::Draining`].
    pub fn model(&self) -> Result<&ModelCard, ServiceError> {
        Ok(self.inner.engine()?.model())
    }

    /// What requests are held to beside the model's own defaults.
    ///
    /// # Errors
    /// Those of [`model`](Self::model).
    pub fn limits(&self) -> Result<RequestLimits, ServiceError> {
        Ok(self.inner.settings.limits(self.model()?))
    }

    /// Checks what a client asked for against the model's and the operator's limits, and fills in defaults.
    ///
    /// # Errors
    /// [`ServiceError::Invalid`] with everything that is wrong, and those of [`model`](Self::model).
    pub fn check(&self, draft: Draft) -> Result<GenerateRequest, ServiceError> {
        let engine = self.inner.engine()?;
        let model = engine.model();
        let request = draft
            .check(model, &self.inner.settings.limits(model), fastrand::u32(..))
            .map_err(ServiceError::Invalid)?;
        match self.inner.check_memory(&**engine, &request) {
            Some(violation) => Err(ServiceError::Invalid(vec![violation])),
            None => Ok(request),
        }
    }

    /// Takes nothing new, and lets what runs or is waited for finish within `grace`. Jobs that are kept go on at the next start;
    /// whoever waits for one hears [`ServiceError::Draining`], for the others [`ServiceError::Abandoned`].
    pub async fn drain(&self, grace: Duration) {
        self.inner.registry.drain();
        // Whether all ended in time or not, what is left is stopped.
        let _ = tokio::time::timeout(grace, self.inner.registry.drained()).await;
        self.inner.stop().await;
    }
}

impl Inner {
    pub(crate) fn engine(&self) -> Result<&Arc<dyn Engine>, ServiceError> {
        if self.registry.is_draining() {
            return Err(ServiceError::Draining);
        }
        self.engine.get().ok_or(ServiceError::NotReady)?.as_ref().ok_or(ServiceError::NoEngine)
    }

    /// The engine, if it is there.
    pub(crate) fn loaded_engine(&self) -> Option<&Arc<dyn Engine>> {
        self.engine.get()?.as_ref()
    }

    pub(crate) async fn wait_for_engine(&self) {
        self.engine.wait().await;
    }

    /// The longest that a job can take.
    pub(crate) fn max_job_time(&self) -> Duration {
        let engine = self.engine.get().and_then(Option::as_ref).and_then(|engine| engine.max_duration());
        engine.map_or(self.settings.max_job, |limit| limit.min(self.settings.max_job))
    }

    pub(crate) fn slots(&self) -> usize {
        self.engine.get().and_then(Option::as_ref).map_or(1, |engine| engine.slots().max(1))
    }

    /// A job has ended by what this process did, in the ledger too: it is counted, and everybody is told.
    pub(crate) async fn record_end(&self, job: JobRecord) {
        // Nobody asks a process for its metrics that is frozen most of the time.
        if !self.settings.serverless
            && !self.metrics.has_key_name(&job.key)
            && let Ok(Some(key)) = self.ledger.key(&job.key).await
        {
            self.metrics.set_key_name(&key.id, &key.name);
        }
        self.metrics.ended(&job);
        self.registry.end(job);
    }

    /// Every slot may be busy with a request like this one, so each has its share.
    fn check_memory(&self, engine: &dyn Engine, request: &GenerateRequest) -> Option<Violation> {
        let limit = self.settings.max_memory? / engine.slots().max(1) as u64;
        let actual = engine.memory_needed(request);
        let kind = ViolationKind::TooMuchMemory { limit, actual };
        (actual > limit).then(|| Violation::new(oversized_parameter(engine.model(), request), kind))
    }

    /// Stops what there still is. What a client of this process waits for is canceled in the ledger; the rest is left in it for
    /// the next start.
    async fn stop(&self) {
        self.registry.mark_stopped();
        for active in self.registry.all() {
            active.stop(StopReason::Shutdown);
            if active.is_attended() && active.is_remote() {
                // It is paid for; who comes again finds it.
                self.registry.close(active.id, JobState::DetachedFromProcess(ServiceError::Abandoned));
            } else if active.is_attended() {
                let canceled =
                    self.ledger.cancel(&active.owner, active.id, time::OffsetDateTime::now_utc()).await;
                if let Err(error) = canceled {
                    tracing::error!(job = %active.id, error = %causes(&error), "failed to cancel job at shutdown");
                }
                self.registry.close(active.id, JobState::DetachedFromProcess(self.shutdown_error(&active)));
            } else {
                self.registry.close(active.id, JobState::DetachedFromProcess(ServiceError::Draining));
            }
        }
        self.arrivals.notify_waiters();
    }

    /// What a client is told whose job ends with this process: to come again, unless a call was begun that somebody is paid for.
    fn shutdown_error(&self, active: &ActiveJob) -> ServiceError {
        let engine = self.engine.get().and_then(Option::as_ref);
        if active.is_running_here() && engine.is_some_and(|engine| !engine.repeatable()) {
            ServiceError::Failed(Reason::OutcomeUnknown.into())
        } else {
            ServiceError::Abandoned
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.inner.registry.drain();
        self.inner.registry.mark_stopped();
        for active in self.inner.registry.all() {
            active.stop(StopReason::Shutdown);
            self.inner.registry.close(active.id, JobState::DetachedFromProcess(ServiceError::Abandoned));
        }
        self.inner.arrivals.notify_waiters();
    }
}

/// The parameter that makes a request larger than the model's usual one.
fn oversized_parameter(model: &ModelCard, request: &GenerateRequest) -> &'static str {
    match request {
        request if request.width > model.width => "width",
        request if request.height > model.height => "height",
        request if request.n > 1 => "n",
        _ => "width",
    }
}
