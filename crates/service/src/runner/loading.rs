//! Loads models, at the start and on demand, and unloads models when the memory is needed for others.
//!
//! One model is loaded at a time, because loading needs the most memory. A model with running jobs is never unloaded.
//! If models take turns because they do not fit into the memory together, a model is served for [`TURN`] at least
//! before another one that waits replaces it, so that most of the time is spent on jobs and not on loading.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use crate::active_job::JobState;
use crate::error::ServiceError;
use crate::inner::Inner;
use crate::models::{EngineLoader, LoadFailure, LoadTime, Model, ModelState};

/// How long a model whose queue is not empty is served while another model waits for its memory.
const TURN: Duration = Duration::from_secs(20);
/// Interval between checks while a model waits for memory.
const CHECK_INTERVAL: Duration = Duration::from_millis(200);
/// Time after which a model that could not be planned or loaded may be tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(60);

/// What the loading task remembers between its rounds.
#[derive(Default)]
struct Schedule {
    /// Since when jobs have waited for a model that is not loaded, by index.
    wanted_since: HashMap<usize, Instant>,
    /// When a model's turn began: when it was loaded, or when another model began to wait for its memory.
    turn_began: HashMap<usize, Instant>,
    /// When a model failed to load.
    failed_at: HashMap<usize, Instant>,
}

/// Plans all models and loads those of [`LoadTime::AtStart`], reports their failures, and then loads and unloads the
/// others until the service is dropped.
pub(crate) async fn manage_loading(inner: Weak<Inner>, started: oneshot::Sender<Vec<LoadFailure>>) {
    let mut schedule = Schedule::default();
    let Some(strong) = inner.upgrade() else { return };
    // The models of the start do not wait for the plans of the others, for which all their files are read.
    let at_start = async {
        let mut failures = strong.plan_models(LoadTime::AtStart).await;
        failures.extend(strong.load_at_start().await);
        failures
    };
    let (mut failures, others) = futures::join!(at_start, strong.plan_models(LoadTime::OnDemand));
    failures.extend(others);
    drop(strong);
    // The caller may not be interested in the failures, which are also states of the models.
    let _ = started.send(failures);
    loop {
        let Some(strong) = inner.upgrade() else { return };
        let is_waiting = strong.load_wanted(&mut schedule).await;
        let wakeup = strong.load_requests.clone();
        drop(strong);
        // A model that cannot be loaded yet is tried again soon; otherwise the next request wakes the task.
        let wait = if is_waiting { CHECK_INTERVAL } else { RETRY_INTERVAL };
        let _ = timeout(wait, wakeup.notified()).await;
    }
}

impl Inner {
    /// Learns what is known without the weights of each model that is loaded at this time.
    async fn plan_models(&self, load: LoadTime) -> Vec<LoadFailure> {
        let mut failures = Vec::new();
        for model in self.models.iter().filter(|model| model.load == load) {
            if let Err(error) = plan(model).await {
                model.set_failed();
                failures.push(LoadFailure { model: model.name(), error });
            }
        }
        failures
    }

    /// Plans a model whose last plan failed, for example because its folder was missing. Returns whether it succeeds.
    async fn plan_again(model: &Model) -> bool {
        let planned = plan(model).await;
        match &planned {
            Ok(()) => tracing::info!(model = model.name(), "model found"),
            Err(error) => tracing::debug!(model = model.name(), error, "model still cannot be loaded"),
        }
        planned.is_ok()
    }

    async fn load_at_start(self: &Arc<Self>) -> Vec<LoadFailure> {
        let mut failures = Vec::new();
        for model in self.models.iter() {
            let is_wanted = model.load == LoadTime::AtStart && model.state() == ModelState::Loading;
            if let Some(loader) = model.loader.clone().filter(|_| is_wanted)
                && let Err(error) = self.load(model, loader).await
            {
                failures.push(LoadFailure { model: model.name(), error });
            }
        }
        failures
    }

    /// Loads a model and starts its workers.
    ///
    /// # Errors
    /// The loader's error with its causes.
    async fn load(self: &Arc<Self>, model: &Arc<Model>, loader: Arc<dyn EngineLoader>) -> Result<(), String> {
        model.set_loading();
        let began = Instant::now();
        let loaded = tokio::task::spawn_blocking(move || loader.load().map_err(|error| chain(&*error))).await;
        match loaded.unwrap_or_else(|panic| Err(panic.to_string())) {
            Ok(engine) => {
                tracing::info!(model = model.name(), seconds = began.elapsed().as_secs_f64(), "model loaded");
                self.start_engine(model, engine).await;
                Ok(())
            }
            Err(error) => {
                model.set_failed();
                Err(error)
            }
        }
    }

    /// Loads the model that has waited longest, if there is memory for it or can be made. Returns whether a model
    /// still waits.
    async fn load_wanted(self: &Arc<Self>, schedule: &mut Schedule) -> bool {
        let now = Instant::now();
        let models: Vec<_> = self.models.iter().cloned().collect();
        let on_demand = |model: &Model| model.loader.is_some() && model.load == LoadTime::OnDemand;
        for (index, model) in models.iter().enumerate().filter(|(_, model)| on_demand(model)) {
            if model.state() != ModelState::Failed {
                continue;
            }
            let failed_at = *schedule.failed_at.entry(index).or_insert(now);
            if now - failed_at < RETRY_INTERVAL {
                continue;
            }
            if model.known_info().is_some() || Self::plan_again(model).await {
                schedule.failed_at.remove(&index);
                model.set_unloaded();
            } else {
                schedule.failed_at.insert(index, Instant::now());
            }
        }
        if !models.iter().any(|model| on_demand(model) && model.state() == ModelState::Unloaded) {
            return false;
        }
        let queued = match self.ledger.load().await {
            Ok(loads) => loads,
            Err(error) => {
                tracing::warn!(error = %tintype_core::causes::causes(&error), "failed to count queued jobs");
                return true;
            }
        };
        let is_queued = |model: &Model| queued.get(&model.name()).is_some_and(|load| load.queued > 0);
        let mut wanted: Vec<_> = models
            .iter()
            .enumerate()
            .filter(|(_, model)| {
                on_demand(model) && model.state() == ModelState::Unloaded && is_queued(model)
            })
            .map(|(index, _)| index)
            .collect();
        schedule.wanted_since.retain(|index, _| wanted.contains(index));
        for index in &wanted {
            schedule.wanted_since.entry(*index).or_insert(now);
        }
        wanted.sort_by_key(|index| schedule.wanted_since.get(index).copied());
        let Some(&index) = wanted.first() else {
            schedule.turn_began.clear();
            return false;
        };
        let Some(model) = models.get(index) else { return false };
        if !self.make_room(&models, model, &is_queued, schedule).await {
            return true;
        }
        let Some(loader) = model.loader.clone() else { return false };
        match self.load(model, loader).await {
            Ok(()) => drop(schedule.turn_began.insert(index, Instant::now())),
            Err(error) => {
                tracing::error!(model = model.name(), error, "failed to load model");
                schedule.failed_at.insert(index, Instant::now());
                self.close_waiting(model).await;
            }
        }
        true
    }

    /// Unloads models until there is memory for `wanted`. False if a model that is in use must be waited for.
    async fn make_room(
        &self,
        models: &[Arc<Model>],
        wanted: &Model,
        is_queued: &impl Fn(&Model) -> bool,
        schedule: &mut Schedule,
    ) -> bool {
        let Some(budget) = self.settings.models_memory else { return true };
        let needed = wanted.known_info().map_or(0, |info| info.weights_bytes);
        loop {
            let loaded = models.iter().enumerate().filter(|(_, model)| model.engine().is_some());
            let used: u64 =
                loaded.clone().filter_map(|(_, model)| Some(model.known_info()?.weights_bytes)).sum();
            if used.saturating_add(needed) <= budget {
                return true;
            }
            let mut candidates: Vec<_> =
                loaded.filter(|(_, model)| model.load == LoadTime::OnDemand).collect();
            if candidates.is_empty() {
                // Only models of the start are left: the memory is what the operator gave them.
                return true;
            }
            // Idle models first, then the one whose turn began first.
            candidates.sort_by_key(|(index, model)| {
                (is_queued(model) || model.is_busy(), schedule.turn_began.get(index).copied())
            });
            let Some((index, model)) = candidates.into_iter().next() else { return false };
            let in_use = is_queued(model) || model.is_busy();
            let began = *schedule.turn_began.entry(index).or_insert_with(Instant::now);
            if in_use && began.elapsed() < TURN {
                return false;
            }
            tracing::info!(model = model.name(), for_model = wanted.name(), "unloading model");
            model.unload().await;
            schedule.turn_began.remove(&index);
        }
    }

    /// Answers the clients that wait in this process for a job of a model that could not be loaded. Detached jobs wait
    /// for the next attempt.
    async fn close_waiting(&self, model: &Model) {
        for active in self.registry.all() {
            if active.model == model.name() && active.depends_on_waiters() && !active.is_running_here() {
                self.registry.close(active.id, JobState::DetachedFromProcess(ServiceError::NoEngine));
                self.cancel_in_ledger(&active).await;
            }
        }
    }
}

/// Learns what is known of a model without its weights.
///
/// # Errors
/// The loader's error with its causes.
async fn plan(model: &Model) -> Result<(), String> {
    let Some(loader) = model.loader.clone() else { return Ok(()) };
    let planned = tokio::task::spawn_blocking(move || loader.plan().map_err(|error| chain(&*error))).await;
    if let Some(info) = planned.unwrap_or_else(|panic| Err(panic.to_string()))? {
        model.set_info(info);
    }
    Ok(())
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    tintype_core::causes::causes(error).to_string()
}
