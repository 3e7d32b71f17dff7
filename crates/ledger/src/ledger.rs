//! The seam: what must not be lost, as intents that happen wholly or not at all.

use async_trait::async_trait;
use time::{Date, OffsetDateTime};

use crate::accept::{Acceptance, NewJob};
use crate::account::DayUsage;
use crate::error::Result;
use crate::id::{JobId, KeyId, OwnerId};
use crate::job::{JobRecord, Lease, Outcome, RecoveryScope, Run};
use crate::key::{ApiKey, Authentication, KeyRecord, NewKey};
use crate::limits::Quota;
use crate::money::Spend;
use crate::policy::Policy;

/// What came of claiming a job by its id.
#[derive(Clone, Debug, PartialEq)]
pub enum ClaimReply {
    /// It is yours: run it.
    Granted(JobRecord),
    /// Somebody else has it, or it has ended.
    Unavailable(JobRecord),
    /// There is no such job.
    NotFound,
}

/// The answer to a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeartbeatReply {
    /// Go on.
    Continue,
    /// Somebody asked that it be stopped.
    CancelRequested,
    /// It is not yours any more: stop, and report nothing.
    LeaseLost,
}

/// What came of reporting a job's end.
#[derive(Clone, Debug, PartialEq)]
pub enum FinishReply {
    /// It has ended as reported and is charged.
    Recorded(JobRecord),
    /// The same, but its owner has deleted it: remove the pictures.
    Deleted(JobRecord),
    /// It is not yours any more and nothing was changed or charged: remove the pictures.
    Stale,
}

/// What a recovery found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recovered {
    /// Jobs whose worker died and that wait again.
    pub requeued: Vec<JobRecord>,
    /// Jobs that ended by it.
    pub ended: Vec<JobRecord>,
}

/// How many jobs are open, of all owners.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Waiting for a worker.
    pub queued: u64,
    /// In a worker's hands, or lost and not yet recovered.
    pub running: u64,
}

/// A page of an owner's jobs, newest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobPage {
    /// The jobs.
    pub jobs: Vec<JobRecord>,
    /// Where the next page begins, if there is one.
    pub next: Option<JobId>,
}

/// Keeps keys, jobs, usage and idempotency records. Every method is atomic, lasting once it returns, and safe to
/// ask again when its answer was lost. Times are handed in; the ledger looks at no clock.
///
/// Times of several processes must agree to well within a lease. Dropping a future before it is done may leave what a
/// crash leaves: nothing is lost, but what it took may come free late. Better to let it run.
///
/// A job that is another owner's is not there, whatever is asked of it.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Makes a key. The key itself is in the answer and nowhere else.
    ///
    /// # Errors
    /// [`Error`](crate::Error), as everywhere here.
    async fn create_key(&self, new: NewKey, now: OffsetDateTime) -> Result<(ApiKey, KeyRecord)>;

    /// Looks up the key that somebody presented.
    async fn authenticate(&self, key: &ApiKey, now: OffsetDateTime) -> Result<Authentication>;

    /// A key's record.
    async fn key(&self, id: &KeyId) -> Result<Option<KeyRecord>>;

    /// Every key, by id, revoked ones included.
    async fn keys(&self) -> Result<Vec<KeyRecord>>;

    /// Takes a key back; its jobs go on. `None` if there is no such key. Revoking twice keeps the first time.
    async fn revoke_key(&self, id: &KeyId, now: OffsetDateTime) -> Result<Option<KeyRecord>>;

    /// Accepts a job, or answers with one that does as well: replays an idempotency key, joins an identical job in
    /// flight, finds a stored picture; otherwise reserves what it may take and queues it.
    async fn accept(&self, new: NewJob, now: OffsetDateTime) -> Result<Acceptance>;

    /// Takes one queued job by its id.
    async fn claim(
        &self,
        owner: &OwnerId,
        id: JobId,
        lease: Lease,
        now: OffsetDateTime,
    ) -> Result<ClaimReply>;

    /// Takes the next queued job. Owners take turns: the one with the fewest running jobs comes first, then the one
    /// whose turn is longest ago; within an owner the oldest job. Queued jobs past their deadline fail on the way.
    async fn claim_next(&self, lease: Lease, now: OffsetDateTime) -> Result<Option<JobRecord>>;

    /// Extends the lease of a running job.
    async fn heartbeat(&self, run: &Run, until: OffsetDateTime) -> Result<HeartbeatReply>;

    /// Ends a running job and charges what it took, exactly once however often it is reported.
    async fn finish(
        &self,
        run: &Run,
        outcome: Outcome,
        cost: Spend,
        now: OffsetDateTime,
    ) -> Result<FinishReply>;

    /// Makes a job that was attended one that is made whether anybody waits or not. The record as it is then; `None` if
    /// there is no such job.
    async fn detach(&self, owner: &OwnerId, id: JobId) -> Result<Option<JobRecord>>;

    /// Writes down how to ask for the result those who work on a running job. From then on the job is not lost with its worker,
    /// nor late: it waits for somebody who asks them. False if it is not that worker's any more.
    async fn save_receipt(&self, run: &Run, receipt: &str) -> Result<bool>;

    /// Puts a job back whose worker shuts down, as if it had not been begun; one that is to stop is canceled by that. False if it
    /// is not that worker's any more.
    async fn release(&self, run: &Run, now: OffsetDateTime) -> Result<bool>;

    /// Stops a job: a queued one is canceled and costs nothing, unless others work on it, who cannot be called back: then it is
    /// charged the time since they were given it, and at most what was reserved. A running one is marked, and its worker hears of
    /// it with the next heartbeat. The record as it is then; `None` if there is no such job.
    async fn cancel(&self, owner: &OwnerId, id: JobId, now: OffsetDateTime) -> Result<Option<JobRecord>>;

    /// Notes that somebody was given the job's pictures; the first time counts.
    async fn mark_delivered(&self, owner: &OwnerId, id: JobId, now: OffsetDateTime) -> Result<()>;

    /// Deletes a job's record, its request and its idempotency key; what was charged stays charged. A running one
    /// is stopped first and is gone for its owner at once. The record as it was, with its pictures' keys: whoever
    /// deletes the pictures does so before this, so that a crash between leaves something to find them by.
    async fn delete(&self, owner: &OwnerId, id: JobId, now: OffsetDateTime) -> Result<Option<JobRecord>>;

    /// An owner's job.
    async fn job(&self, owner: &OwnerId, id: JobId) -> Result<Option<JobRecord>>;

    /// An owner's jobs, newest first, before `before`, at most `limit` (1 to 1,000).
    async fn jobs(&self, owner: &OwnerId, before: Option<JobId>, limit: usize) -> Result<JobPage>;

    /// Jobs of all owners that were accepted before `before` and have ended, oldest first within an owner, at most
    /// `limit` (1 to 1,000): what is to be deleted when records are kept for a time only.
    async fn finished_jobs(&self, before: OffsetDateTime, limit: usize) -> Result<Vec<JobRecord>>;

    /// How many queued jobs come before this one if no more are accepted; `None` if it is not queued.
    async fn position(&self, owner: &OwnerId, id: JobId) -> Result<Option<u64>>;

    /// How many jobs are open.
    async fn load(&self) -> Result<Load>;

    /// One job, ended or requeued if nobody will do that any more (see [`Ledger::recover`]): what a reader calls
    /// where no process stays to look after jobs.
    async fn reconcile(&self, owner: &OwnerId, id: JobId, now: OffsetDateTime) -> Result<Option<JobRecord>>;

    /// Ends or requeues every job that nobody will end any more: running ones that are lost, queued ones past their
    /// deadline. To be called at start and now and then.
    async fn recover(&self, now: OffsetDateTime, lost: RecoveryScope) -> Result<Recovered>;

    /// A key's usage on the days from `from` to `to`, both included; days without any are left out. Days are kept
    /// for [`USAGE_RETENTION_DAYS`](crate::account::DAYS_KEPT).
    async fn usage(&self, key: &KeyId, from: Date, to: Date) -> Result<Vec<(Date, DayUsage)>>;

    /// What is left of a key's limits.
    async fn quotas(&self, key: &KeyId, policy: &Policy, now: OffsetDateTime) -> Result<Vec<Quota>>;
}
