//! Support for serverless processes, which are frozen between requests. Such a process runs its own jobs
//! when it accepts them; the caller decides when it may run other processes' jobs, and waits until the
//! process is idle before it is frozen.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tintype_ledger::job::{JobRecord, RecoveryScope};
use tokio::time::{Instant, timeout};
use tracing::Instrument;

use crate::active_job::JobState;
use crate::inner::Inner;
use crate::runner::worker::Worker;
use crate::settings::Topology;

/// Shortest interval between checks for jobs of other processes: in a bucket a check lists all jobs.
const PENDING_CHECK_INTERVAL: Duration = Duration::from_secs(60);
/// One in this many checks also recovers jobs of lost workers, which reads every account. The choice is
/// random because no process lives long. A job that a client requests earlier is recovered by that request.
const CHECKS_PER_RECOVERY: u32 = 20;
/// How long a request for a job waits until a remote engine is polled and the result is stored.
const POLL_TIMEOUT: Duration = Duration::from_secs(10);

impl Inner {
    /// Runs jobs of other processes if a check is due; starts none after `until`.
    pub(crate) async fn run_pending_jobs(self: &Arc<Self>, until: Instant) {
        if !self.is_pending_check_due() {
            return;
        }
        if fastrand::u32(..CHECKS_PER_RECOVERY) == 0 {
            self.recover(RecoveryScope::ExpiredLeases).await;
        }
        // An unfinished remote job returns to the queue, so an id that comes twice means that all jobs were
        // checked.
        for worker in self.models.iter().filter_map(|model| self.worker(&model.name())) {
            let mut seen = HashSet::new();
            while Instant::now() < until && worker.run_next().await.is_some_and(|id| seen.insert(id)) {}
        }
    }

    /// A worker for one job of a model, if its engine is loaded.
    pub(crate) fn worker(self: &Arc<Self>, model: &str) -> Option<Worker> {
        let model = self.models.by_name(model)?;
        Some(Worker::new(self.clone(), model.clone(), model.engine()?, 0))
    }

    /// Polls the remote engine of a job that no process follows, since in serverless mode only requests do
    /// this. False if the job is not remote.
    pub(crate) async fn poll_remote(self: &Arc<Self>, job: &JobRecord) -> bool {
        let wanted = self.settings.topology == Topology::Serverless && job.is_remote();
        let Some(worker) = self.worker(job.model()).filter(|_| wanted) else { return false };
        // In its own task, so that a client that disconnects does not interrupt the worker.
        let task = self.runtime.spawn(worker.claim_and_run(job.owner.clone(), job.id).in_current_span());
        let poll = async {
            if let Ok(Some(active)) = task.await {
                // The images may still be uploading.
                let _ = active.states().wait_for(JobState::is_final).await;
            }
        };
        let _ = timeout(POLL_TIMEOUT, poll).await;
        true
    }

    /// Starts a worker for a job that this process has accepted, or for a remote job that one of its clients
    /// waits for.
    pub(crate) fn start_worker(self: &Arc<Self>, job: &JobRecord) {
        match self.worker(job.model()).filter(|_| self.settings.topology == Topology::Serverless) {
            Some(worker) => {
                let task = worker.claim_and_run(job.owner.clone(), job.id);
                drop(self.runtime.spawn(task.in_current_span()));
            }
            None => self.announce_arrival(job.model()),
        }
    }

    /// Whether a check for other processes' jobs is due; starts the next [`PENDING_CHECK_INTERVAL`].
    fn is_pending_check_due(&self) -> bool {
        let mut next = self.next_pending_check.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let due = next.is_none_or(|next| now >= next);
        if due {
            *next = Some(now + PENDING_CHECK_INTERVAL);
        }
        due
    }

    /// Waits until [`release_jobs`](crate::Service::release_jobs) is called.
    pub(crate) async fn release_requested(&self) {
        // `self` owns the sender, so the wait ends only when the condition holds.
        let _ = self.releasing.subscribe().wait_for(|&is_releasing| is_releasing).await;
    }
}
