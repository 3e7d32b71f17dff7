//! Letting a request in.

use std::sync::Arc;

use time::OffsetDateTime;
use tintype_core::request::Seed;
use tintype_ledger::accept::{Acceptance, NewJob, QueueLimit, Reuse};
use tintype_ledger::job::{Interrupted, JobRecord};
use tokio::time::Instant;
use tracing::Instrument;

use crate::caller::Caller;
use crate::error::{Refusal, ServiceError};
use crate::image::{Image, Source};
use crate::live::{Live, instant};
use crate::order::Order;
use crate::service::{Inner, Service};
use crate::ticket::Ticket;
use crate::written::{Written, fingerprint};

impl Service {
    /// Hands an order in. The ticket is the place among those who wait for it; it is answered by new work, or by a job
    /// that does as well: the same idempotency key's, an identical one in flight or stored, one whose client hung up a moment
    /// ago. What is accepted is in the ledger before this returns.
    ///
    /// # Errors
    /// [`ServiceError::QueueFull`], [`ServiceError::Refused`], [`ServiceError::IdempotencyConflict`],
    /// [`ServiceError::Ledger`], and those of [`model`](Self::model).
    pub async fn submit(&self, caller: &Caller, order: Order) -> Result<Ticket, ServiceError> {
        let (inner, caller) = (self.inner.clone(), caller.clone());
        // A task of its own: if the client hangs up now, the ledger is still answered to, and the ticket dropped.
        tokio::spawn(async move { inner.admit(caller, order).await }.in_current_span()).await?
    }

    /// Hands an order in and waits for its pictures. Dropping the future is hanging up.
    ///
    /// # Errors
    /// Those of [`submit`](Self::submit) and of [`Ticket::finished`].
    pub async fn generate(&self, caller: &Caller, order: Order) -> Result<Image, ServiceError> {
        self.submit(caller, order).await?.finished().await
    }
}

impl Inner {
    async fn admit(self: Arc<Self>, caller: Caller, order: Order) -> Result<Ticket, ServiceError> {
        let model = self.engine()?.model().name.clone();
        let expires_in = order.request.expires_in;
        if order.idempotency.is_none()
            && !order.detached
            && let Some(orphan) = self.table.adopt(&caller.owner, &model, &order.request)
        {
            return Ok(Ticket::waiting(self, orphan, (Source::Made, Vec::new())).linked_for(expires_in));
        }
        let explicit = matches!(order.request.seed, Seed::Explicit(_));
        let reuse =
            Reuse { in_flight: explicit || order.coalesce, stored: explicit, uncollected_since: None };
        let place = if order.detached { None } else { self.places.clone().try_acquire_owned().ok() };
        let full = !order.detached && place.is_none();
        if full && !reuse.any() && order.idempotency.is_none() {
            return Err(self.queue_full());
        }
        let queue = match (full, order.detached) {
            // Only a job that is there already can answer it.
            (true, _) => Some(QueueLimit { per_owner: 0, total: 0 }),
            (_, true) => {
                let per_owner = self.settings.backlog;
                Some(QueueLimit { per_owner, total: per_owner.saturating_mul(10) })
            }
            _ => None,
        };
        let new = self.new_job(&caller, &order, &model);
        let mut new = NewJob { reuse, queue, ..new };
        loop {
            let accepted = self.ledger.accept(new.clone(), OffsetDateTime::now_utc()).await?;
            let (job, source, standing) = match accepted {
                Acceptance::Accepted { job, standing } => (job, Source::Made, standing),
                Acceptance::Joined { job, standing } => (job, Source::Joined, standing),
                Acceptance::Stored { job, standing } => (job, Source::Stored, standing),
                Acceptance::Replayed { job } => (job, Source::Replayed, Vec::new()),
                Acceptance::Conflict => return Err(ServiceError::IdempotencyConflict),
                Acceptance::Refused { refused, standing } => {
                    self.metrics.refused(&refused);
                    return Err(ServiceError::Refused(Box::new(Refusal { refused, standing })));
                }
                Acceptance::QueueFull => return Err(self.queue_full()),
            };
            if source == Source::Stored && self.has_lost_pictures(&job).await? {
                self.ledger.delete(&job.owner, job.id, OffsetDateTime::now_utc()).await?;
                continue;
            }
            self.metrics.answered(source, &caller);
            let ticket = if job.status.is_final() {
                Ticket::ended(self, job, (source, standing))
            } else if let Some(live) = self.waits_for(&job, order.is_kept()) {
                if source == Source::Made {
                    live.hold(place);
                    self.arrivals.notify_one();
                }
                Ticket::waiting(self, live, (source, standing))
            } else if source == Source::Joined {
                // Everybody else hung up on it a while ago, and it is about to stop.
                new.reuse.in_flight = false;
                continue;
            } else {
                return Err(ServiceError::Abandoned);
            };
            return Ok(ticket.linked_for(expires_in));
        }
    }

    fn new_job(&self, caller: &Caller, order: &Order, model: &str) -> NewJob {
        let kept = order.is_kept();
        let written = Written {
            model: model.to_owned(),
            request: order.request.clone(),
            attended_in: (!kept).then(|| self.process.clone()),
            capped: !caller.policy.budgets.is_empty(),
        };
        NewJob {
            owner: caller.owner.clone(),
            key: caller.key.clone(),
            policy: caller.policy.clone(),
            reserve: self.estimates.reserve(&order.request),
            request: written.to_value(),
            fingerprint: fingerprint(model, &order.request),
            reuse: Reuse::default(),
            idempotency: order.idempotency.clone(),
            interrupted: Interrupted::Requeue,
            deadline: order.deadline.map(|left| OffsetDateTime::now_utc() + left),
            queue: None,
        }
    }

    /// The entry of a job that has not ended, with one more who waits for it. `None` if it is about to stop.
    fn waits_for(self: &Arc<Self>, job: &JobRecord, keep: bool) -> Option<Arc<Live>> {
        let live = self.table.enter(job);
        if !live.join(Instant::now()) {
            return None;
        }
        if keep {
            live.keep();
        }
        if let Some(deadline) = job.deadline {
            self.revise_at(&live, instant(deadline));
        }
        if !self.settings.sole {
            self.follow_elsewhere(&live);
        }
        Some(live)
    }

    fn queue_full(&self) -> ServiceError {
        self.metrics.queue_full();
        ServiceError::QueueFull { retry_after: self.estimates.next_place(self.slots()) }
    }
}
