//! Remote jobs: saves the receipt of the remote engine and polls the engine until it returns the result.
//!
//! Receipts of this process and of earlier processes are handled alike.

use std::time::Duration;

use tintype_core::causes::causes;
use tintype_core::engine::{EngineError, Progress, RemoteJobStatus};
use tokio::time::{Instant, sleep};
use tracing::Instrument;

use super::{Claim, MAX_RETRY_DELAY, MIN_RETRY_DELAY, RunResult, Worker, check_image_count, seconds};
use crate::active_job::JobState;
use crate::settings::Topology;

/// Shortest interval between two polls; each interval is 1.5 times the one before, up to the maximum.
const MIN_POLL_INTERVAL: Duration = Duration::from_millis(250);
const MAX_POLL_INTERVAL: Duration = Duration::from_secs(5);
/// The maximum in a serverless process, which pays for the time until the next poll.
const MAX_SERVERLESS_POLL_INTERVAL: Duration = Duration::from_secs(1);

impl Worker {
    /// Saves the receipt in the ledger and polls until the job is done. No other process can poll the job
    /// before the receipt is saved.
    pub(super) async fn save_and_poll(&self, claim: &Claim, receipt: String, began: Instant) -> RunResult {
        let saved = tokio::select! {
            saved = self.save_receipt(claim, &receipt) => saved,
            () = self.inner.release_requested() => {
                return RunResult::Failed(self.interruption_error(), began.elapsed());
            }
        };
        if saved { self.poll_until_done(claim, receipt).await } else { RunResult::LeaseLost }
    }

    /// Saves the receipt, with retries. False if another worker has the lease.
    async fn save_receipt(&self, claim: &Claim, receipt: &str) -> bool {
        let mut delay = MIN_RETRY_DELAY;
        loop {
            match self.inner.ledger.save_receipt(&claim.run, receipt).await {
                Ok(has_lease) => return has_lease,
                Err(error) => {
                    let job = claim.active.id;
                    tracing::error!(%job, error = %causes(&error), "failed to save remote job receipt");
                    sleep(delay).await;
                    delay = (delay * 2).min(MAX_RETRY_DELAY);
                }
            }
        }
    }

    /// Polls the remote engine until it returns the result or this process must release the job. A
    /// serverless process polls once unless one of its clients waits.
    pub(super) async fn poll_until_done(&self, claim: &Claim, receipt: String) -> RunResult {
        let active = &claim.active;
        self.inner.registry.set_remote(active);
        active.advance(JobState::Running(Progress::Started));
        // Final when the process stops or another process has ended the job.
        let mut states = active.states();
        let serverless = self.inner.settings.topology == Topology::Serverless;
        let max_interval = if serverless { MAX_SERVERLESS_POLL_INTERVAL } else { MAX_POLL_INTERVAL };
        let mut interval = MIN_POLL_INTERVAL;
        loop {
            let status = tokio::select! {
                status = self.poll(receipt.clone()) => status,
                () = self.inner.release_requested() => return RunResult::Remote,
            };
            match status {
                RemoteJobStatus::Succeeded(generated) => {
                    let took = seconds(generated.engine_seconds);
                    return check_image_count(generated, claim.request.n, took);
                }
                RemoteJobStatus::Failed { error, engine_seconds } => {
                    return RunResult::Failed(error, seconds(engine_seconds));
                }
                RemoteJobStatus::Pending if !active.is_running_here() => return RunResult::LeaseLost,
                RemoteJobStatus::Pending if serverless && !active.has_observers() => {
                    return RunResult::Remote;
                }
                RemoteJobStatus::Pending => {}
            }
            tokio::select! {
                () = sleep(interval) => {}
                () = self.inner.release_requested() => return RunResult::Remote,
                _ = states.wait_for(JobState::is_final) => return RunResult::Remote,
            }
            interval = (interval * 3 / 2).min(max_interval);
        }
    }

    /// Polls in its own task, so that a panic of the engine does not affect the worker.
    async fn poll(&self, receipt: String) -> RemoteJobStatus {
        let engine = self.engine.clone();
        let task = async move {
            match engine.remote_jobs() {
                Some(remote) => remote.poll(&receipt).await,
                None => {
                    let error = "the job runs on a remote engine, and this engine cannot poll it";
                    RemoteJobStatus::Failed {
                        error: EngineError::OutcomeUnknown(error.into()),
                        engine_seconds: 0.0,
                    }
                }
            }
        };
        tokio::spawn(task.in_current_span()).await.unwrap_or_else(|panicked| RemoteJobStatus::Failed {
            error: EngineError::UnusableResult(Box::new(panicked)),
            engine_seconds: 0.0,
        })
    }
}
