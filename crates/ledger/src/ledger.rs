//! The [`Ledger`] trait and the types that its methods return.

use std::collections::BTreeMap;

use async_trait::async_trait;
use time::{Date, OffsetDateTime};

use crate::accept::{Acceptance, NewJob};
use crate::account::DayUsage;
use crate::engine_times::EngineTimes;
use crate::error::Result;
use crate::id::{JobId, KeyId, OwnerId};
use crate::job::{JobRecord, Lease, Outcome, RecoveryScope, Run};
use crate::key_store::KeyStore;
use crate::limits::Quota;
use crate::money::Spend;
use crate::policy::Policy;
use crate::quarantine::{Repair, UnreadableRecord};

/// The result of [`Ledger::claim`].
#[derive(Clone, Debug, PartialEq)]
pub enum ClaimReply {
    /// The worker holds the lease and must run the job.
    Granted(JobRecord),
    /// Another worker holds the lease, or the job has ended.
    Unavailable(JobRecord),
    /// The owner has no job with this id.
    NotFound,
}

/// The result of [`Ledger::heartbeat`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeartbeatReply {
    /// The lease was extended.
    Continue,
    /// The lease was extended, and the client has canceled or deleted the job: the worker should stop.
    CancelRequested,
    /// The worker has lost its lease: it must stop and must not report an outcome.
    LeaseLost,
}

/// The result of [`Ledger::finish`].
#[derive(Clone, Debug, PartialEq)]
pub enum FinishReply {
    /// The outcome is stored and the job is charged.
    Recorded(JobRecord),
    /// The job is charged, but its owner has deleted it: the worker must delete the images.
    Deleted(JobRecord),
    /// The run has lost its lease. Nothing was changed or charged: the worker must delete the images.
    Stale,
}

/// The jobs that [`Ledger::recover`] changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recovered {
    /// Jobs that lost their worker and are queued again.
    pub requeued: Vec<JobRecord>,
    /// Jobs that ended: failed or canceled.
    pub ended: Vec<JobRecord>,
}

/// The number of open jobs of a model, of all owners.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Jobs that wait for a worker.
    pub queued: u64,
    /// Jobs that a worker runs, including those that lost their worker and are not recovered yet.
    pub running: u64,
}

/// A page of an owner's jobs, newest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobPage {
    /// The jobs.
    pub jobs: Vec<JobRecord>,
    /// The value of `before` for the next page; `None` on the last page.
    pub next: Option<JobId>,
}

/// Stores jobs, usage and idempotency keys, and is also the store of the API keys.
///
/// **Atomicity.** Every method is atomic, and its changes are durable when it returns. A caller that lost the
/// answer can safely call the method again with the same arguments.
///
/// **Time.** Callers pass the current time, which is [`now`](Self::now): with one clock for all processes that share a
/// ledger, leases and deadlines do not depend on the clocks of their machines.
///
/// **Cancellation.** Dropping a future before it completes has the effect of a crash: no accepted job is
/// lost, but a reservation may stay in place until the next recovery. Prefer to let the future complete.
///
/// **Owners.** A method that takes an owner treats another owner's job as one that does not exist.
///
/// **Errors.** Every method returns [`Error`](crate::Error) if the ledger cannot be reached, read or written.
/// Exceeded limits, conflicts and missing records are not errors: they are part of the return type.
#[async_trait]
pub trait Ledger: KeyStore {
    /// The current time by the clock that all processes of this ledger share; by default, this machine's clock.
    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::now_utc()
    }

    /// Accepts a job, or returns an existing job that answers the request.
    ///
    /// In this order: replays the job of the idempotency key, joins an identical job in flight or returns an
    /// identical stored one as far as [`NewJob::reuse`] allows it, and otherwise reserves the expected cost
    /// and queues the job.
    async fn accept(&self, new: NewJob, now: OffsetDateTime) -> Result<Acceptance>;

    /// Claims the queued job with this id.
    async fn claim(
        &self,
        owner: &OwnerId,
        id: JobId,
        lease: Lease,
        now: OffsetDateTime,
    ) -> Result<ClaimReply>;

    /// Claims the next queued job of a model; `None` if no such job is queued.
    ///
    /// Jobs of other models do not count. The owner with the fewest running jobs comes first; among equals, the owner whose last claim is the
    /// oldest. Within an owner, the oldest job comes first. Queued jobs past their deadline fail instead of
    /// being claimed.
    async fn claim_next(&self, model: &str, lease: Lease, now: OffsetDateTime) -> Result<Option<JobRecord>>;

    /// Extends the lease of a running job until `until`.
    async fn heartbeat(&self, run: &Run, until: OffsetDateTime) -> Result<HeartbeatReply>;

    /// Ends a running job and charges `cost`. Repeated reports of the same outcome are charged once.
    async fn finish(
        &self,
        run: &Run,
        outcome: Outcome,
        cost: Spend,
        now: OffsetDateTime,
    ) -> Result<FinishReply>;

    /// Clears [`JobRecord::waiter`], so that the job continues when its client disconnects. Returns the job
    /// as it is afterwards; `None` if it does not exist.
    async fn detach(&self, owner: &OwnerId, id: JobId) -> Result<Option<JobRecord>>;

    /// Stores the receipt of a remote job: the data with which an engine can query its result later.
    ///
    /// From then on the job survives its worker and has no deadline: after a crash it is queued, and another
    /// worker can query the result. Returns false if the run has lost its lease.
    async fn save_receipt(&self, run: &Run, receipt: &str) -> Result<bool>;

    /// Returns a running job to the queue because its worker shuts down. The run does not count towards
    /// [`MAX_RUNS`](crate::job::MAX_RUNS). A job with a cancel request is canceled instead. Returns false if
    /// the run has lost its lease.
    async fn release(&self, run: &Run, now: OffsetDateTime) -> Result<bool>;

    /// Cancels a job. Returns the job as it is afterwards; `None` if it does not exist.
    ///
    /// - A queued job ends as canceled and costs nothing.
    /// - A queued job with a receipt ends as canceled. The remote work cannot be stopped, so the job is
    ///   charged for the time since it started, at most the reserved amount.
    /// - A running job gets a cancel request, which its worker receives with the next heartbeat.
    async fn cancel(&self, owner: &OwnerId, id: JobId, now: OffsetDateTime) -> Result<Option<JobRecord>>;

    /// Records the time at which a client first received the job's images. Later calls change nothing.
    async fn mark_delivered(&self, owner: &OwnerId, id: JobId, now: OffsetDateTime) -> Result<()>;

    /// Deletes a job's record, its request and its idempotency key. Charges stay.
    ///
    /// A running job gets a cancel request and is invisible to its owner at once. Returns the record as it
    /// was before the deletion, with the object keys of its images; `None` if the job does not exist. Delete
    /// the images before calling this method: after a crash in between, the record still lists them.
    async fn delete(&self, owner: &OwnerId, id: JobId, now: OffsetDateTime) -> Result<Option<JobRecord>>;

    /// Returns a job.
    async fn job(&self, owner: &OwnerId, id: JobId) -> Result<Option<JobRecord>>;

    /// Lists at most `limit` (1 to 1,000) of an owner's jobs, newest first, starting after the job `before`.
    async fn jobs(&self, owner: &OwnerId, before: Option<JobId>, limit: usize) -> Result<JobPage>;

    /// Lists at most `limit` (1 to 1,000) ended jobs of all owners that were accepted before
    /// `accepted_before`, oldest first within an owner. The janitor deletes them after the retention period.
    async fn finished_jobs(&self, accepted_before: OffsetDateTime, limit: usize) -> Result<Vec<JobRecord>>;

    /// Returns the number of queued jobs of the same model that will be claimed before this one if no further
    /// jobs are accepted; `None` if the job is not queued.
    async fn position(&self, owner: &OwnerId, id: JobId) -> Result<Option<u64>>;

    /// Counts the open jobs, by the name of the model. Models without open jobs are left out.
    async fn load(&self) -> Result<BTreeMap<String, Load>>;

    /// Recovers a single job (see [`Ledger::recover`]) and returns it as it is afterwards; `None` if it does
    /// not exist. Call this before reading a job where no process calls `recover` periodically, as on Lambda.
    async fn reconcile(&self, owner: &OwnerId, id: JobId, now: OffsetDateTime) -> Result<Option<JobRecord>>;

    /// Ends or requeues every open job that no worker will end: running jobs that `scope` counts as lost, and
    /// queued jobs past their deadline. Call this at start and periodically.
    async fn recover(&self, now: OffsetDateTime, scope: RecoveryScope) -> Result<Recovered>;

    /// Returns a key's usage per day, from `from` to `to` inclusive. Days without usage are left out. Usage
    /// is kept for [`USAGE_RETENTION_DAYS`](crate::account::USAGE_RETENTION_DAYS).
    async fn usage(&self, key: &KeyId, from: Date, to: Date) -> Result<Vec<(Date, DayUsage)>>;

    /// Returns what is left of a key's limits.
    async fn quotas(&self, key: &KeyId, policy: &Policy, now: OffsetDateTime) -> Result<Vec<Quota>>;

    /// Returns the engine times of a model that a process saved last.
    async fn engine_times(&self, model: &str) -> Result<Option<EngineTimes>>;

    /// Saves the engine times of a model for the processes that start later.
    async fn save_engine_times(&self, model: &str, times: EngineTimes) -> Result<()>;

    /// Checks that the ledger can be written, if its last write failed.
    async fn probe(&self) -> Result<()>;

    /// The number of unreadable records that this process has found and skips.
    ///
    /// A method that reads many records skips those that cannot be decoded. A method for one job, key or
    /// account returns [`Error::Corrupt`](crate::Error::Corrupt) or
    /// [`Error::NewerVersion`](crate::Error::NewerVersion).
    fn unreadable_records(&self) -> usize;

    /// Reads all records and returns those that cannot be decoded.
    async fn check(&self) -> Result<Vec<UnreadableRecord>>;

    /// Ends the jobs whose records are damaged as failed with
    /// [`Reason::UnreadableRecord`](crate::job::Reason::UnreadableRecord), and releases their reservations.
    /// Other unreadable records stay as they are.
    async fn repair(&self, now: OffsetDateTime) -> Result<Repair>;
}
