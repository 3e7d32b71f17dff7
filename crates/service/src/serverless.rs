//! A process that is frozen between two requests: it works on its own jobs as they come, and whoever runs it says when it may
//! look at others', and waits for it before it lets it be frozen.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tintype_ledger::job::{JobRecord, RecoveryScope};
use tokio::time::{Instant, timeout};
use tracing::Instrument;

use crate::active_job::JobState;
use crate::service::{Inner, Service};
use crate::worker::Worker;

/// How often jobs are looked for that others left behind, at the most: in a bucket that is to read the whole list.
const PENDING_CHECK_INTERVAL: Duration = Duration::from_secs(60);
/// In one of how many of these looks everything is recovered that a killed process left: that reads every account. Chance spreads it
/// over processes, of which none lives long. What is asked for before is made good when it is asked for.
const CHECKS_PER_RECOVERY: u32 = 20;
/// How long somebody who asks for a job waits for a look at what others have made of it, and for that to be stored.
const POLL_TIMEOUT: Duration = Duration::from_secs(10);

impl Service {
    /// Waits until the engine is there, or it is known that it will not come.
    pub async fn wait_loaded(&self) {
        self.inner.wait_for_engine().await;
    }

    /// Waits until this process works on no job and has written down everything that it knows.
    pub async fn wait_idle(&self) {
        self.inner.tasks.wait_idle().await;
    }

    /// Ends what this process works on, because its time is over: what costs nothing but time is handed back for another process
    /// to make, and what others work on for another to ask for; of what else is paid the outcome is not known. Returns once that
    /// is written down.
    pub async fn release_jobs(&self) {
        self.inner.releasing.send_replace(true);
        self.wait_idle().await;
        self.inner.releasing.send_replace(false);
    }

    /// Works on jobs that other processes left behind, if it is time to look for some; begins none after `until`.
    pub async fn run_pending_jobs(&self, until: Instant) {
        let inner = &self.inner;
        if !inner.is_pending_check_due() {
            return;
        }
        let Some(worker) = inner.worker() else { return };
        if fastrand::u32(..CHECKS_PER_RECOVERY) == 0 {
            inner.recover(RecoveryScope::ExpiredLeases).await;
        }
        // What others still work on waits again at once: a second sight of it means that all have been looked at.
        let mut seen = HashSet::new();
        while Instant::now() < until && worker.run_next().await.is_some_and(|id| seen.insert(id)) {}
    }
}

impl Inner {
    /// Somebody to work on one job.
    pub(crate) fn worker(self: &Arc<Self>) -> Option<Worker> {
        let engine = self.loaded_engine()?;
        Some(Worker::new(self.clone(), engine.clone(), 0))
    }

    /// Looks whether others are done with a job that no process waits for: where none stays, whoever asks for a job does that. False
    /// if there was nothing to look at.
    pub(crate) async fn poll_remote(self: &Arc<Self>, job: &JobRecord) -> bool {
        let wanted = self.settings.serverless && job.is_remote();
        let Some(worker) = self.worker().filter(|_| wanted) else { return false };
        // A task of its own: a client that hangs up must not leave the job in the hands of nobody.
        let task = self.runtime.spawn(worker.claim_and_run(job.owner.clone(), job.id).in_current_span());
        let poll = async {
            if let Ok(Some(active)) = task.await {
                // Pictures may be on their way into the store.
                let _ = active.states().wait_for(JobState::is_final).await;
            }
        };
        let _ = timeout(POLL_TIMEOUT, poll).await;
        true
    }

    /// Sees to it that somebody works on a job that this process has just accepted, or that somebody in it waits for and others
    /// make.
    pub(crate) fn start_worker(self: &Arc<Self>, job: &JobRecord) {
        match self.worker().filter(|_| self.settings.serverless) {
            Some(worker) => {
                let task = worker.claim_and_run(job.owner.clone(), job.id);
                drop(self.runtime.spawn(task.in_current_span()));
            }
            None => self.arrivals.notify_one(),
        }
    }

    /// Whether jobs of others are to be looked for; then not again for a [`PENDING_CHECK_INTERVAL`].
    fn is_pending_check_due(&self) -> bool {
        let mut next = self.next_pending_check.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let due = next.is_none_or(|next| now >= next);
        if due {
            *next = Some(now + PENDING_CHECK_INTERVAL);
        }
        due
    }

    /// Ready once this process's work is to end at once.
    pub(crate) async fn release_requested(&self) {
        // The sender lives in `self`, so this ends by the condition only.
        let _ = self.releasing.subscribe().wait_for(|&going| going).await;
    }
}
