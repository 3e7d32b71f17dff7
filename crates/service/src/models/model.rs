//! One model: its data, its engine while it is loaded, its queue places and slots.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tintype_core::engine::{Engine, EngineInfo};
use tintype_core::request::RequestLimits;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};

use super::availability::Availability;
use super::saved_times::SavedTimes;
use super::{EngineLoader, LoadTime, ModelSettings, ModelSpec};
use crate::error::ServiceError;
use crate::pricing::Estimates;

/// Whether a model can run jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelState {
    /// The model is not in memory; a request loads it.
    Unloaded,
    /// The model is being loaded.
    Loading,
    /// The model runs jobs.
    Loaded,
    /// The model finishes its running jobs, starts no others and is then unloaded.
    Unloading,
    /// The model could not be loaded; the cause is in the log.
    Failed,
}

/// The engine of a model.
#[derive(Clone)]
enum EngineState {
    Unloaded,
    Loading,
    Loaded(Arc<dyn Engine>),
    /// The jobs that run are finished; no others start.
    Unloading,
    Failed,
}

/// A model of the service.
pub(crate) struct Model {
    pub(crate) settings: ModelSettings,
    pub(crate) loader: Option<Arc<dyn EngineLoader>>,
    pub(crate) load: LoadTime,
    pub(crate) estimates: Estimates,
    pub(crate) saved_times: SavedTimes,
    /// One permit per place in the queue of requests whose client waits; none until the data is known.
    pub(crate) queue_places: Arc<Semaphore>,
    /// One permit per slot of the engine; none unless it is loaded.
    pub(crate) slots: Arc<Semaphore>,
    /// One permit per job whose images are being stored while the engine continues, so that a slow store slows the
    /// engine instead of filling the memory; none unless the engine is loaded.
    pub(crate) storing: Arc<Semaphore>,
    /// Notified when a job of this model may be ready to be claimed.
    pub(crate) arrivals: Notify,
    /// Whether the remote engine can be called.
    pub(crate) availability: Arc<Availability>,
    /// Places in the queue besides the engine's slots.
    queue: usize,
    info: RwLock<Option<Arc<EngineInfo>>>,
    engine: watch::Sender<EngineState>,
}

impl Model {
    pub(crate) fn new(spec: ModelSpec, queue: usize, max_job: Duration) -> Self {
        let ModelSpec { settings, loader, load } = spec;
        let state = match load {
            LoadTime::OnDemand if loader.is_some() => EngineState::Unloaded,
            LoadTime::OnDemand | LoadTime::AtStart => EngineState::Loading,
        };
        Self {
            estimates: Estimates::new(max_job, settings.price),
            saved_times: SavedTimes::default(),
            settings,
            loader,
            load,
            queue_places: Arc::new(Semaphore::new(0)),
            slots: Arc::new(Semaphore::new(0)),
            storing: Arc::new(Semaphore::new(0)),
            arrivals: Notify::new(),
            availability: Arc::new(Availability::new()),
            queue,
            info: RwLock::new(None),
            engine: watch::Sender::new(state),
        }
    }

    /// The name in the API and in the ledger; empty if only the engine knows it and it is not loaded.
    pub(crate) fn name(&self) -> String {
        match self.known_info() {
            Some(info) => info.model.name.clone(),
            None => self.settings.name.clone(),
        }
    }

    /// Sets the data of the engine, with the operator's settings applied. The data of a loaded engine replaces that of
    /// the plan: the model's files may have changed since.
    pub(crate) fn set_info(&self, info: EngineInfo) {
        let info = Arc::new(self.settings.apply(info));
        let places = self.queue + info.slots;
        let replaced = self.info.write().unwrap_or_else(PoisonError::into_inner).replace(info);
        if replaced.is_none() {
            self.queue_places.add_permits(places);
        }
    }

    /// What is known of the engine, once it is planned or loaded.
    ///
    /// # Errors
    /// [`ServiceError::NotReady`], [`ServiceError::NoEngine`].
    pub(crate) fn info(&self) -> Result<Arc<EngineInfo>, ServiceError> {
        match self.known_info() {
            _ if matches!(*self.engine.borrow(), EngineState::Failed) => Err(ServiceError::NoEngine),
            Some(info) => Ok(info),
            None => Err(ServiceError::NotReady),
        }
    }

    /// What is known of the engine, whatever its state is.
    pub(crate) fn known_info(&self) -> Option<Arc<EngineInfo>> {
        self.info.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The request limits of the model and the operator.
    pub(crate) fn limits(&self, info: &EngineInfo) -> RequestLimits {
        self.settings.request_limits(&info.model)
    }

    pub(crate) fn state(&self) -> ModelState {
        match *self.engine.borrow() {
            EngineState::Unloaded => ModelState::Unloaded,
            EngineState::Unloading => ModelState::Unloading,
            EngineState::Loading => ModelState::Loading,
            EngineState::Loaded(_) => ModelState::Loaded,
            EngineState::Failed => ModelState::Failed,
        }
    }

    /// The engine, if it is loaded.
    pub(crate) fn engine(&self) -> Option<Arc<dyn Engine>> {
        match &*self.engine.borrow() {
            EngineState::Loaded(engine) => Some(engine.clone()),
            _ => None,
        }
    }

    /// Waits until the model is loaded, has failed to load, or is unloaded.
    pub(crate) async fn settled(&self) {
        // `self` owns the sender, so the wait ends only when the condition holds.
        let is_settled =
            |state: &EngineState| !matches!(state, EngineState::Loading | EngineState::Unloading);
        let _ = self.engine.subscribe().wait_for(is_settled).await;
    }

    /// Marks the model as being loaded.
    pub(crate) fn set_loading(&self) {
        self.engine.send_replace(EngineState::Loading);
    }

    /// Sets the loaded engine. False if there is one already. The slots are opened by
    /// [`open_slots`](Self::open_slots).
    pub(crate) fn set_loaded(&self, engine: Arc<dyn Engine>) -> bool {
        self.set_info(engine.info().clone());
        self.engine.send_if_modified(|state| {
            let is_new = !matches!(state, EngineState::Loaded(_));
            if is_new {
                *state = EngineState::Loaded(engine);
            }
            is_new
        })
    }

    /// Lets as many jobs run as the engine has slots.
    pub(crate) fn open_slots(&self) {
        let slots = self.slot_count();
        self.storing.add_permits(slots);
        self.slots.add_permits(slots);
    }

    pub(crate) fn set_failed(&self) {
        self.engine.send_replace(EngineState::Failed);
    }

    /// Lets the next request load the model.
    pub(crate) fn set_unloaded(&self) {
        self.engine.send_replace(EngineState::Unloaded);
    }

    /// Finishes the jobs that run, starts no others, and drops the engine.
    pub(crate) async fn unload(&self) {
        self.engine.send_replace(EngineState::Unloading);
        self.arrivals.notify_waiters();
        let slots = u32::try_from(self.slot_count()).unwrap_or(u32::MAX);
        for permits in [&self.slots, &self.storing] {
            if let Ok(permits) = permits.clone().acquire_many_owned(slots).await {
                permits.forget();
            }
        }
        self.set_unloaded();
    }

    /// A free slot for a job that is accepted now.
    pub(crate) fn free_slot(&self) -> Option<(Arc<dyn Engine>, OwnedSemaphorePermit)> {
        let slot = self.slots.clone().try_acquire_owned().ok()?;
        // A slot that was taken before the model began to unload is waited for.
        Some((self.engine()?, slot))
    }

    /// Whether a job of this model runs in this process.
    pub(crate) fn is_busy(&self) -> bool {
        self.slots.available_permits() < self.slot_count()
            || self.storing.available_permits() < self.slot_count()
    }

    /// The number of jobs that the engine runs at a time.
    pub(crate) fn slot_count(&self) -> usize {
        self.known_info().map_or(1, |info| info.slots)
    }
}
