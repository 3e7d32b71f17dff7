//! Work that others do: it is written down how to ask them for the result, and they are asked until they have it.
//!
//! What was handed over and what an earlier process has handed over is one and the same from there on.

use std::time::Duration;

use tintype_core::causes::causes;
use tintype_core::engine::{EngineError, Progress, RemoteJobStatus};
use tokio::time::{Instant, sleep};
use tracing::Instrument;

use super::{Claim, MAX_RETRY_DELAY, MIN_RETRY_DELAY, RunResult, Worker, check_image_count, seconds};
use crate::active_job::JobState;

/// The first pause between two looks; each is half as long again as the one before, up to the longest.
const MIN_POLL_INTERVAL: Duration = Duration::from_millis(250);
const MAX_POLL_INTERVAL: Duration = Duration::from_secs(5);
/// The longest in a process that is frozen as soon as nobody waits: until the next look its time is paid for.
const MAX_SERVERLESS_POLL_INTERVAL: Duration = Duration::from_secs(1);

impl Worker {
    /// Writes the receipt down, and then waits for the result. Until that is written, nobody else could ask for it.
    pub(super) async fn save_and_poll(&self, claim: &Claim, receipt: String, began: Instant) -> RunResult {
        let saved = tokio::select! {
            saved = self.save_receipt(claim, &receipt) => saved,
            () = self.inner.release_requested() => return RunResult::Failed(self.interruption_error(), began.elapsed()),
        };
        if saved { self.poll_until_done(claim, receipt).await } else { RunResult::LeaseLost }
    }

    /// False if the job is another's now.
    async fn save_receipt(&self, claim: &Claim, receipt: &str) -> bool {
        let mut pause = MIN_RETRY_DELAY;
        loop {
            match self.inner.ledger.save_receipt(&claim.run, receipt).await {
                Ok(ours) => return ours,
                Err(error) => {
                    let job = claim.active.id;
                    tracing::error!(%job, error = %causes(&error), "failed to save remote job receipt");
                    sleep(pause).await;
                    pause = (pause * 2).min(MAX_RETRY_DELAY);
                }
            }
        }
    }

    /// Asks for the result until it is there, or this process has no more time for that. One that is frozen between two
    /// requests has time for a single look, unless somebody in it waits.
    pub(super) async fn poll_until_done(&self, claim: &Claim, receipt: String) -> RunResult {
        let active = &claim.active;
        self.inner.registry.set_remote(active);
        active.advance(JobState::Running(Progress::Started));
        // Final if the process ends, or if the job has by what somebody else did.
        let mut states = active.states();
        let serverless = self.inner.settings.serverless;
        let max_interval = if serverless { MAX_SERVERLESS_POLL_INTERVAL } else { MAX_POLL_INTERVAL };
        let mut pause = MIN_POLL_INTERVAL;
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
                () = sleep(pause) => {}
                () = self.inner.release_requested() => return RunResult::Remote,
                _ = states.wait_for(JobState::is_final) => return RunResult::Remote,
            }
            pause = (pause * 3 / 2).min(max_interval);
        }
    }

    /// In a task of its own, as the engine's other work.
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
