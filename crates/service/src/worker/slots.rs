//! The engine's slots: a job that is accepted while one is free, and no other job waits, begins in it at once; the others wait in the
//! ledger, from which whoever has a slot takes the next.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tintype_core::causes::causes;
use tintype_ledger::job::JobRecord;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{sleep, timeout};

use super::{MIN_RETRY_DELAY, Worker};
use crate::active_job::ActiveJob;

/// How often jobs are looked for that another process has accepted.
const CLAIM_INTERVAL: Duration = Duration::from_secs(2);

impl Worker {
    /// Works on a job that is its own already, in a slot of the engine. The process is busy with it from the call on.
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

    /// Sees to the jobs that wait until the service takes nothing new and no client waits any more.
    pub(crate) async fn run_loop(self) {
        loop {
            // Registered before anything is looked at, so that nothing that happens in between is missed.
            let arrival = self.inner.arrivals.notified();
            let Ok(slot) = self.inner.slots.clone().acquire_owned().await else { return };
            if self.inner.registry.workers_can_stop() {
                return;
            }
            let read = self.inner.registry.begin_read();
            match self.inner.ledger.claim_next(self.lease(), OffsetDateTime::now_utc()).await {
                Ok(Some(job)) => {
                    // Where one was, there may be another for the next worker.
                    self.inner.arrivals.notify_one();
                    let active = self.inner.registry.enter(&job, &read);
                    drop(read);
                    tokio::spawn(self.clone().run_in_slot(job, active, slot));
                }
                Ok(None) => {
                    drop((read, slot));
                    if self.inner.settings.single_process {
                        arrival.await;
                    } else {
                        drop(timeout(CLAIM_INTERVAL, arrival).await);
                    }
                }
                Err(error) => {
                    drop((read, slot));
                    tracing::error!(error = %causes(&error), "failed to claim next job");
                    sleep(MIN_RETRY_DELAY).await;
                }
            }
        }
    }
}
