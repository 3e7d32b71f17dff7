//! Follows the jobs whose clients wait in this process: cancels those without clients, ends those past their deadline,
//! and reads those that another process runs.

use std::sync::Arc;
use std::time::Duration;

use tintype_core::causes::causes;
use tokio::time::{Instant, sleep_until};

use crate::active_job::{ActiveJob, JobState, StopReason};
use crate::error::ServiceError;
use crate::inner::Inner;
use crate::settings::Topology;

/// Shortest interval between reads of a job that another process may run.
const MIN_RECONCILE_INTERVAL: Duration = Duration::from_millis(500);
/// Longest interval between such reads.
const MAX_RECONCILE_INTERVAL: Duration = Duration::from_secs(5);

impl Inner {
    /// Cancels a job at `until` if it still has no clients.
    pub(crate) fn cancel_if_disconnected_at(self: &Arc<Self>, active: &Arc<ActiveJob>, until: Instant) {
        let (inner, active) = (Arc::downgrade(self), active.clone());
        self.runtime.spawn(async move {
            // Usually 10 s later: clients can rejoin the job until then.
            sleep_until(until).await;
            let Some(inner) = inner.upgrade() else { return };
            inner.registry.remove_expired();
            if active.has_ended() || !active.is_disconnected() {
                return;
            }
            if inner.settings.topology != Topology::SingleProcess && inner.has_waiter_elsewhere(&active).await
            {
                return active.detach();
            }
            active.stop(StopReason::Canceled);
            // A running job is also stopped by its worker, which may be in this process.
            inner.cancel_in_ledger(&active).await;
        });
    }

    /// Whether a client in another process waits for the job or will fetch its result. True if the ledger
    /// cannot be read.
    async fn has_waiter_elsewhere(&self, active: &ActiveJob) -> bool {
        match self.ledger.job(&active.owner, active.id).await {
            Ok(job) => job.is_some_and(|job| job.waiter.as_ref() != Some(&self.process)),
            Err(error) => {
                tracing::warn!(job = %active.id, error = %causes(&error), "failed to check whether another process waits for the job");
                true
            }
        }
    }

    /// Watches a job of this process: ends it after its deadline, and follows it if another process runs it.
    /// One watching task per entry is enough.
    pub(crate) fn watch_job(self: &Arc<Self>, active: &Arc<ActiveJob>) {
        let single_process = self.settings.topology == Topology::SingleProcess;
        if (active.deadline.is_none() && single_process) || !active.start_watching() {
            return;
        }
        let (inner, active) = (Arc::downgrade(self), Arc::downgrade(active));
        self.runtime.spawn(async move {
            let mut interval = MIN_RECONCILE_INTERVAL;
            loop {
                let Some((next, mut states)) = active.upgrade().map(|active| {
                    let next_poll = (!single_process).then(|| Instant::now() + interval);
                    // After the deadline the job's worker stops a running job, which is read until it has
                    // ended.
                    let deadline = active.deadline.map(|at| at.max(Instant::now() + MIN_RECONCILE_INTERVAL));
                    (next_poll.into_iter().chain(deadline).min(), active.states())
                }) else {
                    return;
                };
                tokio::select! {
                    () = sleep_until(next.unwrap_or_else(|| Instant::now() + MAX_RECONCILE_INTERVAL)) => {}
                    _ = states.wait_for(JobState::is_final) => return,
                }
                let (Some(inner), Some(active)) = (inner.upgrade(), active.upgrade()) else { return };
                inner.reconcile(&active).await;
                interval = (interval * 2).min(MAX_RECONCILE_INTERVAL);
            }
        });
    }

    async fn reconcile(self: &Arc<Self>, active: &ActiveJob) {
        if active.has_ended() || active.is_running_here() {
            return;
        }
        match self.ledger.reconcile(&active.owner, active.id, self.now()).await {
            Ok(Some(job)) if job.status.is_final() => drop(self.registry.end(job)),
            // The process that polled the remote engine has released the job, and a client of this process
            // waits.
            Ok(Some(job)) if job.is_remote() && active.has_observers() => self.start_worker(&job),
            Ok(Some(_)) => {}
            // The owner deleted the job through another process.
            Ok(None) => {
                self.registry.close(active.id, JobState::DetachedFromProcess(ServiceError::Canceled));
            }
            Err(error) => {
                tracing::warn!(job = %active.id, error = %causes(&error), "failed to reconcile job");
                if error.is_unreadable() {
                    self.registry.close(active.id, JobState::DetachedFromProcess(error.into()));
                }
            }
        }
    }
}
