//! The shared state of the service.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use time::OffsetDateTime;
use tintype_core::causes::causes;
use tintype_core::engine::EngineInfo;
use tintype_core::model::ModelCard;
use tintype_core::request::GenerateRequest;
use tintype_core::store::ObjectStore;
use tintype_core::violation::{Violation, ViolationKind};
use tintype_ledger::id::WorkerId;
use tintype_ledger::job::JobRecord;
use tintype_ledger::{KeyStore, Ledger};
use tokio::runtime::Handle;
use tokio::sync::{Notify, OnceCell, watch};
use tokio::time::Instant;

use crate::active_job::ActiveJob;
use crate::admission_counter::AdmissionCounter;
use crate::error::ServiceError;
use crate::metrics::Metrics;
use crate::models::{Model, ModelState, Models};
use crate::registry::JobRegistry;
use crate::repeated_failure::RepeatedFailure;
use crate::settings::{ServiceSettings, Topology};
use crate::task_tracker::TaskTracker;
use crate::watchers::Watchers;

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
    pub(crate) recovery: OnceCell<()>,
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

impl Inner {
    /// The current time of the ledger, for leases, deadlines and records.
    pub(crate) fn now(&self) -> OffsetDateTime {
        self.ledger.now()
    }

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
    pub(crate) fn wake_workers(&self) {
        self.models.iter().for_each(|model| model.arrivals.notify_waiters());
    }

    /// Counts a job that this process has ended in the ledger, and notifies its waiters.
    pub(crate) async fn record_end(&self, job: JobRecord) {
        // A serverless process is not scraped for metrics.
        if self.settings.topology != Topology::Serverless
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
    pub(crate) fn check_memory(&self, engine: &EngineInfo, request: &GenerateRequest) -> Option<Violation> {
        let limit = self.settings.max_memory? / engine.slots.max(1) as u64;
        let actual = engine.model.memory_needed(request);
        let kind = ViolationKind::TooMuchMemory { limit, actual };
        (actual > limit).then(|| Violation::new(oversized_parameter(&engine.model, request), kind))
    }

    /// Cancels a job in the ledger. A queued job ends with this.
    pub(crate) async fn cancel_in_ledger(&self, active: &ActiveJob) {
        match self.ledger.cancel(&active.owner, active.id, self.now()).await {
            Ok(Some(job)) if job.status.is_final() => drop(self.registry.end(job)),
            Ok(_) => {}
            Err(error) => {
                tracing::error!(job = %active.id, error = %causes(&error), "failed to cancel job")
            }
        }
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
