//! The ledger in a bucket, for places with no database: conditional writes of single objects.
//!
//! Whatever S3 promises for an object that was written is promised here. Every change costs a read and a write or
//! two, so a job's life is about a dozen requests; a key's account is one object, which a bucket can change some ten
//! times a second. [`claim_next`](crate::Ledger::claim_next), `position`, `load` and a bounded queue read every open job: they are for
//! tens of jobs, and turns are those that one process gave. On Lambda nobody polls: there, a job is
//! [claimed](crate::Ledger::claim) by its id.
//!
//! Objects lie under `keys/`, `usage/` (accounts), `jobs/` and `idem/`, each JSON with a version. Signposts under
//! `idem/` and `jobs/same/` may be expired by the bucket's own rules, `idem/` after two days; deleted jobs leave a
//! record without anything that the customer wrote.

mod accept;
mod accounts;
mod cas;
mod jobs;
mod paths;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use time::{Date, OffsetDateTime};
use tintype_core::store::{Condition, ObjectStore};

use crate::accept::{Acceptance, NewJob};
use crate::account::DayUsage;
use crate::error::{Error, Result};
use crate::id::{JobId, KeyId, OwnerId};
use crate::job::{JobRecord, Lease, Outcome, RecoveryScope, Run, Status};
use crate::key::{ApiKey, Authentication, KeyRecord, NewKey};
use crate::ledger::{ClaimReply, FinishReply, HeartbeatReply, JobPage, Ledger, Load, Recovered};
use crate::limits::Quota;
use crate::money::Spend;
use crate::policy::Policy;

use cas::{Cells, Change};

pub use cas::Sleeper;

/// The ledger in a bucket.
pub struct BucketLedger {
    cells: Cells,
    /// When this process last took a job of each owner, as a count.
    turns: Mutex<HashMap<OwnerId, i64>>,
}

impl BucketLedger {
    /// A ledger in this store. `sleep` is how it waits between two attempts, for example tokio's `sleep`.
    pub fn new(store: Arc<dyn ObjectStore>, sleep: Sleeper) -> Self {
        Self { cells: Cells::new(store, sleep), turns: Mutex::default() }
    }
}

impl fmt::Debug for BucketLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BucketLedger").finish_non_exhaustive()
    }
}

/// What its owner may see of a job that was changed.
fn visible(changed: Option<(JobRecord, bool)>) -> Option<JobRecord> {
    changed.map(|(job, _)| job).filter(|job| !job.deleted)
}

#[async_trait]
impl Ledger for BucketLedger {
    async fn create_key(&self, new: NewKey, now: OffsetDateTime) -> Result<(ApiKey, KeyRecord)> {
        let key = ApiKey::generate().map_err(Error::unavailable)?;
        let record = KeyRecord::new(&key, new, now);
        let path = paths::key(&record.id);
        match self.cells.write(&path, &record, Condition::Absent).await? {
            Some(_) => Ok((key, record)),
            // One in 2⁶⁴, or a write that got through unheard: the key it made is known to nobody.
            None => Err(Error::Contended { record: path }),
        }
    }

    async fn authenticate(&self, key: &ApiKey, now: OffsetDateTime) -> Result<Authentication> {
        let found = self.key(&key.hash().id()).await?;
        Ok(found.map_or(Authentication::Unknown, |record| record.verify(key, now)))
    }

    async fn key(&self, id: &KeyId) -> Result<Option<KeyRecord>> {
        Ok(self.cells.read(&paths::key(id)).await?.map(|seen| seen.record))
    }

    async fn keys(&self) -> Result<Vec<KeyRecord>> {
        let listed = self.cells.list(paths::KEYS, None, usize::MAX).await?;
        Ok(self.cells.read_all(listed).await?.into_iter().map(|(_, record)| record).collect())
    }

    async fn revoke_key(&self, id: &KeyId, now: OffsetDateTime) -> Result<Option<KeyRecord>> {
        let revoke = |record: Option<KeyRecord>| match record {
            Some(mut record) if record.revoked.is_none() => {
                record.revoked = Some(now);
                Change::Write(record.clone(), Some(record))
            }
            record => Change::Leave(record),
        };
        self.cells.change(&paths::key(id), revoke).await
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

    async fn claim_next(&self, lease: Lease, now: OffsetDateTime) -> Result<Option<JobRecord>> {
        self.claim_any(&lease, now).await
    }

    async fn heartbeat(&self, run: &Run, until: OffsetDateTime) -> Result<HeartbeatReply> {
        self.beat(run, until).await
    }

    async fn finish(
        &self,
        run: &Run,
        outcome: Outcome,
        cost: Spend,
        now: OffsetDateTime,
    ) -> Result<FinishReply> {
        self.end_run(run, (outcome, cost), now).await
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
        Ok(changed.is_some_and(|(_, ours)| ours))
    }

    async fn cancel(&self, owner: &OwnerId, id: JobId, now: OffsetDateTime) -> Result<Option<JobRecord>> {
        Ok(visible(self.change_job(owner, id, |job| !job.deleted && job.cancel(now)).await?))
    }

    async fn mark_delivered(&self, owner: &OwnerId, id: JobId, now: OffsetDateTime) -> Result<()> {
        let collect = |job: &mut JobRecord| job.delivered.replace(now).is_none();
        self.change_job(owner, id, collect).await.map(drop)
    }

    async fn delete(&self, owner: &OwnerId, id: JobId, now: OffsetDateTime) -> Result<Option<JobRecord>> {
        self.erase(owner, id, now).await
    }

    async fn job(&self, owner: &OwnerId, id: JobId) -> Result<Option<JobRecord>> {
        Ok(self.record(owner, id).await?.filter(|job| !job.deleted))
    }

    async fn jobs(&self, owner: &OwnerId, before: Option<JobId>, limit: usize) -> Result<JobPage> {
        self.page(owner, before, limit).await
    }

    async fn finished_jobs(&self, before: OffsetDateTime, limit: usize) -> Result<Vec<JobRecord>> {
        self.old(before, limit).await
    }

    async fn position(&self, owner: &OwnerId, id: JobId) -> Result<Option<u64>> {
        self.place(owner, id).await
    }

    async fn load(&self) -> Result<Load> {
        let open = self.open_jobs().await?;
        let count = |status| open.iter().filter(|job| job.status == status).count() as u64;
        Ok(Load { queued: count(Status::Queued), running: count(Status::Running) })
    }

    async fn reconcile(&self, owner: &OwnerId, id: JobId, now: OffsetDateTime) -> Result<Option<JobRecord>> {
        Ok(visible(self.try_reconcile(owner, id, (now, RecoveryScope::ExpiredLeases)).await?))
    }

    async fn recover(&self, now: OffsetDateTime, scope: RecoveryScope) -> Result<Recovered> {
        self.recover_all(now, scope).await
    }

    async fn usage(&self, key: &KeyId, from: Date, to: Date) -> Result<Vec<(Date, DayUsage)>> {
        let book = self.book(key).await?;
        if from > to {
            return Ok(Vec::new());
        }
        Ok(book.account.days.range(from..=to).map(|(day, usage)| (*day, usage.clone())).collect())
    }

    async fn quotas(&self, key: &KeyId, policy: &Policy, now: OffsetDateTime) -> Result<Vec<Quota>> {
        Ok(self.book(key).await?.account.quotas(policy, now))
    }
}

#[cfg(test)]
mod tests;
