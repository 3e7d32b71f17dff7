//! Admission: submits a request to the ledger and starts the accepted job.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::poll;
use time::OffsetDateTime;
use tintype_core::engine::EngineInfo;
use tintype_core::request::Seed;
use tintype_ledger::accept::{Acceptance, NewJob, QueueLimit, RetryReuse, Reuse};
use tintype_ledger::job::{EventsKey, JobRecord, OnWorkerLoss, Status};
use tintype_ledger::limits::Quota;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tracing::Instrument;

use super::image::Image;
use super::job_handle::JobHandle;
use super::keys::require_identity;
use super::service::Service;
use crate::active_job::ActiveJob;
use crate::admission_counter::AdmissionGuard;
use crate::caller::Caller;
use crate::error::{LimitRejection, ServiceError};
use crate::inner::Inner;
use crate::models::Model;
use crate::pricing;
use crate::registry::LedgerRead;
use crate::runner::FreeSlot;
use crate::served_from::ServedFrom;
use crate::stored_request::{StoredRequest, picture_keys, request_key};
use crate::submission::Submission;

/// How far back a retry searches for the job of its first attempt.
const RETRY_WINDOW: Duration = Duration::from_secs(600);

/// The maximum engine time of a run, as a multiple of an estimate that an earlier process has measured.
const RESTORED_CAP: u32 = 10;

/// A request's place in the queue of requests whose client waits.
enum QueuePlace {
    /// The request has a place. The permit is `None` for an owner's only request, which is accepted even
    /// when the queue is full.
    Taken(Option<OwnedSemaphorePermit>),
    /// A detached job needs no place.
    NotNeeded,
    /// The queue is full: only an existing job can answer the request.
    Full,
}

impl Service {
    /// Submits a request and returns a handle to its job. The job is new, or an existing one: the job of the
    /// same idempotency key, an identical unfinished or finished job, or a job whose clients disconnected a
    /// moment ago. An accepted job is in the ledger before this returns.
    ///
    /// # Errors
    /// [`ServiceError::QueueFull`], [`ServiceError::LimitExceeded`], [`ServiceError::Unpriced`],
    /// [`ServiceError::IdempotencyConflict`], [`ServiceError::Unauthenticated`] for an idempotency key
    /// without an API key on a public service, [`ServiceError::Ledger`], and those of
    /// [`model`](Self::model).
    pub async fn submit(&self, caller: &Caller, submission: Submission) -> Result<JobHandle, ServiceError> {
        let (inner, caller) = (self.inner.clone(), caller.clone());
        let mut admitted = Box::pin(async move { inner.admit(caller, submission).await }.in_current_span());
        // Admission usually completes in the first poll. Otherwise it continues in its own task, so that a
        // client that disconnects does not interrupt a ledger call; the handle is then dropped.
        match poll!(&mut admitted) {
            Poll::Ready(handle) => handle,
            Poll::Pending => tokio::spawn(admitted).await?,
        }
    }

    /// Submits a request and waits for its images. Dropping the future disconnects the client.
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
        let (model, info) = self.model(submission.model.as_deref())?;
        let model = model.clone();
        if !caller.may_use(&model.name()) {
            return Err(ServiceError::ModelNotAllowed(model.name()));
        }
        if submission.idempotency.is_some() {
            // Unauthenticated users share one owner, so an idempotency key would give one user's images to
            // another.
            require_identity(&caller)?;
        }
        let expires_in = submission.request.expires_in;
        let has_deadline = submission.deadline.is_some();
        if submission.idempotency.is_none()
            && !submission.detached
            && !has_deadline
            && !caller.is_anonymous_public
            && let Some(rejoined) =
                self.registry.rejoin(&caller.owner, || request_key(&model.name(), &submission.request))
        {
            return Ok(
                JobHandle::waiting(self, rejoined, ServedFrom::Made, Vec::new()).with_link_expiry(expires_in)
            );
        }
        let has_explicit_seed =
            matches!(submission.request.seed, Seed::Explicit(_)) && !caller.is_anonymous_public;
        let reuse = Reuse {
            // A job with a deadline does not wait for another request's job.
            in_flight: (has_explicit_seed || submission.coalesce)
                && !has_deadline
                && !caller.is_anonymous_public,
            stored: has_explicit_seed.then(|| picture_keys(&info, &submission.request)),
            retry: (submission.retry && !caller.is_anonymous_public).then(|| self.retry_reuse(self.now())),
        };
        // Counts the owner's submission until the job is in the registry.
        let admission = self.admissions.enter(&caller.owner);
        let mut place = if submission.detached {
            QueuePlace::NotNeeded
        } else {
            self.take_queue_place(&model, &admission)
        };
        let queue = match place {
            QueuePlace::Full if !reuse.any() && submission.idempotency.is_none() => {
                return Err(self.queue_full(&model));
            }
            QueuePlace::Full => Some(QueueLimit { per_owner: 0, total: 0 }),
            QueuePlace::NotNeeded => {
                let per_owner = self.settings.backlog;
                Some(QueueLimit { per_owner, total: per_owner.saturating_mul(10) })
            }
            QueuePlace::Taken(_) => None,
        };
        let new = self.new_job(&caller, &submission, (&model, &info)).await?;
        let mut free = self.free_slot(&model);
        let start_with = free.as_ref().map(FreeSlot::lease);
        let mut new = NewJob { reuse, queue, start_with, ..new };
        loop {
            let read = self.registry.begin_read();
            let accepted = self.ledger.accept(new.clone(), self.now()).await?;
            let (mut job, source, quotas) = self.resolve_acceptance(accepted, &model)?;
            if source == ServedFrom::Stored && self.has_missing_images(&job).await? {
                self.ledger.delete(&job.owner, job.id, self.now()).await?;
                continue;
            }
            if source != ServedFrom::Made && !job.status.is_final() && job.waiter != new.waiter {
                // The job has only its own waiter, which may disconnect or be dead. Detach the job so that
                // it also continues for this client.
                let Some(detached) = self.ledger.detach(&job.owner, job.id).await? else { continue };
                job = detached;
                if source == ServedFrom::Joined && job.status.is_final() && job.status != Status::Succeeded {
                    // The job ended before it could be detached.
                    new.reuse.in_flight = false;
                    continue;
                }
            }
            self.metrics.accepted(source, &caller);
            if self.settings.log_prompts {
                let prompt = &submission.request.prompt;
                tracing::info!(job = %job.id, prompt, source = source.name(), "job accepted");
            }
            if job.status.is_final() {
                return Ok(JobHandle::ended(self.clone(), job, source, quotas).with_link_expiry(expires_in));
            }
            if job.cancel_requested || job.deleted {
                // The engine notices at its next step. The result is already certain.
                return Ok(JobHandle::canceled(self.clone(), &job, source, quotas));
            }
            match self.wait_for(&job, &read) {
                Ok(active) => {
                    if source == ServedFrom::Made
                        && let QueuePlace::Taken(permit) = &mut place
                    {
                        active.hold_place(permit.take());
                    }
                    match free.take().filter(|_| source == ServedFrom::Made && job.status == Status::Running)
                    {
                        Some(free) => free.start(job, active.clone()),
                        None if source == ServedFrom::Made || job.is_remote() => self.start_worker(&job),
                        None => {}
                    }
                    let handle = JobHandle::waiting(self.clone(), active, source, quotas);
                    return Ok(handle.with_link_expiry(expires_in));
                }
                // All other clients disconnected, or its time is over, and the job is about to stop.
                Err(_) if source == ServedFrom::Joined => {
                    (new.reuse.in_flight, new.reuse.retry) = (false, None)
                }
                Err(active) => {
                    let handle = JobHandle::observing(self.clone(), &active, source, quotas);
                    return Ok(handle.with_link_expiry(expires_in));
                }
            }
        }
    }

    /// The jobs of earlier attempts that a retry can reuse.
    fn retry_reuse(&self, now: OffsetDateTime) -> RetryReuse {
        RetryReuse { accepted_since: now - RETRY_WINDOW, delivered_since: now - self.settings.abandon_after }
    }

    /// An owner without jobs in this process is accepted even if the queue is full, so that one customer
    /// cannot lock others out. This holds for one submission at a time.
    fn take_queue_place(&self, model: &Model, admission: &AdmissionGuard<'_>) -> QueuePlace {
        let is_first = || admission.is_only && !self.registry.has_job_of(&admission.owner);
        match model.queue_places.clone().try_acquire_owned() {
            Ok(permit) => QueuePlace::Taken(Some(permit)),
            Err(_) if self.settings.queue > 0 && is_first() => QueuePlace::Taken(None),
            Err(_) => QueuePlace::Full,
        }
    }

    /// The job that answers the request, the source of its images, and the remaining quotas.
    fn resolve_acceptance(
        &self,
        accepted: Acceptance,
        model: &Model,
    ) -> Result<(JobRecord, ServedFrom, Vec<Quota>), ServiceError> {
        Ok(match accepted {
            Acceptance::Accepted { job, quotas } => (job, ServedFrom::Made, quotas),
            Acceptance::Joined { job, quotas } => (job, ServedFrom::Joined, quotas),
            Acceptance::Stored { job, quotas } => (job, ServedFrom::Stored, quotas),
            Acceptance::Replayed { job } => (job, ServedFrom::Replayed, Vec::new()),
            Acceptance::Conflict => return Err(ServiceError::IdempotencyConflict),
            Acceptance::LimitExceeded { exceeded: refused, quotas } => {
                self.metrics.limit_exceeded(&refused);
                return Err(ServiceError::LimitExceeded(Box::new(LimitRejection {
                    exceeded: refused,
                    quotas,
                })));
            }
            Acceptance::QueueFull => return Err(self.queue_full(model)),
        })
    }

    async fn new_job(
        &self,
        caller: &Caller,
        submission: &Submission,
        (model, info): (&Model, &EngineInfo),
    ) -> Result<NewJob, ServiceError> {
        let (reserve, cap) = self.reserve(caller, submission, model, info).await?;
        let stored = StoredRequest::new(&model.name(), &submission.request, cap);
        let on_worker_loss =
            if info.repeatable { OnWorkerLoss::Requeue } else { OnWorkerLoss::OutcomeUnknown };
        Ok(NewJob {
            owner: caller.owner.clone(),
            key: caller.key.clone(),
            policy: caller.policy.clone(),
            reserve: model.estimates.spend(reserve, submission.request.n),
            request_key: request_key(&stored.model, &submission.request),
            request: stored.to_value(),
            model: stored.model,
            reuse: Reuse::default(),
            idempotency: submission.idempotency.clone(),
            on_worker_loss,
            waiter: (!submission.survives_disconnect()).then(|| self.process.clone()),
            start_with: None,
            deadline: submission.deadline.map(|left| self.now() + left),
            events_key: Some(EventsKey::random()),
            queue: None,
        })
    }

    /// The engine time to reserve for a request and, if a budget pays, the maximum engine time of the run:
    /// twice the estimate, or [`RESTORED_CAP`] times the estimate of an earlier process. Without an estimate both are
    /// the maximum per job or the remaining budget, whichever is less.
    async fn reserve(
        &self,
        caller: &Caller,
        submission: &Submission,
        model: &Model,
        info: &EngineInfo,
    ) -> Result<(Duration, Option<Duration>), ServiceError> {
        let (budgets, price) = (&caller.policy.budgets, model.settings.price);
        if let Some(currency) = pricing::unpriced(budgets, price.as_slice()) {
            return Err(ServiceError::Unpriced(currency));
        }
        let longest = self.max_job_time(info);
        // Estimates from small jobs can exceed the time that the engine would ever use for a large one.
        let estimated = model.estimates.estimate(&info.model, &submission.request);
        let estimated = estimated.map(|estimated| estimated.min(longest));
        if budgets.is_empty() {
            return Ok((estimated.unwrap_or(longest), None));
        }
        if let Some(estimated) = estimated {
            return Ok((estimated, Some(estimated * 2)));
        }
        let quotas = self.ledger.quotas(&caller.key, &caller.policy, self.now()).await?;
        let left = pricing::remaining_time(&quotas, price).unwrap_or(Duration::MAX);
        let longest = longest.min(left).max(pricing::MIN_RESERVATION);
        // This process has measured no job. The machine may be slower than that of an earlier process.
        Ok(match self.restored_estimate(model, info, &submission.request).await {
            Some(restored) => (restored.min(longest), Some((restored * RESTORED_CAP).min(longest))),
            None => (longest, Some(longest)),
        })
    }

    /// Adds a waiter to an unfinished job's entry.
    ///
    /// # Errors
    /// The entry, without a new waiter, if the job is about to stop.
    fn wait_for(
        self: &Arc<Self>,
        job: &JobRecord,
        read: &LedgerRead<'_>,
    ) -> Result<Arc<ActiveJob>, Arc<ActiveJob>> {
        let active = self.registry.enter(job, self.now(), read);
        if !active.join(Instant::now()) {
            return Err(active);
        }
        if job.waiter.is_none() {
            active.detach();
        }
        self.watch_job(&active);
        Ok(active)
    }

    fn queue_full(&self, model: &Model) -> ServiceError {
        self.metrics.queue_full();
        ServiceError::QueueFull { retry_after: model.estimates.queue_retry_after(model.slot_count()) }
    }
}
