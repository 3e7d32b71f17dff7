//! The service's methods for serverless processes, which are frozen between requests.

use tokio::time::Instant;

use crate::api::Service;

impl Service {
    /// Waits until no model is being loaded.
    pub async fn wait_loaded(&self) {
        self.inner.wait_loaded().await;
    }

    /// Waits until this process runs no job and all its ledger writes are complete.
    pub async fn wait_idle(&self) {
        self.inner.tasks.wait_idle().await;
    }

    /// Ends the jobs of this process because its time is over: jobs that a repeatable engine runs return to
    /// the queue, remote jobs are left for another process to poll, and the outcome of other paid jobs is
    /// unknown. Returns when the ledger has recorded this.
    pub async fn release_jobs(&self) {
        self.inner.releasing.send_replace(true);
        self.wait_idle().await;
        self.inner.releasing.send_replace(false);
    }

    /// Runs jobs of other processes if a check is due; starts none after `until`.
    pub async fn run_pending_jobs(&self, until: Instant) {
        self.inner.run_pending_jobs(until).await;
    }
}
