//! The engine's slots. A job that is accepted while a slot is free and no other job waits starts in it at
//! once; other jobs wait in the ledger until a worker claims them.

use std::sync::Arc;
use std::time::Duration;

use tintype_ledger::job::{JobRecord, Lease};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{sleep, timeout};
use tracing::Instrument;

use super::{MIN_RETRY_DELAY, Worker};
use crate::active_job::ActiveJob;
use crate::inner::Inner;
use crate::models::Model;
use crate::settings::Topology;

/// Interval between claims of jobs that other processes accepted.
const CLAIM_INTERVAL: Duration = Duration::from_secs(2);

/// A free slot of an engine, and the worker that can run a job in it.
pub(crate) struct FreeSlot {
    worker: Worker,
    slot: OwnedSemaphorePermit,
}

impl FreeSlot {
    /// A lease of the worker, with which the ledger can start a job at its acceptance.
    pub(crate) fn lease(&self) -> Lease {
        self.worker.lease()
    }

    /// Runs a job that was started with the lease.
    pub(crate) fn start(self, job: JobRecord, active: Arc<ActiveJob>) {
        // Traces the time in the queue, which is zero here.
        drop(tracing::trace_span!("wait"));
        tokio::spawn(self.worker.run_in_slot(job, active, self.slot).in_current_span());
    }
}

impl Inner {
    /// A free slot of the engine for a job that is accepted now. With several processes, jobs of another
    /// process may be queued first.
    pub(crate) fn free_slot(self: &Arc<Self>, model: &Arc<Model>) -> Option<FreeSlot> {
        let (engine, slot) =
            (self.settings.topology == Topology::SingleProcess).then(|| model.free_slot())??;
        Some(FreeSlot { worker: Worker::new(self.clone(), model.clone(), engine, 0), slot })
    }
}

impl Worker {
    /// Runs a job that this worker has claimed, in a slot of the engine. The process counts as busy from the
    /// call on, before the future is polled.
    fn run_in_slot(
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
