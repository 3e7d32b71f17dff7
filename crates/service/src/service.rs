//! The service and its shared state.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tintype_core::causes::causes;
use tintype_core::engine::{CallObstacle, Engine, ModelCard};
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
use crate::availability::{self, Availability};
use crate::error::ServiceError;
use crate::janitor;
use crate::metrics::Metrics;
use crate::pricing::Estimates;
use crate::registry::JobRegistry;
use crate::repeated_failure::RepeatedFailure;
use crate::settings::ServiceSettings;
use crate::task_tracker::TaskTracker;
use crate::watchers::Watchers;
use crate::worker::Worker;

/// Whether the service accepts jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// The model is loading.
    Loading,
    /// The service accepts jobs.
    Ready,
    /// The model could not be loaded; the service will not become ready.
    Failed,
    /// The service is shutting down.
    Draining,
    /// The ledger cannot be written, for example because its disk is full.
    LedgerUnavailable,
    /// The remote engine cannot be called.
    EngineUnavailable(CallObstacle),
}

/// The application service. Dropping it stops all its jobs.
pub struct Service {
    pub(crate) inner: Arc<Inner>,
}

/// The state that requests, workers and job handles share.
pub(crate) struct Inner {
    pub(crate) settings: ServiceSettings,
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) registry: JobRegistry,
    pub(crate) estimates: Estimates,
    pub(crate) metrics: Metrics,
    pub(crate) watchers: Arc<Watchers>,
    /// The unique name of this process in the ledger.
    pub(crate) process: WorkerId,
    /// One permit per place in the queue of requests whose client waits; none until the engine is ready.
    pub(crate) queue_places: Arc<Semaphore>,
    /// One permit per slot of the engine; none until the engine is ready.
    pub(crate) slots: Arc<Semaphore>,
    /// Submissions that are being admitted.
    pub(crate) admissions: AdmissionCounter,
    /// One permit per job whose images are being stored while the engine continues, so that a slow store
    /// slows the engine instead of filling the memory; none until the engine is ready.
    pub(crate) storing: Arc<Semaphore>,
    /// Whether the remote engine can be called.
    pub(crate) availability: Arc<Availability>,
    /// Failures of workers to claim jobs.
    pub(crate) claim_failures: RepeatedFailure,
    /// Notified when a job may be ready to be claimed.
    pub(crate) arrivals: Notify,
    /// Set once: the engine, or `None` if the model could not be loaded.
    engine: SetOnce<Option<Arc<dyn Engine>>>,
    /// The tasks that must end before the process may be frozen.
    pub(crate) tasks: TaskTracker,
    /// Whether workers must release their jobs at once.
    pub(crate) releasing: watch::Sender<bool>,
    /// Time of the next check for jobs of other processes.
    pub(crate) next_pending_check: Mutex<Option<Instant>>,
    pub(crate) runtime: Handle,
}

impl Service {
    /// Creates a service whose engine is still loading.
    ///
    /// # Panics
    /// Panics outside of a tokio runtime, on which the service spawns its tasks.
    pub fn new(settings: ServiceSettings, store: Arc<dyn ObjectStore>, ledger: Arc<dyn Ledger>) -> Arc<Self> {
        let process = Uuid::now_v7().simple().to_string();
        let process: WorkerId = process.parse().expect("hexadecimal digits are a valid worker id");
        let inner = Inner {
            estimates: Estimates::new(settings.max_job, settings.price),
            metrics: Metrics::new(),
            watchers: Watchers::new(settings.watchers_per_job, settings.watchers_per_owner),
            process: process.clone(),
            ledger,
            store,
            registry: JobRegistry::new(process, settings.single_process),
            settings,
            queue_places: Arc::new(Semaphore::new(0)),
            slots: Arc::new(Semaphore::new(0)),
            admissions: AdmissionCounter::default(),
            storing: Arc::new(Semaphore::new(0)),
            availability: Arc::new(Availability::new()),
            claim_failures: RepeatedFailure::default(),
            arrivals: Notify::new(),
            engine: SetOnce::new(),
            tasks: TaskTracker::new(),
            releasing: watch::Sender::new(false),
            next_pending_check: Mutex::default(),
            runtime: Handle::current(),
        };
        Arc::new(Self { inner: Arc::new(inner) })
    }

    /// Sets the loaded engine and starts the workers. It can be called from any thread; a second engine is
    /// ignored.
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
        inner.runtime.spawn(availability::watch_engine(Arc::downgrade(inner), inner.availability.clone()));
        let workers: Vec<_> =
            (0..slots).map(|slot| Worker::new(inner.clone(), engine.clone(), slot)).collect();
        let inner = inner.clone();
        let runtime = inner.runtime.clone();
        runtime.spawn(async move {
            // Before the workers start: jobs that are running in the ledger belong to other processes.
            inner
                .recover(if inner.settings.single_process {
                    RecoveryScope::All
                } else {
                    RecoveryScope::ExpiredLeases
                })
                .await;
            inner.slots.add_permits(slots);
            for worker in workers {
                inner.runtime.spawn(worker.run_loop());
            }
            inner.runtime.spawn(janitor::recover_lost_jobs(Arc::downgrade(&inner)));
        });
    }

    /// Records that the model could not be loaded; the error is logged.
    pub fn engine_failed(&self, error: String) {
        tracing::error!(%error, "failed to load model");
        let _ = self.inner.engine.set(None);
    }

    /// Whether the service accepts jobs. Checks the ledger if its last write failed.
    pub async fn check_readiness(&self) -> Readiness {
        match self.readiness() {
            Readiness::Ready => match self.inner.ledger.probe().await {
                Ok(()) => match self.inner.availability.obstacle() {
                    Some(obstacle) => Readiness::EngineUnavailable(obstacle),
                    None => Readiness::Ready,
                },
                Err(_) => Readiness::LedgerUnavailable,
            },
            other => other,
        }
    }

    /// Whether the service accepts jobs, apart from the state of the ledger.
    pub fn readiness(&self) -> Readiness {
        match self.inner.engine.get() {
            _ if self.inner.registry.is_draining() => Readiness::Draining,
            None => Readiness::Loading,
            Some(Some(_)) => Readiness::Ready,
            Some(None) => Readiness::Failed,
        }
    }

    /// The model, once it is loaded.
    ///
    /// # Errors
    /// [`ServiceError::NotReady`], [`ServiceError::NoEngine`], [`ServiceError::Draining`].
    pub fn model(&self) -> Result<&ModelCard, ServiceError> {
        Ok(self.inner.engine()?.model())
    }

    /// The request limits of the model and the operator.
    ///
    /// # Errors
    /// Those of [`model`](Self::model).
    pub fn limits(&self) -> Result<RequestLimits, ServiceError> {
        Ok(self.inner.settings.limits(self.model()?))
    }

    /// Checks a draft against the limits of the model and the operator, and fills in defaults.
    ///
    /// # Errors
    /// [`ServiceError::Invalid`] with all violations, and those of [`model`](Self::model).
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

    /// Accepts no new jobs from now on. Returns the number of jobs that [`drain`](Self::drain) waits for.
    pub fn begin_drain(&self) -> usize {
        self.inner.registry.drain();
        self.inner.registry.shutdown_blockers()
    }

    /// Ends the jobs of this process at once: jobs that a client waits for are canceled, the others return to
    /// the queue. The caller limits the time, because the ledger may not answer; the next start recovers the
    /// rest.
    pub async fn stop_now(&self) {
        self.inner.registry.drain();
        self.inner.releasing.send_replace(true);
        self.inner.stop().await;
        self.wait_idle().await;
    }

    /// Accepts no new jobs, and lets running jobs and jobs with waiters finish within `grace`. Detached jobs
    /// continue at the next start. Waiters of jobs that have not finished receive [`ServiceError::Draining`].
    pub async fn drain(&self, grace: Duration) {
        self.inner.registry.drain();
        // After `grace` the remaining jobs are stopped.
        let _ = tokio::time::timeout(grace, self.inner.registry.drained()).await;
        self.inner.stop().await;
    }
}

impl Inner {
    /// Logs that a worker could not claim the next job, unless that was logged a moment ago.
    pub(crate) fn log_failed_claim(&self, error: &tintype_ledger::Error) {
        if let Some(failures) = self.claim_failures.record() {
            tracing::error!(failures, error = %causes(error), "failed to claim next job");
        }
    }

    pub(crate) fn engine(&self) -> Result<&Arc<dyn Engine>, ServiceError> {
        if self.registry.is_draining() {
            return Err(ServiceError::Draining);
        }
        self.engine.get().ok_or(ServiceError::NotReady)?.as_ref().ok_or(ServiceError::NoEngine)
    }

    /// The engine, if it is loaded.
    pub(crate) fn loaded_engine(&self) -> Option<&Arc<dyn Engine>> {
        self.engine.get()?.as_ref()
    }

    pub(crate) async fn wait_for_engine(&self) {
        self.engine.wait().await;
    }

    /// The maximum engine time of a job.
    pub(crate) fn max_job_time(&self) -> Duration {
        let engine = self.engine.get().and_then(Option::as_ref).and_then(|engine| engine.max_duration());
        engine.map_or(self.settings.max_job, |limit| limit.min(self.settings.max_job))
    }

    pub(crate) fn slots(&self) -> usize {
        self.engine.get().and_then(Option::as_ref).map_or(1, |engine| engine.slots().max(1))
    }

    /// Counts a job that this process has ended in the ledger, and notifies its waiters.
    pub(crate) async fn record_end(&self, job: JobRecord) {
        // A serverless process is not scraped for metrics.
        if !self.settings.serverless
            && !self.metrics.has_key_name(&job.key)
            && let Ok(Some(key)) = self.ledger.key(&job.key).await
        {
            self.metrics.set_key_name(&key.id, &key.name);
        }
        self.metrics.ended(&job);
        self.registry.end(job);
    }

    /// All slots may run a request of this size at the same time, so each has an equal share of the memory
    /// limit.
    fn check_memory(&self, engine: &dyn Engine, request: &GenerateRequest) -> Option<Violation> {
        let limit = self.settings.max_memory? / engine.slots().max(1) as u64;
        let actual = engine.memory_needed(request);
        let kind = ViolationKind::TooMuchMemory { limit, actual };
        (actual > limit).then(|| Violation::new(oversized_parameter(engine.model(), request), kind))
    }

    /// Stops the remaining jobs. Jobs with waiters are canceled in the ledger, remote and detached ones stay
    /// in it.
    async fn stop(&self) {
        self.registry.mark_stopped();
        for active in self.registry.all() {
            active.stop(StopReason::Shutdown);
            if active.depends_on_waiters() && active.is_remote() {
                // The remote engine charges for the job; a retry finds it.
                self.registry.close(active.id, JobState::DetachedFromProcess(ServiceError::Draining));
            } else if active.depends_on_waiters() {
                let (job, now) = (active.id, time::OffsetDateTime::now_utc());
                if let Err(error) = self.ledger.cancel(&active.owner, job, now).await {
                    tracing::error!(%job, error = %causes(&error), "failed to cancel job at shutdown");
                }
                self.registry.close(active.id, JobState::DetachedFromProcess(self.shutdown_error(&active)));
            } else {
                self.registry.close(active.id, JobState::DetachedFromProcess(ServiceError::Draining));
            }
        }
        self.arrivals.notify_waiters();
    }

    /// The error for waiters of a job that ends with this process: a retry is possible unless the engine was
    /// called and may charge for the run.
    fn shutdown_error(&self, active: &ActiveJob) -> ServiceError {
        let engine = self.engine.get().and_then(Option::as_ref);
        if active.is_running_here() && engine.is_some_and(|engine| !engine.repeatable()) {
            ServiceError::Failed(Reason::OutcomeUnknown.into())
        } else {
            ServiceError::Draining
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.inner.registry.drain();
        self.inner.registry.mark_stopped();
        for active in self.inner.registry.all() {
            active.stop(StopReason::Shutdown);
            self.inner.registry.close(active.id, JobState::DetachedFromProcess(ServiceError::Draining));
        }
        self.inner.arrivals.notify_waiters();
    }
}

/// The parameter that makes a request larger than the model's default.
fn oversized_parameter(model: &ModelCard, request: &GenerateRequest) -> &'static str {
    match request {
        request if request.width > model.width => "width",
        request if request.height > model.height => "height",
        request if request.n > 1 => "n",
        _ => "width",
    }
}
