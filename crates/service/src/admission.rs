//! Letting a request in.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use futures::poll;
use time::OffsetDateTime;
use tintype_core::engine::Engine;
use tintype_core::request::Seed;
use tintype_ledger::accept::{Acceptance, NewJob, QueueLimit, RetryReuse, Reuse};
use tintype_ledger::id::OwnerId;
use tintype_ledger::job::{JobRecord, OnWorkerLoss, Status};
use tintype_ledger::limits::Quota;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tracing::Instrument;

use crate::active_job::ActiveJob;
use crate::caller::Caller;
use crate::error::{LimitRejection, ServiceError};
use crate::image::{Image, ServedFrom};
use crate::job_handle::JobHandle;
use crate::keys::known;
use crate::pricing;
use crate::registry::Asking;
use crate::service::{Inner, Service};
use crate::stored_request::{StoredRequest, fingerprint};
use crate::submission::Submission;
use crate::worker::Worker;

/// How long a client may take to come for what an earlier try of its own has made.
const RETRY_WITHIN: Duration = Duration::from_secs(600);

/// Whether a request whose client waits may wait for the engine.
enum Place {
    /// It has one.
    Had(Option<OwnedSemaphorePermit>),
    /// It needs none: nobody waits.
    Needless,
    /// There is none: only a job that is there already can answer.
    None,
}

/// How many orders of each owner are being let in just now.
#[derive(Debug, Default)]
pub(crate) struct Admitting(Mutex<HashMap<OwnerId, usize>>);

/// One of them, until it is dropped.
struct Entered<'a> {
    all: &'a Admitting,
    owner: OwnerId,
    /// There was no other of this owner.
    alone: bool,
}

impl Admitting {
    fn enter(&self, owner: &OwnerId) -> Entered<'_> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = all.entry(owner.clone()).or_default();
        *count += 1;
        Entered { all: self, owner: owner.clone(), alone: *count == 1 }
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        let mut all = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = all.get_mut(&self.owner) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.owner);
            }
        }
    }
}

impl Service {
    /// Hands an order in. The ticket is the place among those who wait for it; it is answered by new work, or by a job
    /// that does as well: the same idempotency key's, an identical one in flight or stored, one whose client hung up a moment
    /// ago. What is accepted is in the ledger before this returns.
    ///
    /// # Errors
    /// [`ServiceError::QueueFull`], [`ServiceError::LimitExceeded`], [`ServiceError::Unpriced`], [`ServiceError::IdempotencyConflict`],
    /// [`ServiceError::Ledger`], and those of [`model`](Self::model).
    pub async fn submit(&self, caller: &Caller, submission: Submission) -> Result<JobHandle, ServiceError> {
        let (inner, caller) = (self.inner.clone(), caller.clone());
        let mut admitted = Box::pin(async move { inner.admit(caller, submission).await }.in_current_span());
        // Most often that is done at once. What is not goes on in a task of its own: if the client hangs up now, the ledger is still
        // answered to, and the ticket dropped.
        match poll!(&mut admitted) {
            Poll::Ready(handle) => handle,
            Poll::Pending => tokio::spawn(admitted).await?,
        }
    }

    /// Hands an order in and waits for its pictures. Dropping the future is hanging up.
    ///
    /// # Errors
    /// Those of [`submit`](Self::submit) and of [`JobHandle::finished`].
    pub async fn generate(&self, caller: &Caller, submission: Submission) -> Result<Image, ServiceError> {
        self.submit(caller, submission).await?.finished().await
    }
}

impl Inner {
    async fn admit(
        self: Arc<Self>,
        caller: Caller,
        submission: Submission,
    ) -> Result<JobHandle, ServiceError> {
        let engine = self.engine()?.clone();
        if submission.idempotency.is_some() {
            // A key of one stranger must not lead another to the first one's picture.
            known(&caller)?;
        }
        let expires_in = submission.request.expires_in;
        let has_deadline = submission.deadline.is_some();
        if submission.idempotency.is_none()
            && !submission.detached
            && !has_deadline
            && !caller.is_anonymous_public
            && let Some(orphan) =
                self.registry.adopt(&caller.owner, || fingerprint(&*engine, &submission.request))
        {
            return Ok(
                JobHandle::waiting(self, orphan, (ServedFrom::Made, Vec::new())).linked_for(expires_in)
            );
        }
        let explicit = matches!(submission.request.seed, Seed::Explicit(_)) && !caller.is_anonymous_public;
        let reuse = Reuse {
            // Whoever has a deadline is not to wait for somebody else's job.
            in_flight: (explicit || submission.coalesce) && !has_deadline && !caller.is_anonymous_public,
            stored: explicit,
            retry: (submission.retry && !caller.is_anonymous_public)
                .then(|| self.retry(OffsetDateTime::now_utc())),
        };
        // Until the job is in the table, this says that the owner has something here.
        let admitting = self.admitting.enter(&caller.owner);
        let mut place = self.place(&caller.owner, submission.detached, admitting.alone);
        let queue = match place {
            Place::None if !reuse.any() && submission.idempotency.is_none() => return Err(self.queue_full()),
            Place::None => Some(QueueLimit { per_owner: 0, total: 0 }),
            Place::Needless => {
                let per_owner = self.settings.backlog;
                Some(QueueLimit { per_owner, total: per_owner.saturating_mul(10) })
            }
            Place::Had(_) => None,
        };
        let new = self.new_job(&caller, &submission, &*engine).await?;
        let worker = Worker::new(self.clone(), engine, 0);
        let mut slot = self.free_slot();
        let mut new = NewJob { reuse, queue, start_with: slot.as_ref().map(|_| worker.lease()), ..new };
        loop {
            let asking = self.registry.asking();
            let accepted = self.ledger.accept(new.clone(), OffsetDateTime::now_utc()).await?;
            let (mut job, source, quotas) = self.answered(accepted)?;
            if source == ServedFrom::Stored && self.has_lost_pictures(&job).await? {
                self.ledger.delete(&job.owner, job.id, OffsetDateTime::now_utc()).await?;
                continue;
            }
            if source != ServedFrom::Made && !job.status.is_final() && job.waiter != new.waiter {
                // It was made for somebody else alone, who may hang up, or be dead: now it is made for this one too.
                let Some(kept) = self.ledger.detach(&job.owner, job.id).await? else { continue };
                job = kept;
                if source == ServedFrom::Joined && job.status.is_final() && job.status != Status::Succeeded {
                    // It ended before this one could say that it is wanted.
                    new.reuse.in_flight = false;
                    continue;
                }
            }
            self.metrics.answered(source, &caller);
            if self.settings.log_prompts {
                tracing::info!(job = %job.id, prompt = submission.request.prompt, source = source.name(), "accepted");
            }
            if job.status.is_final() {
                return Ok(JobHandle::ended(self.clone(), job, (source, quotas)).linked_for(expires_in));
            }
            match self.wait_for(&job, &asking) {
                Some(active) => {
                    if source == ServedFrom::Made
                        && let Place::Had(permit) = &mut place
                    {
                        active.hold(permit.take());
                    }
                    match slot.take().filter(|_| source == ServedFrom::Made && job.status == Status::Running)
                    {
                        Some(slot) => begin_at_once(worker, job, (active.clone(), slot)),
                        None if source == ServedFrom::Made || job.is_remote() => self.begin(&job),
                        None => {}
                    }
                    let handle = JobHandle::waiting(self.clone(), active, (source, quotas));
                    return Ok(handle.linked_for(expires_in));
                }
                // Everybody else hung up on it a while ago, and it is about to stop.
                None if source == ServedFrom::Joined => new.reuse.in_flight = false,
                None => return Err(ServiceError::Abandoned),
            }
        }
    }

    /// Where a job can begin that is accepted now. Only where no other process has jobs that wait.
    fn free_slot(&self) -> Option<OwnedSemaphorePermit> {
        let slots = self.settings.single_process.then(|| self.slots.clone())?;
        slots.try_acquire_owned().ok()
    }

    /// What a client may have left behind that tries again now.
    fn retry(&self, now: OffsetDateTime) -> RetryReuse {
        RetryReuse { accepted_since: now - RETRY_WITHIN, delivered_since: now - self.settings.abandon_after }
    }

    /// Who has nothing here gets in however many others wait: one customer's requests shall not keep another's single one out.
    /// Not even two of them at once, of which neither is in the table yet.
    fn place(&self, owner: &OwnerId, detached: bool, alone: bool) -> Place {
        if detached {
            return Place::Needless;
        }
        match self.places.clone().try_acquire_owned() {
            Ok(permit) => Place::Had(Some(permit)),
            Err(_) if self.settings.queue > 0 && alone && !self.registry.has_any_of(owner) => {
                Place::Had(None)
            }
            Err(_) => Place::None,
        }
    }

    /// The job that answers, and how.
    fn answered(&self, accepted: Acceptance) -> Result<(JobRecord, ServedFrom, Vec<Quota>), ServiceError> {
        Ok(match accepted {
            Acceptance::Accepted { job, quotas } => (job, ServedFrom::Made, quotas),
            Acceptance::Joined { job, quotas } => (job, ServedFrom::Joined, quotas),
            Acceptance::Stored { job, quotas } => (job, ServedFrom::Stored, quotas),
            Acceptance::Replayed { job } => (job, ServedFrom::Replayed, Vec::new()),
            Acceptance::Conflict => return Err(ServiceError::IdempotencyConflict),
            Acceptance::LimitExceeded { exceeded: refused, quotas } => {
                self.metrics.refused(&refused);
                return Err(ServiceError::LimitExceeded(Box::new(LimitRejection { refused, quotas })));
            }
            Acceptance::QueueFull => return Err(self.queue_full()),
        })
    }

    async fn new_job(
        &self,
        caller: &Caller,
        submission: &Submission,
        engine: &dyn Engine,
    ) -> Result<NewJob, ServiceError> {
        let (reserve, cap) = self.reserve(caller, submission).await?;
        let written = StoredRequest {
            model: engine.model().name.clone(),
            request: submission.request.clone(),
            cap_ms: cap.map(|cap| u64::try_from(cap.as_millis()).unwrap_or(u64::MAX)),
        };
        let on_worker_loss =
            if engine.repeatable() { OnWorkerLoss::Requeue } else { OnWorkerLoss::OutcomeUnknown };
        Ok(NewJob {
            owner: caller.owner.clone(),
            key: caller.key.clone(),
            policy: caller.policy.clone(),
            reserve: self.estimates.spend(reserve),
            request: written.to_value(),
            fingerprint: fingerprint(engine, &submission.request),
            reuse: Reuse::default(),
            idempotency: submission.idempotency.clone(),
            on_worker_loss,
            waiter: (!submission.survives_disconnect()).then(|| self.process.clone()),
            start_with: None,
            deadline: submission.deadline.map(|left| OffsetDateTime::now_utc() + left),
            queue: None,
        })
    }

    /// How much engine time to reserve for an order, and, where a budget pays, after how much of it the engine stops: twice
    /// what like jobs took. With none measured yet it is the per-job maximum or what is left of the budget, and not more.
    async fn reserve(
        &self,
        caller: &Caller,
        submission: &Submission,
    ) -> Result<(Duration, Option<Duration>), ServiceError> {
        let budgets = &caller.policy.budgets;
        if let Some(currency) = pricing::unpriced(budgets, self.settings.price) {
            return Err(ServiceError::Unpriced(currency));
        }
        // What was measured of small jobs says much of larger ones that the engine would never take so long for.
        let foreseen =
            self.estimates.foresee(&submission.request).map(|foreseen| foreseen.min(self.longest()));
        if budgets.is_empty() {
            return Ok((foreseen.unwrap_or(self.longest()), None));
        }
        if let Some(foreseen) = foreseen {
            return Ok((foreseen, Some(foreseen * 2)));
        }
        let quotas = self.ledger.quotas(&caller.key, &caller.policy, OffsetDateTime::now_utc()).await?;
        let left = pricing::time_left(&quotas, self.settings.price).unwrap_or(Duration::MAX);
        let reserve = self.longest().min(left).max(pricing::LEAST);
        Ok((reserve, Some(reserve)))
    }

    /// The entry of a job that has not ended, with one more who waits for it. `None` if it is about to stop.
    fn wait_for(self: &Arc<Self>, job: &JobRecord, asking: &Asking<'_>) -> Option<Arc<ActiveJob>> {
        let active = self.registry.enter(job, asking);
        if !active.join(Instant::now()) {
            return None;
        }
        if job.waiter.is_none() {
            active.detach();
        }
        self.look_after(&active);
        Some(active)
    }

    fn queue_full(&self) -> ServiceError {
        self.metrics.queue_full();
        ServiceError::QueueFull { retry_after: self.estimates.next_place(self.slots()) }
    }
}

/// Works on a job that was accepted as this worker's.
fn begin_at_once(worker: Worker, job: JobRecord, (active, slot): (Arc<ActiveJob>, OwnedSemaphorePermit)) {
    // Its time in the queue, for those who trace where time goes.
    drop(tracing::trace_span!("wait"));
    tokio::spawn(worker.take_begun(job, active, slot).in_current_span());
}
