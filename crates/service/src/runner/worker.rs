//! Workers claim jobs from the ledger, one per slot of the engine, run them and record their end.

mod failure;
mod finish;
mod remote_job;
mod slots;

use std::sync::Arc;
use std::time::Duration;

use tintype_core::causes::causes;
use tintype_core::engine::{Engine, EngineError, EngineInfo, Generated};
use tintype_core::request::GenerateRequest;
use tintype_ledger::ClaimReply;
use tintype_ledger::id::{JobId, OwnerId, WorkerId};
use tintype_ledger::job::{JobRecord, Lease, Outcome, Reason, Run};
use tintype_ledger::money::Spend;
use tokio::time::{Instant, sleep};
use tracing::Instrument;

use crate::active_job::{ActiveJob, JobState, StopReason};
use crate::error::ServiceError;
use crate::inner::Inner;
use crate::models::Model;
use crate::settings::Topology;
use crate::stored_request::StoredRequest;

use failure::failure;

pub(crate) use slots::{FreeSlot, claim_and_run_jobs};

/// Duration of a lease that is not renewed.
const LEASE: Duration = Duration::from_secs(60);
/// Duration of a lease with a single process. Jobs of a dead process are recovered at the next start, so a
/// suspended machine or an unavailable ledger must not cost the lease.
const SINGLE_PROCESS_LEASE: Duration = Duration::from_secs(365 * 86_400);
/// Delay before the first retry after a failed ledger call; each retry doubles it, up to [`MAX_RETRY_DELAY`].
const MIN_RETRY_DELAY: Duration = Duration::from_secs(1);
const MAX_RETRY_DELAY: Duration = Duration::from_secs(30);
/// Time limit for encoding and storing a job's images, so that a store that never answers cannot block the
/// engine.
const STORE_TIMEOUT: Duration = Duration::from_secs(300);

/// A worker of one slot of the engine.
#[derive(Clone)]
pub(crate) struct Worker {
    inner: Arc<Inner>,
    model: Arc<Model>,
    engine: Arc<dyn Engine>,
    name: WorkerId,
}

/// A claimed job and the parameters of its run.
struct Claim {
    active: Arc<ActiveJob>,
    run: Run,
    request: Arc<GenerateRequest>,
    /// Maximum engine time of the run.
    limit: Duration,
    /// The receipt of the remote engine that runs the job already.
    receipt: Option<String>,
}

/// The result of a run.
enum RunResult {
    Generated(Generated),
    /// The error, and the engine time until it occurred.
    Failed(EngineError, Duration),
    /// A remote engine still runs the job; a worker polls it later.
    Remote,
    /// Another worker has the lease.
    LeaseLost,
}

/// An engine's reply to a request: images, or the receipt of a remote job.
enum EngineReply {
    Generated(Generated),
    Receipt(String),
}

impl Worker {
    /// The worker of a slot of a model's engine.
    pub(crate) fn new(inner: Arc<Inner>, model: Arc<Model>, engine: Arc<dyn Engine>, slot: usize) -> Self {
        let name = format!("{}-{slot}", inner.process)
            .parse()
            .expect("a process name with a number is a valid worker id");
        Self { inner, model, engine, name }
    }

    /// Claims and runs a job that this process has accepted or was asked for. Returns its entry, or `None`
    /// if the job cannot be claimed. The process counts as busy from the call on, before the future is
    /// polled.
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
            match self.inner.ledger.claim(&owner, id, self.lease(), self.inner.now()).await {
                Ok(ClaimReply::Granted(job)) => {
                    let active = self.inner.registry.enter(&job, self.inner.now(), &read);
                    drop(read);
                    self.run_claimed(job, active.clone()).await;
                    return Some(active);
                }
                Ok(ClaimReply::Unavailable(_) | ClaimReply::NotFound) => return None,
                Err(error) => {
                    if let Some(failures) = self.inner.claim_failures.record() {
                        let error = causes(&error);
                        tracing::error!(job = %id, failures, %error, "failed to claim accepted job");
                    }
                    if error.is_unreadable() {
                        self.inner.registry.close(id, JobState::DetachedFromProcess(error.into()));
                        return None;
                    }
                    sleep(MIN_RETRY_DELAY).await;
                }
            }
        }
        None
    }

    /// Claims and runs the next job of any process and returns its id; `None` if there is none.
    pub(crate) async fn run_next(&self) -> Option<JobId> {
        let _guard = self.inner.tasks.start();
        let read = self.inner.registry.begin_read();
        match self.inner.ledger.claim_next(&self.model.name(), self.lease(), self.inner.now()).await {
            Ok(Some(job)) => {
                let active = self.inner.registry.enter(&job, self.inner.now(), &read);
                drop(read);
                let id = job.id;
                self.run_claimed(job, active).await;
                Some(id)
            }
            Ok(None) => None,
            Err(error) => {
                self.inner.log_failed_claim(&error);
                None
            }
        }
    }

    /// The data of this engine with the operator's settings. A model is not unloaded while one of its jobs runs or is
    /// stored, so the data of the model are those of this engine.
    fn info(&self) -> Arc<EngineInfo> {
        let known = self.model.known_info();
        known.unwrap_or_else(|| Arc::new(self.model.settings.apply(self.engine.info().clone())))
    }

    /// A new lease of this worker.
    pub(crate) fn lease(&self) -> Lease {
        let duration = lease_duration(self.inner.settings.topology);
        Lease { worker: self.name.clone(), until: self.inner.now() + duration }
    }

    async fn run_claimed(&self, job: JobRecord, active: Arc<ActiveJob>) {
        let stored = StoredRequest::read(&job).filter(|stored| stored.model == self.model.name());
        let Some(stored) = stored else {
            tracing::error!(job = %job.id, "failed to run job: unknown record format or other model");
            return self.end(&active, &job.run(), Outcome::Failed(Reason::Engine.into()), Spend::ZERO).await;
        };
        let lost_its_waiter = job.waiter.as_ref().is_some_and(|process| *process != self.inner.process);
        let is_remote = job.receipt.is_some();
        if self.inner.settings.topology == Topology::SingleProcess
            && lost_its_waiter
            && !is_remote
            && active.stop_without_waiters()
        {
            // The job's waiter was in a process that has ended, and no client has joined it since.
            return self.end(&active, &job.run(), Outcome::Canceled, Spend::ZERO).await;
        }
        if !is_remote {
            self.inner.metrics.queue_wait(&self.model.name(), self.inner.now() - job.created);
        }
        let max_job = self.inner.settings.max_job;
        let limit = stored.cap_ms.map_or(max_job, |cap| Duration::from_millis(cap).min(max_job));
        let span = active.span.clone();
        let run = job.run();
        let claim = Claim { active, run, request: Arc::new(stored.request()), limit, receipt: job.receipt };
        self.run_claim(claim).instrument(span).await;
    }

    async fn run_claim(&self, claim: Claim) {
        let active = claim.active.clone();
        active.begin_run(claim.run.clone(), Instant::now() + claim.limit);
        let span = tracing::trace_span!("generate", job = %active.id);
        let result = match claim.receipt.clone() {
            None => self.run_engine(&claim).instrument(span).await,
            Some(receipt) => self.poll_until_done(&claim, receipt).instrument(span).await,
        };
        active.release_place();
        match result {
            RunResult::Generated(generated) => {
                let took = seconds(generated.engine_seconds);
                self.model.estimates.record(&self.info().model, &claim.request, took);
                self.inner.save_engine_times(&self.model);
                let metrics = &self.inner.metrics;
                metrics.generated(&self.model.name(), generated.pictures.len(), claim.request.steps, took);
                return self.store(claim, generated).await;
            }
            RunResult::Failed(error, took) => self.end_without_images(&claim, &error, took).await,
            RunResult::Remote => self.release(&claim).await,
            RunResult::LeaseLost => self.lose_lease(&active),
        }
        active.end_run(&claim.run);
    }

    /// Runs the engine.
    async fn run_engine(&self, claim: &Claim) -> RunResult {
        let began = Instant::now();
        // In its own task, so that a panic of the engine affects neither the worker nor the waiters.
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

    /// The error of a run that is interrupted because the process stops.
    fn interruption_error(&self) -> EngineError {
        if self.engine.info().repeatable {
            EngineError::Abandoned
        } else {
            EngineError::OutcomeUnknown("the process was stopped before the engine returned a result".into())
        }
    }

    async fn end_without_images(&self, claim: &Claim, error: &EngineError, took: Duration) {
        let spent = || self.model.estimates.spend(took, 0);
        let (outcome, cost) = match (error, claim.active.stop_reason()) {
            (EngineError::Abandoned, Some(StopReason::LeaseLost)) => return self.lose_lease(&claim.active),
            (EngineError::Abandoned, Some(StopReason::Shutdown)) if !claim.active.depends_on_waiters() => {
                return self.release(claim).await;
            }
            // The client retries, and the retry is charged.
            (EngineError::Abandoned, Some(StopReason::Shutdown)) => (Outcome::Canceled, Spend::ZERO),
            (EngineError::Abandoned, Some(StopReason::Deadline)) => {
                (Outcome::Failed(Reason::Deadline.into()), spent())
            }
            (EngineError::Abandoned, Some(StopReason::Overrun)) => {
                self.model.estimates.record_at_least(&self.info().model, &claim.request, took);
                (Outcome::Failed(Reason::Overrun.into()), spent())
            }
            (EngineError::Abandoned, _) => (Outcome::Canceled, spent()),
            // The remote engine may have charged for the run, so the budget counts it.
            (
                EngineError::OutcomeUnknown(_) | EngineError::Withheld(_) | EngineError::UnusableResult(_),
                _,
            ) => (Outcome::Failed(failure(error)), self.model.estimates.spend(took, claim.request.n)),
            _ => (Outcome::Failed(failure(error)), self.model.estimates.spend(Duration::ZERO, 0)),
        };
        if matches!(error, EngineError::Unavailable { .. }) {
            self.model.availability.check_now();
        }
        if !matches!(error, EngineError::Abandoned) {
            tracing::error!(job = %claim.active.id, error = %causes(error), "failed to generate images");
        }
        self.end(&claim.active, &claim.run, outcome, cost).await;
    }

    /// Returns the job to the queue for another process.
    async fn release(&self, claim: &Claim) {
        if let Err(error) = self.inner.ledger.release(&claim.run, self.inner.now()).await {
            tracing::error!(job = %claim.active.id, error = %causes(&error), "failed to release job");
        }
        if self.inner.settings.topology == Topology::Serverless {
            // Later reads return the ledger's record.
            self.inner.registry.close(claim.active.id, JobState::DetachedFromProcess(ServiceError::Draining));
        }
    }

    /// The lease was lost to another worker. Waiters in this process are still notified of the end.
    fn lose_lease(&self, active: &ActiveJob) {
        tracing::warn!(job = %active.id, "job lease lost to another worker");
        if !active.has_observers() {
            self.inner.registry.close(active.id, JobState::DetachedFromProcess(ServiceError::Abandoned));
        }
    }
}

/// The duration of a lease.
pub(crate) fn lease_duration(topology: Topology) -> Duration {
    match topology {
        Topology::SingleProcess => SINGLE_PROCESS_LEASE,
        Topology::Cluster | Topology::Serverless => LEASE,
    }
}

/// Fails a run whose engine returned a wrong number of images.
fn check_image_count(generated: Generated, requested: u32, took: Duration) -> RunResult {
    let made = generated.pictures.len();
    if made == requested as usize {
        return RunResult::Generated(generated);
    }
    let error = format!("the engine returned {made} images instead of {requested}");
    RunResult::Failed(EngineError::Failed(error.into()), took)
}

fn seconds(engine_seconds: f64) -> Duration {
    Duration::try_from_secs_f64(engine_seconds).unwrap_or(Duration::ZERO)
}
