//! Work that others do: it is written down how to ask them for the result, and they are asked until they have it.
//!
//! What was handed over and what an earlier process has handed over is one and the same from there on.

use std::time::Duration;

use tintype_core::causes::causes;
use tintype_core::engine::{EngineError, Progress, RemoteJobStatus};
use tokio::time::{Instant, sleep};
use tracing::Instrument;

use super::{Claim, Ending, PAUSES, Worker, complete, seconds};
use crate::active_job::JobState;

/// The first pause between two looks; each is half as long again as the one before, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The longest in a process that is frozen as soon as nobody waits: until the next look its time is paid for.
const LONGEST_SERVERLESS_PAUSE: Duration = Duration::from_secs(1);

impl Worker {
    /// Writes the receipt down, and then waits for the result. Until that is written, nobody else could ask for it.
    pub(super) async fn set_remote(&self, claim: &Claim, receipt: String, began: Instant) -> Ending {
        let noted = tokio::select! {
            noted = self.note(claim, &receipt) => noted,
            () = self.inner.release_jobs() => return Ending::Failed(self.cut_off(), began.elapsed()),
        };
        if noted { self.ask_others(claim, receipt).await } else { Ending::LeaseLost }
    }

    /// False if the job is another's now.
    async fn note(&self, claim: &Claim, receipt: &str) -> bool {
        let mut pause = PAUSES.0;
        loop {
            match self.inner.ledger.save_receipt(&claim.run, receipt).await {
                Ok(ours) => return ours,
                Err(error) => {
                    let job = claim.active.id;
                    tracing::error!(%job, error = %causes(&error), "failed to save remote job receipt");
                    sleep(pause).await;
                    pause = (pause * 2).min(PAUSES.1);
                }
            }
        }
    }

    /// Asks for the result until it is there, or this process has no more time for that. One that is frozen between two
    /// requests has time for a single look, unless somebody in it waits.
    pub(super) async fn ask_others(&self, claim: &Claim, receipt: String) -> Ending {
        let active = &claim.active;
        self.inner.registry.set_remote(active);
        active.advance(JobState::Running(Progress::Started));
        // Final if the process ends, or if the job has by what somebody else did.
        let mut states = active.states();
        let serverless = self.inner.settings.serverless;
        let longest = if serverless { LONGEST_SERVERLESS_PAUSE } else { LONGEST_PAUSE };
        let mut pause = FIRST_PAUSE;
        loop {
            let look = tokio::select! {
                look = self.poll(receipt.clone()) => look,
                () = self.inner.release_jobs() => return Ending::Remote,
            };
            match look {
                RemoteJobStatus::Succeeded(generated) => {
                    let took = seconds(generated.engine_seconds);
                    return complete(generated, claim.request.n, took);
                }
                RemoteJobStatus::Failed { error, engine_seconds } => {
                    return Ending::Failed(error, seconds(engine_seconds));
                }
                RemoteJobStatus::Pending if !active.is_run_here() => return Ending::LeaseLost,
                RemoteJobStatus::Pending if serverless && !active.is_waited_for() => return Ending::Remote,
                RemoteJobStatus::Pending => {}
            }
            tokio::select! {
                () = sleep(pause) => {}
                () = self.inner.release_jobs() => return Ending::Remote,
                _ = states.wait_for(JobState::is_final) => return Ending::Remote,
            }
            pause = (pause * 3 / 2).min(longest);
        }
    }

    /// In a task of its own, as the engine's other work.
    async fn poll(&self, receipt: String) -> RemoteJobStatus {
        let engine = self.engine.clone();
        let task = async move {
            match engine.remote_jobs() {
                Some(others) => others.poll(&receipt).await,
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
