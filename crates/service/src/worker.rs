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

use crate::active_job::{ActiveJob, JobState, Stop};
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
/// How long a ledger that is not to be had is left alone at first, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// How long encoding and storing may take: a store that never answers must not hold the engine up for ever.
const KEEP_WITHIN: Duration = Duration::from_secs(300);

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
enum Ending {
    Made(Generated),
    /// After so much engine time.
    Failed(EngineError, Duration),
    /// Others work on it, and are to be asked for the result another time.
    Remote,
    /// Another worker has the job.
    LeaseLost,
}

/// What an engine answers a request with.
enum Answer {
    Made(Generated),
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
    pub(crate) fn take_own(
        self,
        owner: OwnerId,
        id: JobId,
    ) -> impl Future<Output = Option<Arc<ActiveJob>>> + Send {
        let doing = self.inner.busy.enter();
        async move {
            let active = self.claim_own(owner, id).await;
            drop(doing);
            active
        }
    }

    async fn claim_own(self, owner: OwnerId, id: JobId) -> Option<Arc<ActiveJob>> {
        while !*self.inner.letting_go.borrow() {
            let asking = self.inner.registry.asking();
            match self.inner.ledger.claim(&owner, id, self.lease(), OffsetDateTime::now_utc()).await {
                Ok(ClaimReply::Granted(job)) => {
                    let active = self.inner.registry.enter(&job, &asking);
                    drop(asking);
                    self.take(job, active.clone()).await;
                    return Some(active);
                }
                Ok(ClaimReply::Unavailable(_) | ClaimReply::NotFound) => return None,
                Err(error) => {
                    tracing::error!(job = %id, error = %causes(&error), "an own job could not be claimed");
                    sleep(PAUSES.0).await;
                }
            }
        }
        None
    }

    /// Works on the next job, whoever accepted it, and says which; `None` if there is none.
    pub(crate) async fn take_next(&self) -> Option<JobId> {
        let _doing = self.inner.busy.enter();
        let asking = self.inner.registry.asking();
        match self.inner.ledger.claim_next(self.lease(), OffsetDateTime::now_utc()).await {
            Ok(Some(job)) => {
                let active = self.inner.registry.enter(&job, &asking);
                drop(asking);
                let id = job.id;
                self.take(job, active).await;
                Some(id)
            }
            Ok(None) => None,
            Err(error) => {
                tracing::error!(error = %causes(&error), "no job could be claimed");
                None
            }
        }
    }

    /// What says that a job is this worker's.
    pub(crate) fn lease(&self) -> Lease {
        let life = lease_life(self.inner.settings.single_process);
        Lease { worker: self.name.clone(), until: OffsetDateTime::now_utc() + life }
    }

    async fn take(&self, job: JobRecord, active: Arc<ActiveJob>) {
        let written = StoredRequest::read(&job).filter(|written| written.model == self.engine.model().name);
        let Some(StoredRequest { request, cap_ms, .. }) = written else {
            tracing::error!(job = %job.id, "the job is for another model, or was written by another version of this program");
            return self.end(&active, &job.run(), Outcome::Failed(Reason::Engine.into()), Spend::ZERO).await;
        };
        let left_behind = job.waiter.as_ref().is_some_and(|process| *process != self.inner.process);
        let begun_elsewhere = job.receipt.is_some();
        if self.inner.settings.single_process
            && left_behind
            && !begun_elsewhere
            && active.stop_unless_wanted()
        {
            // Its client waited for a process that is no more, and nobody has joined it since.
            return self.end(&active, &job.run(), Outcome::Canceled, Spend::ZERO).await;
        }
        if !begun_elsewhere {
            self.inner.metrics.waited(OffsetDateTime::now_utc() - job.created);
        }
        let most = self.inner.settings.max_job;
        let limit = cap_ms.map_or(most, |cap| Duration::from_millis(cap).min(most));
        let span = active.span.clone();
        let run = job.run();
        let claim = Claim { active, run, request: Arc::new(request), limit, receipt: job.receipt };
        self.work(claim).instrument(span).await;
    }

    async fn work(&self, claim: Claim) {
        let active = claim.active.clone();
        active.begin(claim.run.clone(), Instant::now() + claim.limit);
        let traced = tracing::trace_span!("generate", job = %active.id);
        let ending = match claim.receipt.clone() {
            None => self.run_engine(&claim).instrument(traced).await,
            Some(receipt) => self.ask_others(&claim, receipt).instrument(traced).await,
        };
        active.free_place();
        match ending {
            Ending::Made(generated) => {
                let took = seconds(generated.engine_seconds);
                self.inner.estimates.learn(&claim.request, took);
                self.inner.metrics.generated(generated.pictures.len(), claim.request.steps, took);
                return self.store(claim, generated).await;
            }
            Ending::Failed(error, took) => self.end_without(&claim, &error, took).await,
            Ending::Remote => self.hand_back(&claim).await,
            Ending::LeaseLost => self.lose(&active),
        }
        active.rest(&claim.run);
    }

    /// Has the engine make the pictures.
    async fn run_engine(&self, claim: &Claim) -> Ending {
        let began = Instant::now();
        // A task of its own, so that an engine that panics takes neither the worker nor those who wait with it.
        let (engine, request, observer) = (self.engine.clone(), claim.request.clone(), claim.active.clone());
        let task = async move {
            match engine.remote_jobs() {
                Some(others) => others.submit(request, observer).await.map(Answer::Receipt),
                None => engine.generate(request, observer).await.map(Answer::Made),
            }
        };
        let mut task = tokio::spawn(task.in_current_span());
        let answer = tokio::select! {
            answer = &mut task => {
                answer.unwrap_or_else(|panicked| Err(EngineError::Failed(Box::new(panicked))))
            }
            () = self.inner.release_jobs() => {
                claim.active.stop(Stop::Shutdown);
                task.abort();
                Err(self.cut_off())
            }
        };
        match answer {
            Ok(Answer::Made(generated)) => complete(generated, claim.request.n, began.elapsed()),
            Ok(Answer::Receipt(receipt)) => self.set_remote(claim, receipt, began).await,
            Err(error) => Ending::Failed(error, began.elapsed()),
        }
    }

    /// What became of work that this process has no time left for.
    fn cut_off(&self) -> EngineError {
        if self.engine.repeatable() {
            EngineError::Abandoned
        } else {
            EngineError::OutcomeUnknown(
                "the time of this process was over before the engine's answer came".into(),
            )
        }
    }

    async fn end_without(&self, claim: &Claim, error: &EngineError, took: Duration) {
        let took_all = || self.inner.estimates.spend(took);
        let (outcome, cost) = match (error, claim.active.stopped()) {
            (EngineError::Abandoned, Some(Stop::LeaseLost)) => return self.lose(&claim.active),
            (EngineError::Abandoned, Some(Stop::Shutdown)) if !claim.active.is_attended() => {
                return self.hand_back(claim).await;
            }
            // Who was told to come again pays then.
            (EngineError::Abandoned, Some(Stop::Shutdown)) => (Outcome::Canceled, Spend::ZERO),
            (EngineError::Abandoned, Some(Stop::Deadline)) => {
                (Outcome::Failed(Reason::Deadline.into()), took_all())
            }
            (EngineError::Abandoned, Some(Stop::Overrun)) => {
                self.inner.estimates.learn_at_least(&claim.request, took);
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
            tracing::error!(job = %claim.active.id, error = %causes(error), "the engine made no pictures");
        }
        self.end(&claim.active, &claim.run, outcome, cost).await;
    }

    /// The next process shall make it, as if it had not been begun.
    async fn hand_back(&self, claim: &Claim) {
        if let Err(error) = self.inner.ledger.release(&claim.run, OffsetDateTime::now_utc()).await {
            tracing::error!(job = %claim.active.id, error = %causes(&error), "a job was not handed back");
        }
        if self.inner.settings.serverless {
            // Whoever asks for it is told what the ledger has.
            self.inner
                .registry
                .close(claim.active.id, JobState::DetachedFromProcess(ServiceError::Abandoned));
        }
    }

    /// Another worker has the job now. Whoever waits here still hears of its end.
    fn lose(&self, active: &ActiveJob) {
        tracing::warn!(job = %active.id, "another worker was given this job");
        if !active.is_waited_for() {
            self.inner.registry.close(active.id, JobState::DetachedFromProcess(ServiceError::Abandoned));
        }
    }

    /// Stores the pictures beside the engine's next job.
    async fn store(&self, claim: Claim, generated: Generated) {
        claim.active.advance(JobState::Storing);
        let permit = self.inner.storing.clone().acquire_owned().await;
        let doing = self.inner.busy.enter();
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
                tracing::error!(job = %claim.active.id, error = %causes(error), "the pictures could not be kept");
                Outcome::Failed(Reason::Store.into())
            };
            let (outcome, took) = match timeout(KEEP_WITHIN, kept).await {
                Ok(Ok((images, files))) => {
                    claim.active.hand_over(files);
                    (Outcome::Succeeded { images, warnings }, took)
                }
                Ok(Err(error)) => (failed(&error), Duration::ZERO),
                Err(too_late) => (failed(&too_late), Duration::ZERO),
            };
            this.end(&claim.active, &claim.run, outcome, this.inner.estimates.spend(took)).await;
            claim.active.rest(&claim.run);
            drop((permit, doing));
        };
        tokio::spawn(task.in_current_span());
    }

    /// Reports the end of a job, and then tells who waits.
    async fn end(&self, active: &ActiveJob, run: &Run, outcome: Outcome, cost: Spend) {
        let made = match &outcome {
            Outcome::Succeeded { images, .. } => images.clone(),
            _ => Vec::new(),
        };
        let mut pause = PAUSES.0;
        loop {
            let now = OffsetDateTime::now_utc();
            match self.inner.ledger.finish(run, outcome.clone(), cost, now).await {
                Ok(FinishReply::Recorded(job)) => {
                    let engine_seconds = cost.engine_ms as f64 / 1_000.0;
                    tracing::info!(job = %job.id, status = job.status.name(), engine_seconds, "ended");
                    return self.inner.ended(job).await;
                }
                Ok(FinishReply::Deleted(job)) => {
                    upload::discard(&*self.inner.store, &made).await;
                    return self.inner.ended(job).await;
                }
                Ok(FinishReply::Stale) => {
                    upload::discard(&*self.inner.store, &made).await;
                    return self.lose(active);
                }
                Err(error) => {
                    tracing::error!(job = %active.id, error = %causes(&error), "the end of a job could not be reported");
                    sleep(pause).await;
                    pause = (pause * 2).min(PAUSES.1);
                }
            }
        }
    }
}

/// How long a worker has a job without being heard of.
pub(crate) fn lease_life(single_process: bool) -> Duration {
    if single_process { SINGLE_PROCESS_LEASE } else { LEASE }
}

/// An engine that returns another number of pictures than was asked for is broken.
fn complete(generated: Generated, asked: u32, took: Duration) -> Ending {
    let made = generated.pictures.len();
    if made == asked as usize {
        return Ending::Made(generated);
    }
    let error = format!("{asked} pictures were asked for and {made} made");
    Ending::Failed(EngineError::Failed(error.into()), took)
}

fn seconds(engine_seconds: f64) -> Duration {
    Duration::try_from_secs_f64(engine_seconds).unwrap_or(Duration::ZERO)
}
