//! The service.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tintype_core::engine::{CallObstacle, Engine};
use tintype_core::request::{Draft, GenerateRequest};
use tintype_core::store::ObjectStore;
use tintype_ledger::Ledger;
use tintype_ledger::id::WorkerId;
use tokio::runtime::Handle;
use tokio::sync::{OnceCell, oneshot, watch};
use uuid::Uuid;

use crate::active_job::{JobState, StopReason};
use crate::admission_counter::AdmissionCounter;
use crate::error::ServiceError;
use crate::inner::Inner;
use crate::metrics::Metrics;
use crate::models::{LoadFailure, LoadTime, Model, ModelSpec, ModelState, ModelView, Models};
use crate::registry::JobRegistry;
use crate::repeated_failure::RepeatedFailure;
use crate::runner::{manage_loading, renew_leases};
use crate::settings::ServiceSettings;
use crate::task_tracker::TaskTracker;
use crate::watchers::Watchers;

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
            registry: JobRegistry::new(process, settings.topology),
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
        inner.runtime.spawn(renew_leases(Arc::downgrade(&inner)));
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
