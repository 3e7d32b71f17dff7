//! Periodic tasks of a process that runs jobs: renews leases, recovers jobs of lost workers and deletes old records.

use std::sync::Weak;
use std::time::Duration;

use futures::future::join_all;
use tintype_core::causes::causes;
use tintype_ledger::HeartbeatReply;
use tintype_ledger::job::RecoveryScope;
use tokio::time::sleep;

use crate::active_job::{JobState, StopReason};
use crate::error::ServiceError;
use crate::inner::Inner;
use crate::runner::worker::lease_duration;
use crate::settings::Topology;

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
}
