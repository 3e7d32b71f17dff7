//! Ends the jobs of this process at its stop.

use tintype_core::causes::causes;
use tintype_ledger::job::Reason;

use crate::active_job::{ActiveJob, JobState, StopReason};
use crate::error::ServiceError;
use crate::inner::Inner;

impl Inner {
    /// Stops the remaining jobs. Jobs with waiters are canceled in the ledger, remote and detached ones stay
    /// in it.
    pub(crate) async fn stop(&self) {
        self.registry.mark_stopped();
        for active in self.registry.all() {
            active.stop(StopReason::Shutdown);
            if active.depends_on_waiters() && active.is_remote() {
                // The remote engine charges for the job; a retry finds it.
                self.registry.close(active.id, JobState::DetachedFromProcess(ServiceError::Draining));
            } else if active.depends_on_waiters() {
                let (job, now) = (active.id, self.now());
                if let Err(error) = self.ledger.cancel(&active.owner, job, now).await {
                    tracing::error!(%job, error = %causes(&error), "failed to cancel job at shutdown");
                }
                self.registry.close(active.id, JobState::DetachedFromProcess(self.shutdown_error(&active)));
            } else {
                self.registry.close(active.id, JobState::DetachedFromProcess(ServiceError::Draining));
            }
        }
        self.wake_workers();
        self.save_last_engine_times().await;
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
