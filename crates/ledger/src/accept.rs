//! Accepting a job: the request to the ledger ([`NewJob`]) and its result ([`Acceptance`]).

use serde_json::Value;
use time::{Duration, OffsetDateTime};

use crate::account::Reservation;
use crate::id::{Fingerprint, JobId, KeyId, OwnerId, WorkerId};
use crate::job::{EventsKey, JobRecord, Lease, OnWorkerLoss, Status};
use crate::limits::{LimitExceeded, Quota};
use crate::money::Spend;
use crate::policy::Policy;

/// How long an idempotency key is valid.
pub const IDEMPOTENCY_TTL: Duration = Duration::hours(24);

/// A client's idempotency key: all requests with the same key count as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// The client's key: any text.
    pub key: String,
    /// The fingerprint of the whole request body. The same key with another body is a client error.
    pub body: Fingerprint,
}

/// Which earlier jobs of the same owner and request key may answer a request instead of a new job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reuse {
    /// A queued or running job, so that identical concurrent requests share one job. A job with a deadline is
    /// not shared, because its deadline would then apply to the new request.
    pub in_flight: bool,
    /// A succeeded job with one of these picture keys. A request with an explicit seed would generate the same
    /// images again.
    pub stored: Option<PictureKeys>,
    /// The job of this client's earlier attempt, if the request is a retry: a job in flight, or a succeeded
    /// job whose images were not delivered.
    pub retry: Option<RetryReuse>,
}

/// Identifies the images that a request would get now. They depend on more than the request: on the revision of
/// the model, on its numerics, and on the settings with which images are finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PictureKeys {
    /// The picture key.
    pub current: Fingerprint,
    /// The key of the same request and images in records of versions before 0.2, which have one key for both; `None`
    /// if such records do not count.
    pub before_0_2: Option<Fingerprint>,
}

impl PictureKeys {
    fn matches(&self, job: &JobRecord) -> bool {
        match job.picture_key {
            Some(key) => key == self.current,
            None => self.before_0_2 == Some(job.request_key),
        }
    }
}

/// Which jobs count as the earlier attempt of a retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryReuse {
    /// Jobs accepted before this time do not count.
    pub accepted_since: OffsetDateTime,
    /// Jobs whose images were delivered before this time do not count: the client has received them. A later
    /// delivery may have been lost.
    pub delivered_since: OffsetDateTime,
}

impl RetryReuse {
    fn matches(&self, job: &JobRecord) -> bool {
        let received = job.delivered_at().is_some_and(|at| at < self.delivered_since);
        job.created >= self.accepted_since && !received
    }
}

impl Reuse {
    /// True if any kind of earlier job may answer the request.
    pub fn any(&self) -> bool {
        self.in_flight || self.stored.is_some() || self.retry.is_some()
    }

    /// True if this job may answer the request. The caller has compared the owner and the request key.
    pub fn matches(&self, job: &JobRecord) -> bool {
        let in_flight = !job.status.is_final() && !job.cancel_requested;
        let stored = job.status == Status::Succeeded;
        let retried = self.retry.is_some_and(|retry| retry.matches(job));
        !job.deleted
            && ((in_flight && ((self.in_flight && job.deadline.is_none()) || retried))
                || (stored && (self.stored.is_some_and(|keys| keys.matches(job)) || retried)))
    }
}

/// The maximum number of queued jobs of one model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimit {
    /// Queued jobs of one owner.
    pub per_owner: u32,
    /// Queued jobs of all owners.
    pub total: u32,
}

/// A job to accept.
#[derive(Clone, Debug, PartialEq)]
pub struct NewJob {
    /// The owner.
    pub owner: OwnerId,
    /// The API key of the request, whose account is charged.
    pub key: KeyId,
    /// The key's limits.
    pub policy: Policy,
    /// The cost to reserve: a likely upper bound of the actual cost.
    pub reserve: Spend,
    /// The name of the model. Only a worker of this model claims the job.
    pub model: String,
    /// The request, in a form that the worker reads. The ledger does not interpret it.
    pub request: Value,
    /// Equal for requests that may share a job in flight.
    pub request_key: Fingerprint,
    /// Which earlier jobs may answer the request.
    pub reuse: Reuse,
    /// The client's idempotency key.
    pub idempotency: Option<Idempotency>,
    /// What happens to the job if its worker dies.
    pub on_worker_loss: OnWorkerLoss,
    /// The process in which a client waits, if the job is to end when that client disconnects.
    pub waiter: Option<WorkerId>,
    /// The time at which the job fails if it has not ended.
    pub deadline: Option<OffsetDateTime>,
    /// The secret of the job's event URL, if it has one.
    pub events_key: Option<EventsKey>,
    /// The maximum number of queued jobs; `None` for no maximum.
    pub queue: Option<QueueLimit>,
    /// The lease of a worker that is ready to run the job. The ledger starts the job with this lease if no
    /// other job of the model is queued. A ledger that cannot check that cheaply may queue the job instead.
    pub start_with: Option<Lease>,
}

/// The result of [`Ledger::accept`](crate::Ledger::accept).
#[derive(Clone, Debug, PartialEq)]
pub enum Acceptance {
    /// The job is stored: queued, or running with [`NewJob::start_with`]. It survives a crash of this
    /// process.
    Accepted {
        /// The new job.
        job: JobRecord,
        /// What is left of the key's limits.
        quotas: Vec<Quota>,
    },
    /// An identical job is in flight. The request costs nothing.
    Joined {
        /// The job in flight.
        job: JobRecord,
        /// What is left of the key's limits.
        quotas: Vec<Quota>,
    },
    /// An identical job has succeeded, and its images are stored. The request costs nothing. If the object
    /// store has lost the images, delete the job and call `accept` again.
    Stored {
        /// The job that generated the images.
        job: JobRecord,
        /// What is left of the key's limits.
        quotas: Vec<Quota>,
    },
    /// The same request was sent before with this idempotency key. No limit was checked or changed.
    Replayed {
        /// The job of the first request, in whatever state it is.
        job: JobRecord,
    },
    /// Another request was sent before with this idempotency key.
    Conflict,
    /// The request exceeds a limit of its key.
    LimitExceeded {
        /// The limit, and when to retry.
        exceeded: LimitExceeded,
        /// What is left of the key's limits.
        quotas: Vec<Quota>,
    },
    /// Too many jobs are queued.
    QueueFull,
}

impl Acceptance {
    /// The job that answers the request, if there is one.
    pub fn job(&self) -> Option<&JobRecord> {
        match self {
            Self::Accepted { job, .. }
            | Self::Joined { job, .. }
            | Self::Stored { job, .. }
            | Self::Replayed { job } => Some(job),
            Self::Conflict | Self::LimitExceeded { .. } | Self::QueueFull => None,
        }
    }
}

impl NewJob {
    /// The record of this job after admission.
    pub fn into_record(self, id: JobId, reservation: Reservation, now: OffsetDateTime) -> JobRecord {
        JobRecord {
            id,
            owner: self.owner,
            key: self.key,
            model: self.model,
            request: self.request,
            request_key: self.request_key,
            picture_key: None,
            on_worker_loss: self.on_worker_loss,
            status: Status::Queued,
            created: now,
            started: None,
            finished: None,
            deadline: self.deadline,
            reservation,
            upstream_error: None,
            cost: None,
            images: Vec::new(),
            warnings: Vec::new(),
            idempotency_key: self.idempotency.map(|idempotency| idempotency.key),
            waiter: self.waiter,
            runs: 0,
            receipt: None,
            lease: None,
            cancel_requested: false,
            delivered: None,
            events_key: self.events_key,
            deleted: false,
        }
    }
}
