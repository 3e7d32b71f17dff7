//! The service and its shared state.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tintype_core::causes::causes;
use tintype_core::engine::{CallObstacle, Engine, EngineInfo};
use tintype_core::model::ModelCard;
use tintype_core::request::{Draft, GenerateRequest, RequestLimits};
use tintype_core::store::ObjectStore;
use tintype_core::violation::{Violation, ViolationKind};
use tintype_ledger::id::WorkerId;
use tintype_ledger::job::{JobRecord, Reason, RecoveryScope};
use tintype_ledger::money::Price;
use tintype_ledger::{KeyStore, Ledger};
use tokio::runtime::Handle;
use tokio::sync::{Notify, OnceCell, oneshot, watch};
use tokio::time::Instant;
use uuid::Uuid;

use crate::active_job::{ActiveJob, JobState, StopReason};
use crate::admission::AdmissionCounter;
use crate::availability;
use crate::error::ServiceError;
use crate::janitor;
use crate::metrics::Metrics;
use crate::models::{Alias, LoadFailure, LoadTime, Model, ModelSpec, ModelState, Models, manage_loading};
use crate::registry::JobRegistry;
use crate::repeated_failure::RepeatedFailure;
use crate::settings::ServiceSettings;
use crate::task_tracker::TaskTracker;
use crate::watchers::Watchers;
use crate::worker::claim_and_run_jobs;

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
    pub(crate) keys: Arc<dyn KeyStore>,
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) registry: JobRegistry,
    pub(crate) models: Models,
    /// Wakes the task that loads models.
    pub(crate) load_requests: Arc<Notify>,
    pub(crate) metrics: Metrics,
    pub(crate) watchers: Arc<Watchers>,
    /// The unique name of this process in the ledger.
    pub(crate) process: WorkerId,
    /// Submissions that are being admitted.
    pub(crate) admissions: AdmissionCounter,
    /// Done once the jobs of an earlier process are recovered.
    recovery: OnceCell<()>,
    /// Failures of workers to claim jobs.
    pub(crate) claim_failures: RepeatedFailure,
    /// The tasks that must end before the process may be frozen.
    pub(crate) tasks: TaskTracker,
    /// Whether workers must release their jobs at once.
    pub(crate) releasing: watch::Sender<bool>,
    /// Time of the next check for jobs of other processes.
    pub(crate) next_pending_check: Mutex<Option<Instant>>,
    pub(crate) runtime: Handle,
}

impl Service {
    /// Creates a service with one model, whose engine is set by [`engine_ready`](Self::engine_ready).
    ///
    /// # Panics
    /// Panics outside of a tokio runtime, on which the service spawns its tasks.
    pub fn new(settings: ServiceSettings, store: Arc<dyn ObjectStore>, ledger: Arc<dyn Ledger>) -> Arc<Self> {
        let only = ModelSpec { settings: settings.only_model(), loader: None, load: LoadTime::AtStart };
        Self::with_models(settings, vec![only], store, ledger)
    }

    /// Creates a service with these models, the first of which is the default. [`start_loading`](Self::start_loading)
    /// loads those that have a loader.
    ///
    /// # Panics
    /// Panics without a model, and outside of a tokio runtime, on which the service spawns its tasks.
    pub fn with_models(
        settings: ServiceSettings,
        models: Vec<ModelSpec>,
        store: Arc<dyn ObjectStore>,
        ledger: Arc<dyn Ledger>,
    ) -> Arc<Self> {
        assert!(!models.is_empty(), "a service needs a model");
        let process = Uuid::now_v7().simple().to_string();
        let process: WorkerId = process.parse().expect("hexadecimal digits are a valid worker id");
        let model = |spec| Arc::new(Model::new(spec, settings.queue, settings.max_job));
        let inner = Inner {
            models: Models::new(models.into_iter().map(model).collect()),
            load_requests: Arc::default(),
            metrics: Metrics::new(),
            watchers: Watchers::new(settings.watchers_per_job, settings.watchers_per_owner),
            process: process.clone(),
            keys: ledger.clone(),
            ledger,
            store,
            registry: JobRegistry::new(process, settings.single_process),
            settings,
            admissions: AdmissionCounter::default(),
            recovery: OnceCell::new(),
            claim_failures: RepeatedFailure::default(),
            tasks: TaskTracker::new(),
            releasing: watch::Sender::new(false),
            next_pending_check: Mutex::default(),
            runtime: Handle::current(),
        };
        let inner = Arc::new(inner);
        inner.runtime.spawn(janitor::renew_leases(Arc::downgrade(&inner)));
        Arc::new(Self { inner })
    }

    /// Plans all models that have a loader, loads those of [`LoadTime::AtStart`], and loads the others on demand.
    /// The receiver gets the failures when all models of the start are loaded or have failed.
    pub fn start_loading(&self) -> oneshot::Receiver<Vec<LoadFailure>> {
        let (started, failures) = oneshot::channel();
        self.inner.runtime.spawn(manage_loading(Arc::downgrade(&self.inner), started));
        failures
    }

    /// Sets the loaded engine of the default model and starts its workers. It can be called from any thread; a
    /// second engine is ignored.
    pub fn engine_ready(&self, engine: Arc<dyn Engine>) {
        let inner = self.inner.clone();
        let model = inner.models.default_model().clone();
        if !model.set_loaded(engine) {
            return;
        }
        let runtime = inner.runtime.clone();
        runtime.spawn(async move { inner.start_workers(&model).await });
    }

    /// Records that the default model could not be loaded; the error is logged.
    pub fn engine_failed(&self, error: String) {
        tracing::error!(%error, "failed to load model");
        self.inner.models.default_model().set_failed();
    }

    /// The data and the state of each model, the default one first. Models of which nothing is known yet are left
    /// out.
    pub fn models(&self) -> Vec<ModelView<'_>> {
        self.inner.models.iter().filter_map(|model| ModelView::new(model)).collect()
    }

    /// The model that a request selects by its name or an alias; the default model without a name.
    ///
    /// # Errors
    /// [`ServiceError::UnknownModel`], [`ServiceError::NotReady`], [`ServiceError::NoEngine`],
    /// [`ServiceError::Draining`].
    pub fn model(&self, requested: Option<&str>) -> Result<ModelView<'_>, ServiceError> {
        let (model, info) = self.inner.model(requested)?;
        Ok(ModelView { model, info })
    }

    /// Whether the service accepts jobs. Checks the ledger if its last write failed.
    pub async fn check_readiness(&self) -> Readiness {
        match self.readiness() {
            Readiness::Ready => match self.inner.ledger.probe().await {
                Ok(()) => match self.obstacle() {
                    Some(obstacle) => Readiness::EngineUnavailable(obstacle),
                    None => Readiness::Ready,
                },
                Err(_) => Readiness::LedgerUnavailable,
            },
            other => other,
        }
    }

    /// Why no model can be called; `None` if at least one can.
    fn obstacle(&self) -> Option<CallObstacle> {
        let usable = self.inner.models.iter().filter(|model| model.state() != ModelState::Failed);
        let obstacles: Option<Vec<_>> = usable.map(|model| model.availability.obstacle()).collect();
        obstacles?.first().copied()
    }

    /// Whether the service accepts jobs, apart from the state of the ledger: all models of the start are loaded, or
    /// have failed to load, and at least one model works.
    pub fn readiness(&self) -> Readiness {
        let states: Vec<_> = self.inner.models.iter().map(|model| model.state()).collect();
        let starting = self
            .inner
            .models
            .iter()
            .any(|model| model.load == LoadTime::AtStart && model.state() == ModelState::Loading);
        match states {
            _ if self.inner.registry.is_draining() => Readiness::Draining,
            _ if starting => Readiness::Loading,
            states if states.iter().all(|state| *state == ModelState::Failed) => Readiness::Failed,
            _ => Readiness::Ready,
        }
    }

    /// Checks a draft against the limits of a model and the operator, and fills in defaults.
    ///
    /// # Errors
    /// [`ServiceError::Invalid`] with all violations, and those of [`model`](Self::model).
    pub fn check(&self, model: Option<&str>, draft: Draft) -> Result<GenerateRequest, ServiceError> {
        let (model, info) = self.inner.model(model)?;
        let request = draft
            .check(&info.model, &model.limits(&info), fastrand::u32(..))
            .map_err(ServiceError::Invalid)?;
        match self.inner.check_memory(&info, &request) {
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

    /// The model that a request selects, and what is known of its engine.
    pub(crate) fn model(
        &self,
        requested: Option<&str>,
    ) -> Result<(&Arc<Model>, Arc<EngineInfo>), ServiceError> {
        if self.registry.is_draining() {
            return Err(ServiceError::Draining);
        }
        let model = self.models.resolve(requested)?;
        Ok((model, model.info()?))
    }

    /// Waits until no model is being loaded.
    pub(crate) async fn wait_loaded(&self) {
        for model in self.models.iter() {
            model.settled().await;
        }
    }

    /// The maximum engine time of a job.
    pub(crate) fn max_job_time(&self, info: &EngineInfo) -> Duration {
        info.max_duration.map_or(self.settings.max_job, |limit| limit.min(self.settings.max_job))
    }

    /// Sets a model's loaded engine and starts its workers.
    pub(crate) async fn start_engine(self: &Arc<Self>, model: &Arc<Model>, engine: Arc<dyn Engine>) {
        if model.set_loaded(engine) {
            self.start_workers(model).await;
        }
    }

    /// Starts the workers of a model. In a serverless process, each job starts a worker of its own.
    async fn start_workers(self: &Arc<Self>, model: &Arc<Model>) {
        if self.settings.serverless {
            return model.open_slots();
        }
        self.runtime.spawn(availability::watch_engine(Arc::downgrade(model)));
        self.recovery.get_or_init(|| self.recover_at_start()).await;
        model.open_slots();
        for slot in 0..model.slot_count() {
            self.runtime.spawn(claim_and_run_jobs(self.clone(), model.clone(), slot));
        }
    }

    /// Recovers the jobs of an earlier process, once, before the first worker starts: jobs that are running in the
    /// ledger belong to other processes.
    async fn recover_at_start(self: &Arc<Self>) {
        let scope = match self.settings.single_process {
            true => RecoveryScope::All,
            false => RecoveryScope::ExpiredLeases,
        };
        self.recover(scope).await;
        self.runtime.spawn(janitor::recover_lost_jobs(Arc::downgrade(self)));
    }

    /// Wakes the workers of a model, or the task that loads it.
    pub(crate) fn announce_arrival(&self, model: &str) {
        match self.models.by_name(model) {
            Some(model) if matches!(model.state(), ModelState::Unloaded | ModelState::Unloading) => {
                self.load_requests.notify_one();
            }
            Some(model) => model.arrivals.notify_one(),
            None => tracing::warn!(model, "a job waits for a model that this server does not have"),
        }
    }

    /// Wakes all workers.
    pub(crate) fn announce_arrivals(&self) {
        self.models.iter().for_each(|model| model.arrivals.notify_one());
        self.load_requests.notify_one();
    }

    /// Lets all workers check whether they must stop.
    fn wake_workers(&self) {
        self.models.iter().for_each(|model| model.arrivals.notify_waiters());
    }

    /// Counts a job that this process has ended in the ledger, and notifies its waiters.
    pub(crate) async fn record_end(&self, job: JobRecord) {
        // A serverless process is not scraped for metrics.
        if !self.settings.serverless
            && !self.metrics.has_key_name(&job.key)
            && let Ok(Some(key)) = self.keys.key(&job.key).await
        {
            self.metrics.set_key_name(&key.id, &key.name);
        }
        self.metrics.ended(&job);
        self.registry.end(job);
    }

    /// All slots may run a request of this size at the same time, so each has an equal share of the memory
    /// limit.
    fn check_memory(&self, engine: &EngineInfo, request: &GenerateRequest) -> Option<Violation> {
        let limit = self.settings.max_memory? / engine.slots.max(1) as u64;
        let actual = engine.model.memory_needed(request);
        let kind = ViolationKind::TooMuchMemory { limit, actual };
        (actual > limit).then(|| Violation::new(oversized_parameter(&engine.model, request), kind))
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
        self.wake_workers();
    }

    /// The error for waiters of a job that ends with this process: a retry is possible unless the engine was
    /// called and may charge for the run.
    fn shutdown_error(&self, active: &ActiveJob) -> ServiceError {
        let info = self.models.by_name(&active.model).and_then(|model| model.known_info());
        if active.is_running_here() && info.is_some_and(|info| !info.repeatable) {
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
        self.inner.wake_workers();
    }
}

/// A model of the service.
#[derive(Clone)]
pub struct ModelView<'a> {
    model: &'a Model,
    info: Arc<EngineInfo>,
}

impl<'a> ModelView<'a> {
    fn new(model: &'a Model) -> Option<Self> {
        Some(Self { model, info: model.known_info()? })
    }

    /// The model's name, defaults and limits.
    pub fn card(&self) -> &ModelCard {
        &self.info.model
    }

    /// The request limits of the model and the operator.
    pub fn limits(&self) -> RequestLimits {
        self.model.limits(&self.info)
    }

    /// Other names by which requests can select the model.
    pub fn aliases(&self) -> &'a [Alias] {
        &self.model.settings.aliases
    }

    /// The price.
    pub fn price(&self) -> Option<Price> {
        self.model.settings.price
    }

    /// Whether the model can run jobs.
    pub fn state(&self) -> ModelState {
        self.model.state()
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
