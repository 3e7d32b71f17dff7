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

use crate::active_job::{ActiveJob, JobState, Stop};
use crate::error::ServiceError;
use crate::service::Inner;
use crate::worker::lease_life;

/// How often a worker is heard of.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How often jobs are looked for whose worker died.
const ROUND: Duration = Duration::from_secs(30);
/// In how many rounds old jobs are looked for once in a bucket: about every hour.
const SELDOM_ROUNDS: u64 = 120;
/// How many old jobs are deleted in one round.
const AT_ONCE: usize = 1_000;
/// Longer than any job has been kept, and not too long to be counted back from now.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);
/// How soon a job is looked at that another process may run.
const LOOK: Duration = Duration::from_millis(500);
/// How often at least it is looked at.
const SELDOM: Duration = Duration::from_secs(5);

/// Recovers lost jobs, now and then, for as long as there is a service.
pub(crate) async fn look_after(inner: Weak<Inner>) {
    for round in 0u64.. {
        sleep(ROUND).await;
        let Some(inner) = inner.upgrade() else { return };
        if inner.registry.is_draining() {
            return;
        }
        inner.recover(RecoveryScope::ExpiredLeases).await;
        // Looking for what is old is cheap in a database; in a bucket it reads the whole list.
        let looks = inner.settings.single_process || round.is_multiple_of(SELDOM_ROUNDS);
        if looks
            && let Some(keep) = inner.settings.keep_jobs
            && let Err(error) = inner.forget(keep).await
        {
            tracing::error!(error = %causes(&error), "old jobs could not be deleted");
        }
    }
}

/// Keeps the leases of what runs here alive, for as long as there is a service, and hears of what is to stop.
pub(crate) async fn keep_leases(inner: Weak<Inner>) {
    loop {
        sleep(HEARTBEAT).await;
        let Some(inner) = inner.upgrade() else { return };
        let life = lease_life(inner.settings.single_process);
        let running = inner.registry.all().into_iter().filter_map(|active| Some((active.run()?, active)));
        let beats = running.map(async |(run, active)| {
            match inner.ledger.heartbeat(&run, OffsetDateTime::now_utc() + life).await {
                Ok(HeartbeatReply::Continue) => {}
                Ok(HeartbeatReply::CancelRequested) => active.stop(Stop::Canceled),
                // Only if it has not ended meanwhile.
                Ok(HeartbeatReply::LeaseLost) if active.run() == Some(run) => active.stop(Stop::LeaseLost),
                Ok(HeartbeatReply::LeaseLost) => {}
                Err(error) => {
                    tracing::warn!(job = %active.id, error = %causes(&error), "a heartbeat was not heard")
                }
            }
        });
        join_all(beats).await;
    }
}

impl Inner {
    /// Deletes the records of jobs that are older than this, a few of them, so that nothing else waits long. How long pictures are
    /// kept is the store's to say.
    async fn forget(&self, keep: Duration) -> Result<(), ServiceError> {
        let before = OffsetDateTime::now_utc() - keep.min(LONGEST);
        for job in self.ledger.finished_jobs(before, AT_ONCE).await? {
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
                    tracing::info!(requeued, ended, "jobs of a process that is no more");
                }
                for job in recovered.ended {
                    self.ended(job).await;
                }
            }
            Err(error) => tracing::error!(error = %causes(&error), "lost jobs could not be looked for"),
        }
        self.arrivals.notify_one();
    }

    /// Cancels a job then, if still nobody waits for it.
    pub(crate) fn give_up_at(self: &Arc<Self>, active: &Arc<ActiveJob>, until: Instant) {
        let (inner, active) = (Arc::downgrade(self), active.clone());
        self.runtime.spawn(async move {
            // Ten seconds, as a rule: the entry is an orphan for as long.
            sleep_until(until).await;
            let Some(inner) = inner.upgrade() else { return };
            inner.registry.sweep();
            if active.has_ended() || !active.is_orphan() {
                return;
            }
            if !inner.settings.single_process && inner.is_promised(&active).await {
                return active.detach();
            }
            active.stop(Stop::Canceled);
            // A running one is stopped by its worker, which may be here.
            inner.cancel_in_ledger(&active).await;
        });
    }

    /// Somebody in another process waits for a job, or will come for it.
    async fn is_promised(&self, active: &ActiveJob) -> bool {
        match self.ledger.job(&active.owner, active.id).await {
            Ok(job) => job.is_some_and(|job| job.waiter.as_ref() != Some(&self.process)),
            Err(error) => {
                tracing::warn!(job = %active.id, error = %causes(&error), "a job could not be looked at");
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
                tracing::error!(job = %active.id, error = %causes(&error), "a job could not be canceled")
            }
        }
    }

    /// Sees to it that a job that is entered here ends: at its deadline at the latest, and also if another process runs it.
    /// Once for each entry is enough.
    pub(crate) fn look_after(self: &Arc<Self>, active: &Arc<ActiveJob>) {
        if (active.deadline.is_none() && self.settings.single_process) || !active.is_first_look() {
            return;
        }
        let (inner, active, single_process) =
            (Arc::downgrade(self), Arc::downgrade(active), self.settings.single_process);
        self.runtime.spawn(async move {
            let mut pause = LOOK;
            loop {
                let Some((next, mut states)) = active.upgrade().map(|active| {
                    let look = (!single_process).then(|| Instant::now() + pause);
                    // Once the deadline is over, a running one is its worker's to stop: looked at until it has.
                    let deadline = active.deadline.map(|at| at.max(Instant::now() + LOOK));
                    (look.into_iter().chain(deadline).min(), active.states())
                }) else {
                    return;
                };
                tokio::select! {
                    () = sleep_until(next.unwrap_or_else(|| Instant::now() + SELDOM)) => {}
                    _ = states.wait_for(JobState::is_final) => return,
                }
                let (Some(inner), Some(active)) = (inner.upgrade(), active.upgrade()) else { return };
                inner.revise(&active).await;
                pause = (pause * 2).min(SELDOM);
            }
        });
    }

    async fn revise(self: &Arc<Self>, active: &ActiveJob) {
        if active.has_ended() || active.is_run_here() {
            return;
        }
        match self.ledger.reconcile(&active.owner, active.id, OffsetDateTime::now_utc()).await {
            Ok(Some(job)) if job.status.is_final() => drop(self.registry.end(job)),
            // The process that asked for the result has let go of it, and here somebody waits.
            Ok(Some(job)) if job.is_remote() && active.is_waited_for() => self.begin(&job),
            Ok(Some(_)) => {}
            // Its owner has deleted it, through another process.
            Ok(None) => {
                self.registry.close(active.id, JobState::DetachedFromProcess(ServiceError::Canceled));
            }
            Err(error) => {
                tracing::warn!(job = %active.id, error = %causes(&error), "a job could not be looked at")
            }
        }
    }
}
