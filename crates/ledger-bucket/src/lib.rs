//! A ledger in an S3 bucket, with conditional writes of single objects. It needs no database.
//!
//! The ledger is as durable as the objects of the bucket. A change takes a read and one or two writes, so a
//! job takes about a dozen requests in total. A key's account is one object, which can change about ten times
//! per second. [`claim_next`](tintype_ledger::Ledger::claim_next), [`position`](tintype_ledger::Ledger::position),
//! [`load`](tintype_ledger::Ledger::load) and a [queue limit](tintype_ledger::accept::NewJob::queue) read every open job, so
//! they are for tens of open jobs. The turns of owners are known within one process only. On Lambda no worker
//! polls the queue: a job is [claimed](tintype_ledger::Ledger::claim) by its id.
//!
//! Objects are JSON with a format version. Their prefixes are `keys/`, `usage/` (accounts), `jobs/` and
//! `idem/`. Lifecycle rules of the bucket may expire the pointers under `jobs/same/` and `idem/`, those under
//! `idem/` after two days. A deleted job leaves a record without the customer's data.

mod accept;
mod accounts;
mod backup;
mod cas;
mod jobs;
mod paths;
mod repair;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use time::{Date, OffsetDateTime};
use tintype_core::store::{Condition, ObjectStore};

use tintype_ledger::accept::{Acceptance, NewJob};
use tintype_ledger::account::DayUsage;
use tintype_ledger::id::{JobId, KeyId, OwnerId};
use tintype_ledger::job::{JobRecord, Lease, Outcome, RecoveryScope, Run, Status};
use tintype_ledger::key::{ApiKey, Authentication, KeyRecord, NewKey};
use tintype_ledger::limits::Quota;
use tintype_ledger::money::Spend;
use tintype_ledger::policy::Policy;
use tintype_ledger::quarantine::{Repair, UnreadableRecord};
use tintype_ledger::{
    ClaimReply, EngineTimes, FinishReply, HeartbeatReply, JobPage, KeyStore, Ledger, Load, Recovered,
};
use tintype_ledger::{Error, Result};

use cas::{CasStore, Change};

pub use cas::Sleeper;

/// A ledger in an S3 bucket.
pub struct BucketLedger {
    store: CasStore,
    /// For each owner, the value of a counter of claims when this process last claimed one of the owner's
    /// jobs.
    turns: Mutex<HashMap<OwnerId, i64>>,
}

impl BucketLedger {
    /// A ledger in `objects`. It calls `sleep` (for example, tokio's `sleep`) to wait before it retries a
    /// write.
    pub fn new(objects: Arc<dyn ObjectStore>, sleep: Sleeper) -> Self {
        Self { store: CasStore::new(objects, sleep), turns: Mutex::default() }
    }
}

impl fmt::Debug for BucketLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BucketLedger").finish_non_exhaustive()
    }
}

/// The changed job, unless it is deleted.
fn visible(changed: Option<(JobRecord, bool)>) -> Option<JobRecord> {
    changed.map(|(job, _)| job).filter(|job| !job.deleted)
}

#[async_trait]
impl KeyStore for BucketLedger {
    async fn create_key(&self, new: NewKey, now: OffsetDateTime) -> Result<(ApiKey, KeyRecord)> {
        let key = ApiKey::generate().map_err(Error::unavailable)?;
        let record = KeyRecord::new(&key, new, now);
        let path = paths::key(&record.id);
        match self.store.write(&path, &record, Condition::Absent).await? {
            Some(_) => Ok((key, record)),
            // An id collision (1 in 2⁶⁴), or an earlier attempt whose answer was lost. No client knows that
            // key.
            None => Err(Error::Contended { record: path }),
        }
    }

    async fn authenticate(&self, key: &ApiKey, now: OffsetDateTime) -> Result<Authentication> {
        let found = self.key(&key.hash().id()).await?;
        Ok(found.map_or(Authentication::Unknown, |record| record.verify(key, now)))
    }

    async fn key(&self, id: &KeyId) -> Result<Option<KeyRecord>> {
        Ok(self.store.read(&paths::key(id)).await?.map(|versioned| versioned.record))
    }

    async fn keys(&self) -> Result<Vec<KeyRecord>> {
        let listed = self.store.list(paths::KEYS, None, usize::MAX).await?;
        Ok(self.store.read_all(listed).await?.into_iter().map(|(_, record)| record).collect())
    }

    async fn revoke_key(&self, id: &KeyId, now: OffsetDateTime) -> Result<Option<KeyRecord>> {
        let revoke = |record: Option<KeyRecord>| match record {
            Some(mut record) if record.revoked.is_none() => {
                record.revoked = Some(now);
                Change::Write(record.clone(), Some(record))
            }
            record => Change::Leave(record),
        };
        self.store.change(&paths::key(id), revoke).await
    }
}

#[async_trait]
impl Ledger for BucketLedger {
    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::now_utc() + self.store.clock_offset()
    }

    async fn accept(&self, new: NewJob, now: OffsetDateTime) -> Result<Acceptance> {
        self.accept_job(new, now).await
    }

    async fn claim(
        &self,
        owner: &OwnerId,
        id: JobId,
        lease: Lease,
        now: OffsetDateTime,
    ) -> Result<ClaimReply> {
        self.claim_job(owner, id, &lease, now).await
    }

    async fn claim_next(&self, model: &str, lease: Lease, now: OffsetDateTime) -> Result<Option<JobRecord>> {
        self.claim_next_job(model, &lease, now).await
    }

    async fn heartbeat(&self, run: &Run, until: OffsetDateTime) -> Result<HeartbeatReply> {
        self.extend_lease(run, until).await
    }

    async fn finish(
        &self,
        run: &Run,
        outcome: Outcome,
        cost: Spend,
        now: OffsetDateTime,
    ) -> Result<FinishReply> {
        self.finish_run(run, outcome, cost, now).await
    }

    async fn detach(&self, owner: &OwnerId, id: JobId) -> Result<Option<JobRecord>> {
        Ok(visible(self.change_job(owner, id, JobRecord::detach).await?))
    }

    async fn save_receipt(&self, run: &Run, receipt: &str) -> Result<bool> {
        let changed = self.change_job(&run.owner, run.job, |job| job.save_receipt(run, receipt)).await?;
        Ok(changed.is_some_and(|(job, _)| job.is_run_by(run)))
    }

    async fn release(&self, run: &Run, now: OffsetDateTime) -> Result<bool> {
        let changed = self.change_job(&run.owner, run.job, |job| job.release(run, now)).await?;
        Ok(changed.is_some_and(|(_, released)| released))
    }

    async fn cancel(&self, owner: &OwnerId, id: JobId, now: OffsetDateTime) -> Result<Option<JobRecord>> {
        Ok(visible(self.change_job(owner, id, |job| !job.deleted && job.cancel(now)).await?))
    }

    async fn mark_delivered(&self, owner: &OwnerId, id: JobId, now: OffsetDateTime) -> Result<()> {
        let mark = |job: &mut JobRecord| job.delivered.replace(now).is_none();
        self.change_job(owner, id, mark).await.map(drop)
    }

    async fn delete(&self, owner: &OwnerId, id: JobId, now: OffsetDateTime) -> Result<Option<JobRecord>> {
        self.delete_job(owner, id, now).await
    }

    async fn job(&self, owner: &OwnerId, id: JobId) -> Result<Option<JobRecord>> {
        Ok(self.job_record(owner, id).await?.filter(|job| !job.deleted))
    }

    async fn jobs(&self, owner: &OwnerId, before: Option<JobId>, limit: usize) -> Result<JobPage> {
        self.list_jobs(owner, before, limit).await
    }

    async fn finished_jobs(&self, accepted_before: OffsetDateTime, limit: usize) -> Result<Vec<JobRecord>> {
        self.list_finished(accepted_before, limit).await
    }

    async fn position(&self, owner: &OwnerId, id: JobId) -> Result<Option<u64>> {
        self.queue_position(owner, id).await
    }

    async fn load(&self) -> Result<BTreeMap<String, Load>> {
        let mut loads = BTreeMap::<String, Load>::new();
        for job in self.open_jobs().await? {
            let load = loads.entry(job.model().to_owned()).or_default();
            match job.status {
                Status::Queued => load.queued += 1,
                Status::Running => load.running += 1,
                _ => {}
            }
        }
        loads.retain(|_, load| *load != Load::default());
        Ok(loads)
    }

    async fn reconcile(&self, owner: &OwnerId, id: JobId, now: OffsetDateTime) -> Result<Option<JobRecord>> {
        Ok(visible(self.reconcile_job(owner, id, now, RecoveryScope::ExpiredLeases).await?))
    }

    async fn recover(&self, now: OffsetDateTime, scope: RecoveryScope) -> Result<Recovered> {
        self.recover_all(now, scope).await
    }

    async fn usage(&self, key: &KeyId, from: Date, to: Date) -> Result<Vec<(Date, DayUsage)>> {
        let record = self.account_record(key).await?;
        if from > to {
            return Ok(Vec::new());
        }
        Ok(record.account.days.range(from..=to).map(|(day, usage)| (*day, usage.clone())).collect())
    }

    async fn quotas(&self, key: &KeyId, policy: &Policy, now: OffsetDateTime) -> Result<Vec<Quota>> {
        Ok(self.account_record(key).await?.account.quotas(policy, now))
    }

    async fn engine_times(&self, model: &str) -> Result<Option<EngineTimes>> {
        Ok(self.store.read(&paths::engine_times(model)).await?.map(|versioned| versioned.record))
    }

    async fn save_engine_times(&self, model: &str, times: EngineTimes) -> Result<()> {
        // The newest times count, whichever process has measured them.
        self.store.write(&paths::engine_times(model), &times, Condition::Always).await.map(drop)
    }

    async fn probe(&self) -> Result<()> {
        self.store.probe().await
    }

    fn unreadable_records(&self) -> usize {
        self.store.quarantine.len()
    }

    async fn check(&self) -> Result<Vec<UnreadableRecord>> {
        self.check_all().await
    }

    async fn repair(&self, now: OffsetDateTime) -> Result<Repair> {
        self.repair_all(now).await
    }
}

#[cfg(test)]
mod tests;
