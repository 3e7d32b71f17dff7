//! What has to be done at a time of its own: jobs that a dead process left, that are past their deadline, that everybody
//! hung up on, or that another process runs.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::future::join_all;
use time::OffsetDateTime;
use tintype_core::causes::causes;
use tintype_ledger::HeartbeatReply;
use tintype_ledger::job::RecoveryScope;
use tokio::time::{Instant, sleep, sleep_until};

use crate::active_job::{ActiveJob, JobState, StopReason};
use crate::error::ServiceError;
use crate::service::Inner;
use crate::worker::lease_duration;

/// How often a worker is heard of.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(15);
/// How often jobs are looked for whose worker died.
const RECOVERY_INTERVAL: Duration = Duration::from_secs(30);
/// In how many rounds old jobs are looked for once in a bucket: about every hour.
const ROUNDS_PER_DELETION: u64 = 120;
/// How many old jobs are deleted in one round.
const MAX_DELETIONS: usize = 1_000;
/// Longer than any job has been kept, and not too long to be counted back from now.
const MAX_JOB_AGE: Duration = Duration::from_secs(100 * 365 * 86_400);
/// How soon a job is looked at that another process may run.
const MIN_RECONCILE_INTERVAL: Duration = Duration::from_millis(500);
/// How often at least it is looked at.
const MAX_RECONCILE_INTERVAL: Duration = Duration::from_secs(5);

/// Recovers lost jobs, now and then, for as long as there is a service.
pub(crate) async fn recover_lost_jobs(inner: Weak<Inner>) {
    for round in 0u64.. {
        sleep(RECOVERY_INTERVAL).await;
        let Some(inner) = inner.upgrade() else { return };
        if inner.registry.is_draining() {
            return;
        }
        inner.recover(RecoveryScope::ExpiredLeases).await;
        // Looking for what is old is cheap in a database; in a bucket it reads the whole list.
        let is_deletion_due = inner.settings.single_process || round.is_multiple_of(ROUNDS_PER_DELETION);
        if is_deletion_due
            && let Some(keep) = inner.settings.keep_jobs
            && let Err(error) = inner.delete_old_jobs(keep).await
        {
            tracing::error!(error = %causes(&error), "failed to delete old jobs");
        }
    }
}

/// Keeps the leases of what runs here alive, for as long as there is a service, and hears of what is to stop.
pub(crate) async fn renew_leases(inner: Weak<Inner>) {
    loop {
        sleep(HEARTBEAT_INTERVAL).await;
        let Some(inner) = inner.upgrade() else { return };
        let duration = lease_duration(inner.settings.single_process);
        let running = inner.registry.all().into_iter().filter_map(|active| Some((active.run()?, active)));
        let heartbeats = running.map(async |(run, active)| {
            match inner.ledger.heartbeat(&run, OffsetDateTime::now_utc() + duration).await {
                Ok(HeartbeatReply::Continue) => {}
                Ok(HeartbeatReply::CancelRequested) => active.stop(StopReason::Canceled),
                // Only if it has not ended meanwhile.
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
    /// Deletes the records of jobs that are older than this, a few of them, so that nothing else waits long. How long pictures are
    /// kept is the store's to say.
    async fn delete_old_jobs(&self, keep: Duration) -> Result<(), ServiceError> {
        let before = OffsetDateTime::now_utc() - keep.min(MAX_JOB_AGE);
        for job in self.ledger.finished_before(before, MAX_DELETIONS).await? {
            self.ledger.delete(&job.owner, job.id, OffsetDateTime::now_utc()).await?;
        }
        Ok(())
    }

    /// Ends or requeues what no worker will end any more.
    pub(crate) async fn recover(&self, lost: RecoveryScope) {
        match self.ledger.recover(OffsetDateTime::now_utc(), lost).await {
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
        self.arrivals.notify_one();
    }

    /// Cancels a job then, if still nobody waits for it.
    pub(crate) fn cancel_if_disconnected_at(self: &Arc<Self>, active: &Arc<ActiveJob>, until: Instant) {
        let (inner, active) = (Arc::downgrade(self), active.clone());
        self.runtime.spawn(async move {
            // Ten seconds, as a rule: the entry is an orphan for as long.
            sleep_until(until).await;
            let Some(inner) = inner.upgrade() else { return };
            inner.registry.remove_expired();
            if active.has_ended() || !active.is_disconnected() {
                return;
            }
            if !inner.settings.single_process && inner.has_waiter_elsewhere(&active).await {
                return active.detach();
            }
            active.stop(StopReason::Canceled);
            // A running one is stopped by its worker, which may be here.
            inner.cancel_in_ledger(&active).await;
        });
    }

    /// Somebody in another process waits for a job, or will come for it.
    async fn has_waiter_elsewhere(&self, active: &ActiveJob) -> bool {
        match self.ledger.job(&active.owner, active.id).await {
            Ok(job) => job.is_some_and(|job| job.waiter.as_ref() != Some(&self.process)),
            Err(error) => {
                tracing::warn!(job = %active.id, error = %causes(&error), "failed to look up who waits for job");
                true
            }
        }
    }

    /// Asks the ledger to cancel a job; if it was waiting, that is its end.
    pub(crate) async fn cancel_in_ledger(&self, active: &ActiveJob) {
        match self.ledger.cancel(&active.owner, active.id, OffsetDateTime::now_utc()).await {
            Ok(Some(job)) if job.status.is_final() => drop(self.registry.end(job)),
            Ok(_) => {}
            Err(error) => {
                tracing::error!(job = %active.id, error = %causes(&error), "failed to cancel job")
            }
        }
    }

    /// Sees to it that a job that is entered here ends: at its deadline at the latest, and also if another process runs it.
    /// Once for each entry is enough.
    pub(crate) fn watch_job(self: &Arc<Self>, active: &Arc<ActiveJob>) {
        if (active.deadline.is_none() && self.settings.single_process) || !active.start_watching() {
            return;
        }
        let (inner, active, single_process) =
            (Arc::downgrade(self), Arc::downgrade(active), self.settings.single_process);
        self.runtime.spawn(async move {
            let mut interval = MIN_RECONCILE_INTERVAL;
            loop {
                let Some((next, mut states)) = active.upgrade().map(|active| {
                    let next_poll = (!single_process).then(|| Instant::now() + interval);
                    // Once the deadline is over, a running one is its worker's to stop: looked at until it has.
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
        match self.ledger.reconcile(&active.owner, active.id, OffsetDateTime::now_utc()).await {
            Ok(Some(job)) if job.status.is_final() => drop(self.registry.end(job)),
            // The process that asked for the result has let go of it, and here somebody waits.
            Ok(Some(job)) if job.is_remote() && active.has_observers() => self.start_worker(&job),
            Ok(Some(_)) => {}
            // Its owner has deleted it, through another process.
            Ok(None) => {
                self.registry.close(active.id, JobState::DetachedFromProcess(ServiceError::Canceled));
            }
            Err(error) => {
                tracing::warn!(job = %active.id, error = %causes(&error), "failed to reconcile job")
            }
        }
    }
}
