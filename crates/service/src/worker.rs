//! Takes jobs from the ledger, one at a time per slot of the engine.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tintype_core::engine::{Engine, EngineError, Generated};
use tintype_core::request::GenerateRequest;
use tintype_ledger::id::Worker as WorkerId;
use tintype_ledger::job::{JobRecord, Lease, Outcome, Reason, Run};
use tintype_ledger::money::Spend;
use tintype_ledger::{Finished, Pulse};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};
use tracing::Instrument;

use crate::error::ServiceError;
use crate::keep;
use crate::live::{Live, State, Stop};
use crate::notice::Notice;
use crate::service::Inner;
use crate::written::Written;

/// How long a job stays with a worker that is not heard of.
const LEASE: Duration = Duration::from_secs(60);
/// How often it is heard of.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long a ledger that is not to be had is left alone.
const PAUSE: Duration = Duration::from_secs(1);
/// How often the end of a job is reported to a ledger that is not to be had.
const REPORTS: u32 = 10;
/// How often jobs are looked for that another process has accepted.
const LOOK_ROUND: Duration = Duration::from_secs(2);

/// What a worker works with.
#[derive(Clone)]
pub(crate) struct Worker {
    pub(crate) inner: Arc<Inner>,
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) name: WorkerId,
    /// Pictures of so many jobs may be on their way into the store while the engine goes on; a slow store slows the
    /// engine down instead of filling the memory.
    pub(crate) storing: Arc<Semaphore>,
}

/// A job that was claimed, with what it takes to run it.
struct Claim {
    live: Arc<Live>,
    run: Run,
    request: Arc<GenerateRequest>,
    capped: bool,
    reserved: Spend,
}

impl Worker {
    /// Works until the service takes nothing new and no client waits any more.
    pub(crate) async fn run(self) {
        loop {
            // Registered before anything is looked at, so that nothing that happens in between is missed.
            let arrival = self.inner.arrivals.notified();
            if self.inner.table.is_done() {
                return;
            }
            match self.inner.ledger.claim_next(self.lease(), OffsetDateTime::now_utc()).await {
                Ok(Some(job)) => {
                    // Where one was, there may be another for the next worker.
                    self.inner.arrivals.notify_one();
                    self.take(job).await;
                }
                Ok(None) if self.inner.settings.sole => arrival.await,
                Ok(None) => drop(tokio::time::timeout(LOOK_ROUND, arrival).await),
                Err(error) => {
                    tracing::error!(%error, "no job could be claimed");
                    sleep(PAUSE).await;
                }
            }
        }
    }

    fn lease(&self) -> Lease {
        Lease { worker: self.name.clone(), until: OffsetDateTime::now_utc() + LEASE }
    }

    async fn take(&self, job: JobRecord) {
        let live = self.inner.table.enter(&job);
        let Some(written) = Written::read(&job) else {
            tracing::error!(job = %job.id, "the job was written by another version of this program");
            return self.end(&live, &job.run(), Outcome::Failed(Reason::Engine), Duration::ZERO).await;
        };
        let Written { request, attended_in, capped, .. } = written;
        if self.inner.settings.sole && attended_in.is_some_and(|process| process != self.inner.process) {
            // Its client waited for a process that is no more.
            return self.end(&live, &job.run(), Outcome::Canceled, Duration::ZERO).await;
        }
        self.inner.metrics.waited(OffsetDateTime::now_utc() - job.created);
        let span = live.span.clone();
        let (run, reserved) = (job.run(), job.hold.reserved);
        let claim = Claim { live, run, request: Arc::new(request), capped, reserved };
        self.work(claim).instrument(span).await;
    }

    async fn work(&self, claim: Claim) {
        let began = Instant::now();
        let live = claim.live.clone();
        live.stop_at(began + self.limit(&claim), Stop::Overrun);
        let heartbeat = tokio::spawn(beat(self.inner.clone(), live.clone(), claim.run.clone()));
        // A task of its own, so that an engine that panics takes neither the worker nor those who wait with it.
        let (engine, request, observer) = (self.engine.clone(), claim.request.clone(), live.clone());
        let task = async move { engine.generate(request, observer).await };
        let generated = match tokio::spawn(task.in_current_span()).await {
            Ok(generated) => generated.and_then(|generated| complete(generated, claim.request.n)),
            Err(panicked) => Err(EngineError::Failed(Box::new(panicked))),
        };
        let took = began.elapsed();
        live.free_place();
        match generated {
            Ok(generated) => {
                self.inner.estimates.learn(&claim.request, took);
                self.inner.metrics.generated(generated.pictures.len(), claim.request.steps, took);
                self.store(claim, generated, heartbeat.abort_handle()).await;
            }
            Err(error) => {
                heartbeat.abort();
                self.end_without(&claim, &error, took).await;
            }
        }
    }

    /// How long the engine may be busy with a job: twice what was reserved from a budget, the operator's maximum otherwise.
    fn limit(&self, claim: &Claim) -> Duration {
        let reserved = Duration::from_millis(claim.reserved.engine_ms);
        let most = self.inner.settings.max_job;
        if claim.capped { (reserved * 2).min(most) } else { most }
    }

    async fn end_without(&self, claim: &Claim, error: &EngineError, took: Duration) {
        let outcome = match (error, claim.live.stopped()) {
            (EngineError::Abandoned, Some(Stop::Lost)) => return,
            (EngineError::Abandoned, Some(Stop::Shutdown)) if !claim.live.is_attended() => return,
            (EngineError::Abandoned, Some(Stop::Deadline)) => Outcome::Failed(Reason::Deadline),
            (EngineError::Abandoned, Some(Stop::Overrun)) => Outcome::Failed(Reason::Overrun),
            (EngineError::Abandoned, _) => Outcome::Canceled,
            (EngineError::OutcomeUnknown(_), _) => {
                let error = error as &dyn std::error::Error;
                tracing::error!(job = %claim.live.id, error, "what became of the job is not known");
                Outcome::Failed(Reason::OutcomeUnknown)
            }
            (EngineError::Failed(_) | EngineError::Busy { .. } | EngineError::Refused(_), _) => {
                let error = error as &dyn std::error::Error;
                tracing::error!(job = %claim.live.id, error, "the engine failed");
                Outcome::Failed(Reason::Engine)
            }
        };
        self.end(&claim.live, &claim.run, outcome, took).await;
    }

    /// Stores the pictures beside the engine's next job.
    async fn store(&self, claim: Claim, generated: Generated, heartbeat: tokio::task::AbortHandle) {
        claim.live.advance(State::Storing);
        let permit = self.storing.clone().acquire_owned().await;
        let this = self.clone();
        let task = async move {
            let took = Duration::try_from_secs_f64(generated.engine_seconds).unwrap_or(Duration::ZERO);
            let warnings =
                generated.warnings.iter().map(|warning| Notice::from(warning).to_value()).collect();
            let (store, model) = (this.inner.store.clone(), this.engine.model().name.clone());
            let kept = keep::keep(store, model, (claim.live.id, claim.request.clone()), generated);
            let outcome = match tokio::spawn(kept.in_current_span()).await {
                Ok(Ok(images)) => Outcome::Succeeded { images, warnings },
                Ok(Err(error)) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(job = %claim.live.id, error, "the pictures could not be kept");
                    Outcome::Failed(Reason::Store)
                }
                Err(error) => {
                    tracing::error!(job = %claim.live.id, %error, "keeping the pictures broke down");
                    Outcome::Failed(Reason::Store)
                }
            };
            this.end(&claim.live, &claim.run, outcome, took).await;
            heartbeat.abort();
            drop(permit);
        };
        tokio::spawn(task.in_current_span());
    }

    /// Reports the end of a job, and then tells who waits.
    async fn end(&self, live: &Live, run: &Run, outcome: Outcome, took: Duration) {
        let cost = match &outcome {
            Outcome::Failed(Reason::Engine | Reason::Store) => self.inner.estimates.spend(Duration::ZERO),
            _ => self.inner.estimates.spend(took),
        };
        let made = match &outcome {
            Outcome::Succeeded { images, .. } => images.clone(),
            _ => Vec::new(),
        };
        for _ in 0..REPORTS {
            let now = OffsetDateTime::now_utc();
            match self.inner.ledger.finish(run, outcome.clone(), cost, now).await {
                Ok(Finished::Ended(job)) => {
                    tracing::info!(job = %job.id, status = job.status.name(), engine_ms = cost.engine_ms, "ended");
                    return self.inner.ended(job);
                }
                Ok(Finished::Discarded(job)) => {
                    keep::discard(&*self.inner.store, &made).await;
                    return self.inner.ended(job);
                }
                Ok(Finished::Stale) => {
                    tracing::warn!(job = %live.id, "another worker was given this job");
                    keep::discard(&*self.inner.store, &made).await;
                    self.inner.table.close(live.id, State::LostSight(ServiceError::Abandoned));
                    return;
                }
                Err(error) => {
                    tracing::error!(job = %live.id, %error, "the end of a job could not be reported");
                    sleep(PAUSE).await;
                }
            }
        }
        // Its lease ends by itself, and then it is made again; these pictures stay as a later run's may have the same name.
        self.inner.table.close(live.id, State::LostSight(ServiceError::Abandoned));
    }
}

/// Keeps the job's lease alive, and hears of it if the job is to stop.
async fn beat(inner: Arc<Inner>, live: Arc<Live>, run: Run) {
    loop {
        sleep(HEARTBEAT).await;
        match inner.ledger.heartbeat(&run, OffsetDateTime::now_utc() + LEASE).await {
            Ok(Pulse::Alive) => {}
            Ok(Pulse::CancelRequested) => live.stop(Stop::Canceled),
            Ok(Pulse::Lost) => live.stop(Stop::Lost),
            Err(error) => tracing::warn!(job = %live.id, %error, "a heartbeat was not heard"),
        }
    }
}

/// An engine that returns another number of pictures than was asked for is broken.
fn complete(generated: Generated, asked: u32) -> Result<Generated, EngineError> {
    let made = generated.pictures.len();
    if made == asked as usize {
        return Ok(generated);
    }
    Err(EngineError::Failed(format!("{asked} pictures were asked for and {made} made").into()))
}
