//! What has to be done at a time of its own: jobs that a dead process left, that are past their deadline, that everybody
//! hung up on, or that another process runs.

use std::sync::{Arc, Weak};
use std::time::Duration;

use time::OffsetDateTime;
use tintype_ledger::job::Lost;
use tokio::time::{Instant, sleep, sleep_until};

use crate::error::ServiceError;
use crate::keep::discard;
use crate::live::{Live, Stop};
use crate::service::Inner;

/// How often jobs are looked for whose worker died.
const ROUND: Duration = Duration::from_secs(30);
/// How many old jobs are deleted in one round.
const AT_ONCE: usize = 1_000;
/// Longer than any job has been kept, and not too long to be counted back from now.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);
/// How often a job is looked at that another process may run.
const LOOK: Duration = Duration::from_millis(500);

/// Recovers lost jobs, now and then, for as long as there is a service.
pub(crate) async fn look_after(inner: Weak<Inner>) {
    loop {
        sleep(ROUND).await;
        let Some(inner) = inner.upgrade() else { return };
        if inner.table.is_draining() {
            return;
        }
        inner.recover(Lost::Expired).await;
        if let Some(keep) = inner.settings.keep_jobs
            && let Err(error) = inner.forget(keep).await
        {
            tracing::error!(%error, "old jobs could not be deleted");
        }
    }
}

impl Inner {
    /// Deletes jobs that are older than this, with their pictures; a few of them, so that nothing else waits long.
    async fn forget(&self, keep: Duration) -> Result<(), ServiceError> {
        let before = OffsetDateTime::now_utc() - keep.min(LONGEST);
        for job in self.ledger.ended_before(before, AT_ONCE).await? {
            discard(&*self.store, &job.images).await;
            self.ledger.delete(&job.owner, job.id, OffsetDateTime::now_utc()).await?;
        }
        Ok(())
    }

    /// Ends or requeues what no worker will end any more.
    pub(crate) async fn recover(&self, lost: Lost) {
        match self.ledger.recover(OffsetDateTime::now_utc(), lost).await {
            Ok(recovered) => {
                let (requeued, ended) = (recovered.requeued.len(), recovered.ended.len());
                if requeued + ended > 0 {
                    tracing::info!(requeued, ended, "jobs of a process that is no more");
                }
                recovered.ended.into_iter().for_each(|job| self.ended(job));
            }
            Err(error) => tracing::error!(%error, "lost jobs could not be looked for"),
        }
        self.arrivals.notify_one();
    }

    /// Cancels a job then, if still nobody waits for it.
    pub(crate) fn give_up_at(self: &Arc<Self>, live: &Arc<Live>, until: Instant) {
        let (inner, live) = (Arc::downgrade(self), live.clone());
        self.runtime.spawn(async move {
            sleep_until(until).await;
            let Some(inner) = inner.upgrade() else { return };
            inner.table.sweep();
            // A running one is stopped by its worker.
            if live.stopped() == Some(Stop::Canceled) && !live.has_ended() {
                inner.cancel_in_ledger(&live).await;
            }
        });
    }

    /// Asks the ledger to cancel a job; if it was waiting, that is its end.
    pub(crate) async fn cancel_in_ledger(&self, live: &Live) {
        match self.ledger.cancel(&live.owner, live.id, OffsetDateTime::now_utc()).await {
            Ok(Some(job)) if job.status.is_final() => self.ended(job),
            Ok(_) => {}
            Err(error) => tracing::error!(job = %live.id, %error, "a job could not be canceled"),
        }
    }

    /// Ends a job then, if it still waits for a worker.
    pub(crate) fn revise_at(self: &Arc<Self>, live: &Arc<Live>, deadline: Instant) {
        let (inner, live) = (Arc::downgrade(self), live.clone());
        self.runtime.spawn(async move {
            sleep_until(deadline).await;
            let Some(inner) = inner.upgrade() else { return };
            inner.revise(&live).await;
        });
    }

    /// Looks at a job that another process may run, until it has ended or nobody here waits for it.
    pub(crate) fn follow_elsewhere(self: &Arc<Self>, live: &Arc<Live>) {
        let (inner, live) = (Arc::downgrade(self), Arc::downgrade(live));
        self.runtime.spawn(async move {
            loop {
                sleep(LOOK).await;
                let (Some(inner), Some(live)) = (inner.upgrade(), live.upgrade()) else { return };
                if live.has_ended() {
                    return;
                }
                inner.revise(&live).await;
            }
        });
    }

    async fn revise(&self, live: &Live) {
        if live.has_ended() {
            return;
        }
        match self.ledger.revise(&live.owner, live.id, OffsetDateTime::now_utc()).await {
            Ok(Some(job)) if job.status.is_final() => self.ended(job),
            Ok(_) => {}
            Err(error) => tracing::warn!(job = %live.id, %error, "a job could not be looked at"),
        }
    }
}
