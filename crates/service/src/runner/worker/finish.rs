//! The end of a run: stores the images, and records the outcome and the cost in the ledger.

use std::time::Duration;

use tintype_core::causes::causes;
use tintype_core::engine::Generated;
use tintype_ledger::FinishReply;
use tintype_ledger::job::{Outcome, Reason, Run};
use tintype_ledger::money::Spend;
use tokio::time::{sleep, timeout};
use tracing::Instrument;

use super::{Claim, MAX_RETRY_DELAY, MIN_RETRY_DELAY, STORE_TIMEOUT, Worker, seconds};
use crate::active_job::{ActiveJob, JobState};
use crate::runner::upload::{self, Upload};
use crate::stored_request::picture_key;
use crate::warning::WarningMessage;

impl Worker {
    /// Stores the images while the engine runs its next job.
    pub(super) async fn store(&self, claim: Claim, generated: Generated) {
        claim.active.advance(JobState::Storing);
        let permit = self.model.storing.clone().acquire_owned().await;
        let guard = self.inner.tasks.start();
        let this = self.clone();
        let task = async move {
            let took = seconds(generated.engine_seconds);
            let warnings =
                generated.warnings.iter().map(|warning| WarningMessage::from(warning).to_value()).collect();
            let (store, model) = (this.inner.store.clone(), this.model.name());
            // The first image of the first run has the job's id. A later run uses new ids, so that an
            // earlier run that was assumed dead cannot delete its images. Remote results can also be stored
            // by two processes.
            let is_first_run = claim.run.number == 1 && claim.receipt.is_none();
            let first_id = is_first_run.then(|| claim.run.job.uuid());
            let (model_hash, request) = (this.engine.model_hash(), claim.request.clone());
            let upload = Upload { model, model_hash, first_id, request, generated };
            let upload = upload::upload(store, upload);
            let failed = |error: &(dyn std::error::Error + 'static), reason: Reason| {
                tracing::error!(job = %claim.active.id, error = %causes(error), "failed to store images");
                Outcome::Failed(reason.into())
            };
            let (outcome, cost) = match timeout(STORE_TIMEOUT, upload).await {
                Ok(Ok((images, files))) => {
                    claim.active.set_files(files);
                    let picture_key = Some(picture_key(&this.info(), &claim.request));
                    let cost = this.model.estimates.spend(took, claim.request.n);
                    (Outcome::Succeeded { images, warnings, picture_key }, cost)
                }
                Ok(Err(error)) => {
                    (failed(&error, error.reason()), this.model.estimates.spend(Duration::ZERO, 0))
                }
                Err(elapsed) => {
                    (failed(&elapsed, Reason::Store), this.model.estimates.spend(Duration::ZERO, 0))
                }
            };
            this.end(&claim.active, &claim.run, outcome, cost).await;
            claim.active.end_run(&claim.run);
            drop((permit, guard));
        };
        tokio::spawn(task.in_current_span());
    }

    /// Records the end of a job in the ledger, with retries, and then notifies the waiters.
    pub(super) async fn end(&self, active: &ActiveJob, run: &Run, outcome: Outcome, cost: Spend) {
        let made = match &outcome {
            Outcome::Succeeded { images, .. } => images.clone(),
            _ => Vec::new(),
        };
        let mut delay = MIN_RETRY_DELAY;
        loop {
            let now = self.inner.now();
            match self.inner.ledger.finish(run, outcome.clone(), cost, now).await {
                Ok(FinishReply::Recorded(job)) => {
                    let engine_seconds = cost.engine_ms as f64 / 1_000.0;
                    tracing::info!(job = %job.id, status = job.status.name(), engine_seconds, "job finished");
                    return self.inner.record_end(job).await;
                }
                Ok(FinishReply::Deleted(job)) => {
                    upload::discard(&*self.inner.store, &made).await;
                    return self.inner.record_end(job).await;
                }
                Ok(FinishReply::Stale) => {
                    upload::discard(&*self.inner.store, &made).await;
                    return self.lose_lease(active);
                }
                Err(error) => {
                    tracing::error!(job = %active.id, error = %causes(&error), "failed to record end of job");
                    if error.is_unreadable() {
                        // A retry cannot succeed until an operator repairs the ledger.
                        upload::discard(&*self.inner.store, &made).await;
                        let end = JobState::DetachedFromProcess(error.into());
                        self.inner.registry.close(active.id, end);
                        return;
                    }
                    sleep(delay).await;
                    delay = (delay * 2).min(MAX_RETRY_DELAY);
                }
            }
        }
    }
}
