//! Takes jobs from the ledger, one at a time per slot of the engine.

mod failure;
mod remote_job;
mod slots;

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tintype_core::causes::causes;
use tintype_core::engine::{Engine, EngineError, Generated};
use tintype_core::request::GenerateRequest;
use tintype_ledger::id::{JobId, OwnerId, WorkerId};
use tintype_ledger::job::{JobRecord, Lease, Outcome, Reason, Run};
use tintype_ledger::money::Spend;
use tintype_ledger::{ClaimReply, FinishReply};
use tokio::time::{Instant, sleep, timeout};
use tracing::Instrument;

use crate::active_job::{ActiveJob, JobState, StopReason};
use crate::error::ServiceError;
use crate::service::Inner;
use crate::stored_request::StoredRequest;
use crate::upload;
use crate::warning::WarningMessage;

use failure::failure;

/// How long a job stays with a worker that is not heard of.
const LEASE: Duration = Duration::from_secs(60);
/// The same where there is no other process: what a dead one left is found at the next start, and a machine that slept, or a
/// ledger that was away, is no reason to begin again.
const SINGLE_PROCESS_LEASE: Duration = Duration::from_secs(365 * 86_400);
/// Delay before the first retry after a failed ledger call; each retry doubles it, up to [`MAX_RETRY_DELAY`].
const MIN_RETRY_DELAY: Duration = Duration::from_secs(1);
const MAX_RETRY_DELAY: Duration = Duration::from_secs(30);
/// How long encoding and storing may take: a store that never answers must not hold the engine up for ever.
const STORE_TIMEOUT: Duration = Duration::from_secs(300);

/// What a worker works with.
#[derive(Clone)]
pub(crate) struct Worker {
    inner: Arc<Inner>,
    engine: Arc<dyn Engine>,
    name: WorkerId,
}

/// A job that was claimed, with what it takes to run it.
struct Claim {
    active: Arc<ActiveJob>,
    run: Run,
    request: Arc<GenerateRequest>,
    /// Engine time after which it is stopped.
    limit: Duration,
    /// How to ask those for the result who work on it already.
    receipt: Option<String>,
}

/// How a run of a job went.
enum RunResult {
    Generated(Generated),
    /// After so much engine time.
    Failed(EngineError, Duration),
    /// Others work on it, and are to be asked for the result another time.
    Remote,
    /// Another worker has the job.
    LeaseLost,
}

/// What an engine answers a request with.
enum EngineReply {
    Generated(Generated),
    Receipt(String),
}

impl Worker {
    /// The worker of this slot of the engine.
    pub(crate) fn new(inner: Arc<Inner>, engine: Arc<dyn Engine>, slot: usize) -> Self {
        let name = format!("{}-{slot}", inner.process).parse().expect("a name and a number are one");
        Self { inner, engine, name }
    }

    /// Works on this job, if nobody does: one that this process has just accepted, or has been asked for. Its entry if so.
    /// The process is busy with it from the call on.
    pub(crate) fn claim_and_run(
        self,
        owner: OwnerId,
        id: JobId,
    ) -> impl Future<Output = Option<Arc<ActiveJob>>> + Send {
        let guard = self.inner.tasks.start();
        async move {
            let active = self.claim_job(owner, id).await;
            drop(guard);
            active
        }
    }

    async fn claim_job(self, owner: OwnerId, id: JobId) -> Option<Arc<ActiveJob>> {
        while !*self.inner.releasing.borrow() {
            let read = self.inner.registry.begin_read();
            match self.inner.ledger.claim(&owner, id, self.lease(), OffsetDateTime::now_utc()).await {
                Ok(ClaimReply::Granted(job)) => {
                    let active = self.inner.registry.enter(&job, &read);
                    drop(read);
                    self.run_claimed(job, active.clone()).await;
                    return Some(active);
                }
                Ok(ClaimReply::Unavailable(_) | ClaimReply::NotFound) => return None,
                Err(error) => {
                    tracing::error!(job = %id, error = %causes(&error), "failed to claim accepted job");
                    sleep(MIN_RETRY_DELAY).await;
                }
            }
        }
        None
    }

    /// Works on the next job, whoever accepted it, and says which; `None` if there is none.
    pub(crate) async fn run_next(&self) -> Option<JobId> {
        let _guard = self.inner.tasks.start();
        let read = self.inner.registry.begin_read();
        match self.inner.ledger.claim_next(self.lease(), OffsetDateTime::now_utc()).await {
            Ok(Some(job)) => {
                let active = self.inner.registry.enter(&job, &read);
                drop(read);
                let id = job.id;
                self.run_claimed(job, active).await;
                Some(id)
            }
            Ok(None) => None,
            Err(error) => {
                tracing::error!(error = %causes(&error), "failed to claim next job");
                None
            }
        }
    }

    /// What says that a job is this worker's.
    pub(crate) fn lease(&self) -> Lease {
        let duration = lease_duration(self.inner.settings.single_process);
        Lease { worker: self.name.clone(), until: OffsetDateTime::now_utc() + duration }
    }

    async fn run_claimed(&self, job: JobRecord, active: Arc<ActiveJob>) {
        let stored = StoredRequest::read(&job).filter(|stored| stored.model == self.engine.model().name);
        let Some(StoredRequest { request, cap_ms, .. }) = stored else {
            tracing::error!(job = %job.id, "failed to run job with another model or an unknown record format");
            return self
                .end(&active, &job.run(), Outcome::Failed(Reason::Engine.into()), Spend::NOTHING)
                .await;
        };
        let lost_its_waiter = job.waiter.as_ref().is_some_and(|process| *process != self.inner.process);
        let is_remote = job.receipt.is_some();
        if self.inner.settings.single_process
            && lost_its_waiter
            && !is_remote
            && active.stop_without_waiters()
        {
            // Its client waited for a process that is no more, and nobody has joined it since.
            return self.end(&active, &job.run(), Outcome::Canceled, Spend::NOTHING).await;
        }
        if !is_remote {
            self.inner.metrics.queue_wait(OffsetDateTime::now_utc() - job.created);
        }
        let most = self.inner.settings.max_job;
        let limit = cap_ms.map_or(most, |cap| Duration::from_millis(cap).min(most));
        let span = active.span.clone();
        let run = job.run();
        let claim = Claim { active, run, request: Arc::new(request), limit, receipt: job.receipt };
        self.run_claim(claim).instrument(span).await;
    }

    async fn run_claim(&self, claim: Claim) {
        let active = claim.active.clone();
        active.begin_run(claim.run.clone(), Instant::now() + claim.limit);
        let traced = tracing::trace_span!("generate", job = %active.id);
        let result = match claim.receipt.clone() {
            None => self.run_engine(&claim).instrument(traced).await,
            Some(receipt) => self.poll_until_done(&claim, receipt).instrument(traced).await,
        };
        active.release_place();
        match result {
            RunResult::Generated(generated) => {
                let took = seconds(generated.engine_seconds);
                self.inner.estimates.record(&claim.request, took);
                self.inner.metrics.generated(generated.pictures.len(), claim.request.steps, took);
                return self.store(claim, generated).await;
            }
            RunResult::Failed(error, took) => self.end_without_images(&claim, &error, took).await,
            RunResult::Remote => self.release(&claim).await,
            RunResult::LeaseLost => self.lose_lease(&active),
        }
        active.end_run(&claim.run);
    }

    /// Has the engine make the pictures.
    async fn run_engine(&self, claim: &Claim) -> RunResult {
        let began = Instant::now();
        // A task of its own, so that an engine that panics takes neither the worker nor those who wait with it.
        let (engine, request, observer) = (self.engine.clone(), claim.request.clone(), claim.active.clone());
        let task = async move {
            match engine.remote_jobs() {
                Some(remote) => remote.submit(request, observer).await.map(EngineReply::Receipt),
                None => engine.generate(request, observer).await.map(EngineReply::Generated),
            }
        };
        let mut task = tokio::spawn(task.in_current_span());
        let reply = tokio::select! {
            reply = &mut task => {
                reply.unwrap_or_else(|panicked| Err(EngineError::Failed(Box::new(panicked))))
            }
            () = self.inner.release_requested() => {
                claim.active.stop(StopReason::Shutdown);
                task.abort();
                Err(self.interruption_error())
            }
        };
        match reply {
            Ok(EngineReply::Generated(generated)) => {
                check_image_count(generated, claim.request.n, began.elapsed())
            }
            Ok(EngineReply::Receipt(receipt)) => self.save_and_poll(claim, receipt, began).await,
            Err(error) => RunResult::Failed(error, began.elapsed()),
        }
    }

    /// What became of work that this process has no time left for.
    fn interruption_error(&self) -> EngineError {
        if self.engine.repeatable() {
            EngineError::Abandoned
        } else {
            EngineError::OutcomeUnknown("the process was stopped before the engine returned a result".into())
        }
    }

    async fn end_without_images(&self, claim: &Claim, error: &EngineError, took: Duration) {
        let took_all = || self.inner.estimates.spend(took);
        let (outcome, cost) = match (error, claim.active.stop_reason()) {
            (EngineError::Abandoned, Some(StopReason::LeaseLost)) => return self.lose_lease(&claim.active),
            (EngineError::Abandoned, Some(StopReason::Shutdown)) if !claim.active.is_attended() => {
                return self.release(claim).await;
            }
            // Who was told to come again pays then.
            (EngineError::Abandoned, Some(StopReason::Shutdown)) => (Outcome::Canceled, Spend::NOTHING),
            (EngineError::Abandoned, Some(StopReason::Deadline)) => {
                (Outcome::Failed(Reason::Deadline.into()), took_all())
            }
            (EngineError::Abandoned, Some(StopReason::Overrun)) => {
                self.inner.estimates.record_at_least(&claim.request, took);
                (Outcome::Failed(Reason::Overrun.into()), took_all())
            }
            (EngineError::Abandoned, _) => (Outcome::Canceled, took_all()),
            // Somebody may have been paid for it, and a budget must count that.
            (
                EngineError::OutcomeUnknown(_) | EngineError::Withheld(_) | EngineError::UnusableResult(_),
                _,
            ) => (Outcome::Failed(failure(error)), took_all()),
            _ => (Outcome::Failed(failure(error)), self.inner.estimates.spend(Duration::ZERO)),
        };
        if !matches!(error, EngineError::Abandoned) {
            tracing::error!(job = %claim.active.id, error = %causes(error), "failed to generate images");
        }
        self.end(&claim.active, &claim.run, outcome, cost).await;
    }

    /// The next process shall make it, as if it had not been begun.
    async fn release(&self, claim: &Claim) {
        if let Err(error) = self.inner.ledger.release(&claim.run, OffsetDateTime::now_utc()).await {
            tracing::error!(job = %claim.active.id, error = %causes(&error), "failed to release job");
        }
        if self.inner.settings.serverless {
            // Whoever asks for it is told what the ledger has.
            self.inner
                .registry
                .close(claim.active.id, JobState::DetachedFromProcess(ServiceError::Abandoned));
        }
    }

    /// Another worker has the job now. Whoever waits here still hears of its end.
    fn lose_lease(&self, active: &ActiveJob) {
        tracing::warn!(job = %active.id, "job lease lost to another worker");
        if !active.has_observers() {
            self.inner.registry.close(active.id, JobState::DetachedFromProcess(ServiceError::Abandoned));
        }
    }

    /// Stores the pictures beside the engine's next job.
    async fn store(&self, claim: Claim, generated: Generated) {
        claim.active.advance(JobState::Storing);
        let permit = self.inner.storing.clone().acquire_owned().await;
        let guard = self.inner.tasks.start();
        let this = self.clone();
        let task = async move {
            let took = seconds(generated.engine_seconds);
            let warnings =
                generated.warnings.iter().map(|warning| WarningMessage::from(warning).to_value()).collect();
            let (store, model) = (this.inner.store.clone(), this.engine.model().name.clone());
            // The first picture of the first run is named like its job. A later run's has another name, so that an earlier one,
            // taken for dead, cannot remove it; and what others have made may have been found by somebody else too.
            let first = claim.run.number == 1 && claim.receipt.is_none();
            let name = first.then(|| claim.run.job.uuid());
            let kept = upload::keep(store, model, (name, claim.request.clone()), generated);
            let failed = |error: &(dyn std::error::Error + 'static)| {
                tracing::error!(job = %claim.active.id, error = %causes(error), "failed to store images");
                Outcome::Failed(Reason::Store.into())
            };
            let (outcome, took) = match timeout(STORE_TIMEOUT, kept).await {
                Ok(Ok((images, files))) => {
                    claim.active.set_files(files);
                    (Outcome::Succeeded { images, warnings }, took)
                }
                Ok(Err(error)) => (failed(&error), Duration::ZERO),
                Err(too_late) => (failed(&too_late), Duration::ZERO),
            };
            this.end(&claim.active, &claim.run, outcome, this.inner.estimates.spend(took)).await;
            claim.active.end_run(&claim.run);
            drop((permit, guard));
        };
        tokio::spawn(task.in_current_span());
    }

    /// Reports the end of a job, and then tells who waits.
    async fn end(&self, active: &ActiveJob, run: &Run, outcome: Outcome, cost: Spend) {
        let made = match &outcome {
            Outcome::Succeeded { images, .. } => images.clone(),
            _ => Vec::new(),
        };
        let mut pause = MIN_RETRY_DELAY;
        loop {
            let now = OffsetDateTime::now_utc();
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
                    sleep(pause).await;
                    pause = (pause * 2).min(MAX_RETRY_DELAY);
                }
            }
        }
    }
}

/// How long a worker has a job without being heard of.
pub(crate) fn lease_duration(single_process: bool) -> Duration {
    if single_process { SINGLE_PROCESS_LEASE } else { LEASE }
}

/// An engine that returns another number of pictures than was asked for is broken.
fn check_image_count(generated: Generated, asked: u32, took: Duration) -> RunResult {
    let made = generated.pictures.len();
    if made == asked as usize {
        return RunResult::Generated(generated);
    }
    let error = format!("the engine returned {made} images instead of {asked}");
    RunResult::Failed(EngineError::Failed(error.into()), took)
}

fn seconds(engine_seconds: f64) -> Duration {
    Duration::try_from_secs_f64(engine_seconds).unwrap_or(Duration::ZERO)
}
