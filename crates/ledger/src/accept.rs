//! What it takes to accept a job, and what can come of it.

use serde_json::Value;
use time::{Duration, OffsetDateTime};

use crate::account::Reservation;
use crate::id::{Fingerprint, JobId, KeyId, OwnerId, WorkerId};
use crate::job::{JobRecord, Lease, OnWorkerLoss, Status};
use crate::limits::{LimitExceeded, Quota};
use crate::money::Spend;
use crate::policy::Policy;

/// How long an idempotency key is remembered.
pub const IDEMPOTENCY_TTL: Duration = Duration::hours(24);

/// A client's word that this is one request, however often it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// The client's key, any text.
    pub key: String,
    /// The fingerprint of the whole body: the same key with another body is a mistake of the client's.
    pub body: Fingerprint,
}

/// Which earlier jobs of the same owner and fingerprint will do instead of a new one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reuse {
    /// One that is queued or running: identical requests in flight are made once. Not one with a deadline, which would
    /// become the newcomer's.
    pub in_flight: bool,
    /// One that succeeded: with an explicit seed its picture is the same.
    pub stored: bool,
    /// The request is a client's own retry, and comes for what its first attempt has made: a job in flight, or one that
    /// succeeded and was not collected.
    pub retry: Option<RetryReuse>,
}

/// Which jobs a retry comes for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryReuse {
    /// The first attempt was not accepted before then.
    pub accepted_since: OffsetDateTime,
    /// What was answered before then has reached its client; of a later answer nobody knows.
    pub delivered_since: OffsetDateTime,
}

impl RetryReuse {
    fn matches(&self, job: &JobRecord) -> bool {
        let answered = job.answered().is_some_and(|at| at < self.delivered_since);
        job.created >= self.accepted_since && !answered
    }
}

impl Reuse {
    /// True if any earlier job may do.
    pub fn any(&self) -> bool {
        self.in_flight || self.stored || self.retry.is_some()
    }

    /// True if this one, of the same owner and fingerprint, does.
    pub(crate) fn matches(&self, job: &JobRecord) -> bool {
        let in_flight = !job.status.is_final() && !job.cancel_requested;
        let stored = job.status == Status::Succeeded;
        let awaited = self.retry.is_some_and(|retry| retry.matches(job));
        !job.deleted
            && ((in_flight && ((self.in_flight && job.deadline.is_none()) || awaited))
                || (stored && (self.stored || awaited)))
    }
}

/// How many jobs may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimit {
    /// Of one owner.
    pub per_owner: u32,
    /// Of all.
    pub total: u32,
}

/// A job to be accepted.
#[derive(Clone, Debug, PartialEq)]
pub struct NewJob {
    /// Whose it is.
    pub owner: OwnerId,
    /// The key it was asked for with.
    pub key: KeyId,
    /// That key's limits.
    pub policy: Policy,
    /// What it may take at the most likely.
    pub reserve: Spend,
    /// The request, for whoever runs the job.
    pub request: Value,
    /// Equal for requests that may share a picture.
    pub fingerprint: Fingerprint,
    /// Which earlier jobs will do.
    pub reuse: Reuse,
    /// The client's idempotency key.
    pub idempotency: Option<Idempotency>,
    /// What a dead worker means.
    pub on_worker_loss: OnWorkerLoss,
    /// The process in which its client waits, if it is made for that client alone.
    pub waiter: Option<WorkerId>,
    /// When it is given up.
    pub deadline: Option<OffsetDateTime>,
    /// How many jobs may wait; without it, any number.
    pub queue: Option<QueueLimit>,
    /// Somebody who would run it at once: the job is theirs from the beginning, if no other waits. A ledger that would have to
    /// look for others may leave it queued.
    pub start_with: Option<Lease>,
}

/// What came of asking for a job.
#[derive(Clone, Debug, PartialEq)]
pub enum Acceptance {
    /// It is queued, or theirs who would begin it, and survives whatever happens to this process.
    Accepted {
        /// The new job.
        job: JobRecord,
        /// What is left of the key's limits.
        quotas: Vec<Quota>,
    },
    /// An identical one is in flight; this request costs nothing.
    Joined {
        /// The job in flight.
        job: JobRecord,
        /// What is left of the key's limits.
        quotas: Vec<Quota>,
    },
    /// Its picture is there already; this request costs nothing. If the object store has lost it since, delete the job
    /// and ask again.
    Stored {
        /// The job that made it.
        job: JobRecord,
        /// What is left of the key's limits.
        quotas: Vec<Quota>,
    },
    /// The idempotency key was used for this very request, whatever became of it. No limit is touched.
    Replayed {
        /// The job of the first time.
        job: JobRecord,
    },
    /// The idempotency key was used for another request.
    Conflict,
    /// A limit does not let it in.
    LimitExceeded {
        /// The limit, and when to come back.
        exceeded: LimitExceeded,
        /// What is left of the key's limits.
        quotas: Vec<Quota>,
    },
    /// Too many jobs wait.
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
    /// The record of this job once it is let in.
    pub(crate) fn into_record(self, id: JobId, reservation: Reservation, now: OffsetDateTime) -> JobRecord {
        JobRecord {
            id,
            owner: self.owner,
            key: self.key,
            request: self.request,
            fingerprint: self.fingerprint,
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
            deleted: false,
        }
    }
}
