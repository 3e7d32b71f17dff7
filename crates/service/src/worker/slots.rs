//! The engine's slots. A job that is accepted while a slot is free and no other job waits starts in it at
//! once; other jobs wait in the ledger until a worker claims them.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tintype_ledger::job::JobRecord;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{sleep, timeout};

use super::{MIN_RETRY_DELAY, Worker};
use crate::active_job::ActiveJob;

/// Interval between claims of jobs that other processes accepted.
const CLAIM_INTERVAL: Duration = Duration::from_secs(2);

impl Worker {
    /// Runs a job that this worker has claimed, in a slot of the engine. The process counts as busy from the
    /// call on, before the future is polled.
    pub(crate) fn run_in_slot(
        self,
        job: JobRecord,
        active: Arc<ActiveJob>,
        slot: OwnedSemaphorePermit,
    ) -> impl Future<Output = ()> + Send {
        let guard = self.inner.tasks.start();
        async move {
            self.run_claimed(job, active).await;
            drop((slot, guard));
        }
    }

    /// Claims and runs queued jobs until the service drains and no client waits for a queued job.
    pub(crate) async fn run_loop(self) {
        loop {
            // Registered before the ledger is read, so that no arrival is missed.
            let arrival = self.inner.arrivals.notified();
            let Ok(slot) = self.inner.slots.clone().acquire_owned().await else { return };
            if self.inner.registry.workers_can_stop() {
                return;
            }
            let read = self.inner.registry.begin_read();
            match self.inner.ledger.claim_next(self.lease(), OffsetDateTime::now_utc()).await {
                Ok(Some(job)) => {
                    self.inner.claim_failures.reset();
                    // There may be another job for the next worker.
                    self.inner.arrivals.notify_one();
                    let active = self.inner.registry.enter(&job, &read);
                    drop(read);
                    tokio::spawn(self.clone().run_in_slot(job, active, slot));
                }
                Ok(None) => {
                    self.inner.claim_failures.reset();
                    drop((read, slot));
                    if self.inner.settings.single_process {
                        arrival.await;
                    } else {
                        drop(timeout(CLAIM_INTERVAL, arrival).await);
                    }
                }
                Err(error) => {
                    drop((read, slot));
                    self.inner.log_failed_claim(&error);
                    sleep(MIN_RETRY_DELAY).await;
                }
            }
        }
    }
}
