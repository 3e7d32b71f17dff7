//! The engine's slots. A job that is accepted while a slot is free and no other job waits starts in it at
//! once; other jobs wait in the ledger until a worker claims them.

use std::sync::Arc;
use std::time::Duration;

use tintype_ledger::job::JobRecord;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{sleep, timeout};

use super::{MIN_RETRY_DELAY, Worker};
use crate::active_job::ActiveJob;
use crate::inner::Inner;
use crate::models::Model;
use crate::settings::Topology;

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
}

/// Claims and runs queued jobs of a model until its engine is unloaded, or the service drains and no client waits for a
/// queued job. The engine is held only together with a slot, so that a model without running jobs can be unloaded.
pub(crate) async fn claim_and_run_jobs(inner: Arc<Inner>, model: Arc<Model>, number: usize) {
    loop {
        // Registered before the ledger is read, so that no arrival is missed.
        let arrival = model.arrivals.notified();
        let Ok(slot) = model.slots.clone().acquire_owned().await else { return };
        let engine = model.engine().filter(|_| !inner.registry.workers_can_stop());
        let Some(engine) = engine else { return };
        let worker = Worker::new(inner.clone(), model.clone(), engine, number);
        let read = inner.registry.begin_read();
        match inner.ledger.claim_next(&model.name(), worker.lease(), inner.now()).await {
            Ok(Some(job)) => {
                inner.claim_failures.reset();
                // There may be another job for the next worker.
                model.arrivals.notify_one();
                let active = inner.registry.enter(&job, inner.now(), &read);
                drop(read);
                tokio::spawn(worker.run_in_slot(job, active, slot));
            }
            Ok(None) => {
                inner.claim_failures.reset();
                drop((read, worker, slot));
                if inner.settings.topology == Topology::SingleProcess {
                    arrival.await;
                } else {
                    drop(timeout(CLAIM_INTERVAL, arrival).await);
                }
            }
            Err(error) => {
                drop((read, worker, slot));
                inner.log_failed_claim(&error);
                sleep(MIN_RETRY_DELAY).await;
            }
        }
    }
}
