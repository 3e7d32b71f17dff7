//! Periodic tasks: renews leases, recovers jobs of lost workers, deletes old records, cancels jobs without
//! clients and watches deadlines and jobs of other processes.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::future::join_all;
use tintype_core::causes::causes;
use tintype_ledger::HeartbeatReply;
use tintype_ledger::job::RecoveryScope;
use tokio::time::{Instant, sleep, sleep_until};

use crate::active_job::{ActiveJob, JobState, StopReason};
use crate::error::ServiceError;
use crate::inner::Inner;
use crate::settings::Topology;
use crate::worker::lease_duration;

/// Interval between renewals of a lease.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(15);
/// Interval between searches for jobs of lost workers.
const RECOVERY_INTERVAL: Duration = Duration::from_secs(30);
/// With several processes, old jobs are deleted once per this many rounds: about every hour.
const ROUNDS_PER_DELETION: u64 = 120;
/// Maximum number of old jobs that are deleted in one round.
const MAX_DELETIONS: usize = 1_000;
/// Upper bound of the age limit (100 years), which keeps the subtraction from the current time in range.
const MAX_JOB_AGE: Duration = Duration::from_secs(100 * 365 * 86_400);
/// Shortest interval between reads of a job that another process may run.
const MIN_RECONCILE_INTERVAL: Duration = Duration::from_millis(500);
/// Longest interval between such reads.
const MAX_RECONCILE_INTERVAL: Duration = Duration::from_secs(5);

/// Recovers jobs of lost workers and deletes old records until the service is dropped or drains.
pub(crate) async fn recover_lost_jobs(inner: Weak<Inner>) {
    for round in 0u64.. {
        sleep(RECOVERY_INTERVAL).await;
        let Some(inner) = inner.upgrade() else { return };
        if inner.registry.is_draining() {
            return;
        }
        inner.recover(RecoveryScope::ExpiredLeases).await;
        // The search for old jobs is cheap in a database, but lists all jobs in a bucket.
        let is_deletion_due =
            inner.settings.topology == Topology::SingleProcess || round.is_multiple_of(ROUNDS_PER_DELETION);
        if is_deletion_due
            && let Some(keep) = inner.settings.keep_jobs
            && let Err(error) = inner.delete_old_jobs(keep).await
        {
            tracing::error!(error = %causes(&error), "failed to delete old jobs");
        }
    }
}

/// Renews the leases of the jobs that this process runs, and stops the jobs that were canceled, until the
/// service is dropped.
pub(crate) async fn renew_leases(inner: Weak<Inner>) {
    loop {
        sleep(HEARTBEAT_INTERVAL).await;
        let Some(inner) = inner.upgrade() else { return };
        let duration = lease_duration(inner.settings.topology);
        let running = inner.registry.all().into_iter().filter_map(|active| Some((active.run()?, active)));
        let heartbeats = running.map(async |(run, active)| {
            match inner.ledger.heartbeat(&run, inner.now() + duration).await {
                Ok(HeartbeatReply::Continue) => {}
                Ok(HeartbeatReply::CancelRequested) => active.stop(StopReason::Canceled),
                // Only if the run has not ended in the meantime.
                Ok(HeartbeatReply::LeaseLost) if active.run() == Some(run) => {
                    active.stop(StopReason::LeaseLost)
                }
                Ok(HeartbeatReply::LeaseLost) => {}
                Err(error) => {
                    tracing::warn!(job = %active.id, error = %causes(&error), "failed to renew job lease")
                }
            }
        });
        join_all(heartbeats).await;
    }
}

impl Inner {
    /// Deletes up to [`MAX_DELETIONS`] records of jobs that ended longer ago than `keep`. The store decides
    /// how long images are kept.
    async fn delete_old_jobs(&self, keep: Duration) -> Result<(), ServiceError> {
        let before = self.now() - keep.min(MAX_JOB_AGE);
        for job in self.ledger.finished_jobs(before, MAX_DELETIONS).await? {
            self.ledger.delete(&job.owner, job.id, self.now()).await?;
        }
        Ok(())
    }

    /// Ends or requeues the jobs whose worker is lost.
    pub(crate) async fn recover(&self, lost: RecoveryScope) {
        match self.ledger.recover(self.now(), lost).await {
            Ok(recovered) => {
                let (requeued, ended) = (recovered.requeued.len(), recovered.ended.len());
                if requeued + ended > 0 {
                    tracing::info!(requeued, ended, "recovered jobs of lost workers");
                }
                for job in recovered.ended {
                    self.record_end(job).await;
                }
            }
            Err(error) => tracing::error!(error = %causes(&error), "failed to recover jobs of lost workers"),
        }
        if self.ledger.unreadable_records() > 0 {
            self.close_unreadable().await;
        }
        self.announce_arrivals();
    }

    /// Answers the clients that wait for a job whose record is unreadable, because no worker will claim it.
    async fn close_unreadable(&self) {
        for active in self.registry.all() {
            if !active.is_running_here()
                && let Err(error) = self.ledger.job(&active.owner, active.id).await
                && error.is_unreadable()
            {
                self.registry.close(active.id, JobState::DetachedFromProcess(error.into()));
            }
        }
    }

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
