//! Reads and changes accepted jobs in a bucket. A change is a conditional write of the job's record. If it
//! ends the job, the account is charged and the open marker is removed afterwards; a recovery or an audit
//! repeats these steps after a crash.

use std::collections::{BTreeMap, HashMap};
use std::sync::PoisonError;

use futures::future::join;
use time::OffsetDateTime;
use tintype_core::store::Condition;

use crate::accounts::ACCEPT_GRACE;
use crate::cas::Change;
use crate::{BucketLedger, paths};
use tintype_ledger::accept::{NewJob, QueueLimit};
use tintype_ledger::fairness::{OwnerQueue, jobs_ahead};
use tintype_ledger::id::{JobId, OwnerId};
use tintype_ledger::job::{JobRecord, Lease, Outcome, RecoveryScope, Run, Status};
use tintype_ledger::money::Spend;
use tintype_ledger::{ClaimReply, FinishReply, HeartbeatReply, JobPage, Recovered};
use tintype_ledger::{Error, Result};

/// The maximum number of open markers that are read. Deployments with more open jobs need a database.
const MAX_OPEN_JOBS: usize = 10_000;

impl BucketLedger {
    /// Returns a job, even if it is deleted.
    pub(crate) async fn job_record(&self, owner: &OwnerId, id: JobId) -> Result<Option<JobRecord>> {
        Ok(self.store.read(&paths::job(owner, id)).await?.map(|versioned| versioned.record))
    }

    /// Changes a job. `change` returns whether it changed the record. Returns the record as it is afterwards
    /// and whether it was changed; `None` if the job does not exist.
    pub(crate) async fn change_job(
        &self,
        owner: &OwnerId,
        id: JobId,
        mut change: impl FnMut(&mut JobRecord) -> bool + Send,
    ) -> Result<Option<(JobRecord, bool)>> {
        let mut ended = false;
        let change = |job: Option<JobRecord>| match job {
            None => Change::Leave(None),
            Some(mut job) => {
                let was_final = job.status.is_final();
                let changed = change(&mut job);
                ended = changed && !was_final && job.status.is_final();
                if changed {
                    Change::Write(job.clone(), Some((job, true)))
                } else {
                    Change::Leave(Some((job, false)))
                }
            }
        };
        let changed = self.store.change(&paths::job(owner, id), change).await?;
        if let Some((job, _)) = changed.as_ref().filter(|_| ended) {
            self.settle_ended(job).await?;
        }
        Ok(changed)
    }

    /// Charges a job that has ended and removes its open marker. Repeated calls have no effect.
    pub(crate) async fn settle_ended(&self, job: &JobRecord) -> Result<()> {
        // The charge does not depend on the marker, because a recovery audits every reservation.
        let path = paths::open_marker(&job.owner, job.id);
        let (settled, removed) = join(self.settle(job), self.store.remove(&path)).await;
        settled.and(removed)
    }

    /// Removes the marker of a job that does not exist. Restores it if the job was created in the meantime.
    pub(crate) async fn remove_marker(&self, owner: &OwnerId, id: JobId) -> Result<()> {
        self.store.remove(&paths::open_marker(owner, id)).await?;
        match self.job_record(owner, id).await? {
            Some(job) if !job.status.is_final() => self.write_marker(owner, id).await,
            _ => Ok(()),
        }
    }

    /// Marks a job as possibly open.
    pub(crate) async fn write_marker(&self, owner: &OwnerId, id: JobId) -> Result<()> {
        self.store.write(&paths::open_marker(owner, id), &(), Condition::Always).await.map(drop)
    }

    /// Ends or requeues a job that no worker will end (see [`JobRecord::reconcile`]). Returns the record as
    /// it is afterwards and whether it was changed.
    pub(crate) async fn reconcile_job(
        &self,
        owner: &OwnerId,
        id: JobId,
        now: OffsetDateTime,
        scope: RecoveryScope,
    ) -> Result<Option<(JobRecord, bool)>> {
        // Most jobs need no change, and reading the record first needs no lock.
        match self.job_record(owner, id).await? {
            None => Ok(None),
            Some(job) if !job.clone().reconcile(now, scope) => Ok(Some((job, false))),
            Some(_) => self.change_job(owner, id, |job| job.reconcile(now, scope)).await,
        }
    }

    pub(crate) async fn claim_job(
        &self,
        owner: &OwnerId,
        id: JobId,
        lease: &Lease,
        now: OffsetDateTime,
    ) -> Result<ClaimReply> {
        let claim = |job: &mut JobRecord| {
            let mut changed = !job.deleted && job.reconcile(now, RecoveryScope::ExpiredLeases);
            if !job.deleted && job.status == Status::Queued {
                job.start(lease.clone(), now);
                changed = true;
            }
            changed
        };
        Ok(match self.change_job(owner, id, claim).await? {
            Some((job, _)) if job.deleted => ClaimReply::NotFound,
            // Also covers a repeated claim whose answer was lost.
            Some((job, _)) if job.status == Status::Running && job.lease.as_ref() == Some(lease) => {
                ClaimReply::Granted(job)
            }
            Some((job, _)) => ClaimReply::Unavailable(job),
            None => ClaimReply::NotFound,
        })
    }

    /// Lists the jobs that may be open, oldest first within an owner.
    pub(crate) async fn open_jobs(&self) -> Result<Vec<JobRecord>> {
        let markers = self.store.list(paths::OPEN_MARKERS, None, MAX_OPEN_JOBS).await?;
        let marked = markers.iter().filter_map(|path| paths::parse_open_marker(path));
        let records = marked.map(|(owner, id)| paths::job(&owner, id)).collect();
        Ok(self.store.read_all(records).await?.into_iter().map(|(_, job)| job).collect())
    }

    /// Lists the jobs of a model that may be open, oldest first within an owner.
    async fn open_jobs_of(&self, model: &str) -> Result<Vec<JobRecord>> {
        let mut open = self.open_jobs().await?;
        open.retain(|job| job.model() == model);
        Ok(open)
    }

    /// Returns the queues of all owners with queued jobs. Only the claims of this process count as turns.
    fn owner_queues(&self, open: &[JobRecord]) -> Vec<OwnerQueue<OwnerId>> {
        let mut owners = BTreeMap::<&OwnerId, (u32, u32)>::new();
        for job in open.iter().filter(|job| !job.status.is_final()) {
            let (queued, running) = owners.entry(&job.owner).or_default();
            *(if job.status == Status::Queued { queued } else { running }) += 1;
        }
        let turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let queues = owners.into_iter().filter(|(_, (queued, _))| *queued > 0);
        queues
            .map(|(owner, (queued, running))| {
                let turn = turns.get(owner).copied().unwrap_or(0);
                OwnerQueue { owner: owner.clone(), queued, running, turn }
            })
            .collect()
    }

    pub(crate) async fn claim_next_job(
        &self,
        model: &str,
        lease: &Lease,
        now: OffsetDateTime,
    ) -> Result<Option<JobRecord>> {
        let mut open = self.open_jobs_of(model).await?;
        while let Some(next) = self.owner_queues(&open).into_iter().min_by_key(OwnerQueue::rank) {
            let mut queue = open.iter_mut().filter(|job| job.owner == next.owner);
            let Some(first) = queue.find(|job| job.status == Status::Queued) else { break };
            let claimed = self.claim_job(&next.owner, first.id, lease, now).await;
            // The record, or the account of a job that ends here, may be unreadable.
            let Some(claimed) = self.skip_unreadable(claimed)? else {
                first.status = Status::Canceled;
                continue;
            };
            match claimed {
                ClaimReply::Granted(job) => {
                    let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
                    let last = turns.values().max().copied().unwrap_or(0);
                    turns.insert(next.owner, last + 1);
                    return Ok(Some(job));
                }
                ClaimReply::Unavailable(job) => *first = job,
                ClaimReply::NotFound => first.status = Status::Canceled,
            }
        }
        Ok(None)
    }

    pub(crate) async fn queue_position(&self, owner: &OwnerId, id: JobId) -> Result<Option<u64>> {
        let queued = |job: &JobRecord| job.status == Status::Queued && !job.deleted;
        let Some(job) = self.job_record(owner, id).await?.filter(queued) else { return Ok(None) };
        let open = self.open_jobs_of(job.model()).await?;
        let earlier = open.iter().filter(|job| job.owner == *owner && job.id < id && queued(job)).count();
        Ok(Some(jobs_ahead(&self.owner_queues(&open), owner, earlier as u32)))
    }

    /// True if another job may be queued. This is approximate: concurrent requests may exceed the limit.
    pub(crate) async fn has_room(&self, new: &NewJob, limit: QueueLimit) -> Result<bool> {
        let open = self.open_jobs_of(&new.model).await?;
        let queued = || open.iter().filter(|job| job.status == Status::Queued);
        let own = queued().filter(|job| job.owner == new.owner).count();
        Ok(queued().count() < limit.total as usize && own < limit.per_owner as usize)
    }

    pub(crate) async fn extend_lease(&self, run: &Run, until: OffsetDateTime) -> Result<HeartbeatReply> {
        let extend = |job: &mut JobRecord| {
            let is_current = job.is_run_by(run);
            if let Some(lease) = job.lease.as_mut().filter(|_| is_current) {
                lease.until = until;
            }
            is_current
        };
        Ok(match self.change_job(&run.owner, run.job, extend).await? {
            Some((job, true)) if job.cancel_requested => HeartbeatReply::CancelRequested,
            Some((_, true)) => HeartbeatReply::Continue,
            _ => HeartbeatReply::LeaseLost,
        })
    }

    pub(crate) async fn finish_run(
        &self,
        run: &Run,
        outcome: Outcome,
        cost: Spend,
        now: OffsetDateTime,
    ) -> Result<FinishReply> {
        let end = |job: &mut JobRecord| {
            let is_current = job.is_run_by(run);
            if is_current {
                job.end(outcome.clone(), cost, now);
            }
            is_current
        };
        let Some((job, ended)) = self.change_job(&run.owner, run.job, end).await? else {
            return Ok(FinishReply::Stale);
        };
        if !ended {
            if !job.has_reported(run, &outcome, &cost) {
                return Ok(FinishReply::Stale);
            }
            // The first report may have failed after the job ended and before it was charged.
            self.settle_ended(&job).await?;
        }
        Ok(if job.deleted { FinishReply::Deleted(job) } else { FinishReply::Recorded(job) })
    }

    pub(crate) async fn delete_job(
        &self,
        owner: &OwnerId,
        id: JobId,
        now: OffsetDateTime,
    ) -> Result<Option<JobRecord>> {
        let mut before = None;
        let erase = |job: &mut JobRecord| {
            if job.deleted {
                return false;
            }
            before = Some(job.clone());
            job.cancel(now);
            job.erase();
            true
        };
        self.change_job(owner, id, erase).await?;
        Ok(before)
    }

    pub(crate) async fn list_jobs(
        &self,
        owner: &OwnerId,
        before: Option<JobId>,
        limit: usize,
    ) -> Result<JobPage> {
        let limit = limit.clamp(1, 1_000);
        let prefix = paths::jobs(owner);
        let mut after = before.map(|id| paths::job(owner, id));
        let mut jobs = Vec::new();
        // Deleted jobs are still listed, so a page may need several requests. One job more than the page has
        // shows whether there is a next page.
        while jobs.len() <= limit {
            let wanted = limit + 1 - jobs.len();
            let found = self.store.list(&prefix, after.as_deref(), wanted).await?;
            let is_last = found.len() < wanted;
            after = found.last().cloned();
            let records = self.store.read_all::<JobRecord>(found).await?;
            jobs.extend(records.into_iter().map(|(_, job)| job).filter(|job| !job.deleted));
            if is_last {
                break;
            }
        }
        let has_more = jobs.len() > limit;
        jobs.truncate(limit);
        let next = jobs.last().filter(|_| has_more).map(|job| job.id);
        Ok(JobPage { jobs, next })
    }

    pub(crate) async fn list_finished(
        &self,
        accepted_before: OffsetDateTime,
        limit: usize,
    ) -> Result<Vec<JobRecord>> {
        let (first, limit) = (JobId::first_at(accepted_before), limit.clamp(1, 1_000));
        let mut old = self.store.list(paths::JOBS, None, usize::MAX).await?;
        // Paths sort newest first within an owner.
        old.retain(|path| paths::parse_job(path).is_some_and(|id| id < first));
        old.reverse();
        let mut jobs = Vec::new();
        for chunk in old.chunks(limit) {
            let records = self.store.read_all::<JobRecord>(chunk.to_vec()).await?;
            let ended =
                records.into_iter().map(|(_, job)| job).filter(|job| job.status.is_final() && !job.deleted);
            jobs.extend(ended.take(limit - jobs.len()));
            if jobs.len() == limit {
                break;
            }
        }
        Ok(jobs)
    }

    pub(crate) async fn recover_all(&self, now: OffsetDateTime, scope: RecoveryScope) -> Result<Recovered> {
        let mut recovered = Recovered::default();
        let offset = self.store.clock_offset();
        let markers = self.store.list(paths::OPEN_MARKERS, None, MAX_OPEN_JOBS).await?;
        // This may be the process's first request, whose response corrects the caller's time. Without the correction a
        // process whose clock is ahead would take the jobs of the others.
        let now = now + (self.store.clock_offset() - offset);
        let marked: Vec<_> = markers.iter().filter_map(|path| paths::parse_open_marker(path)).collect();
        let records = marked.iter().map(|(owner, id)| paths::job(owner, *id)).collect();
        let found: HashMap<_, _> = self.store.read_each::<JobRecord>(records).await?.into_iter().collect();
        for (owner, id) in marked {
            match found.get(&paths::job(&owner, id)) {
                Some(Err(_)) => {}
                // The job has ended, and its process died before the charge or before it removed the marker.
                Some(Ok(job)) if job.status.is_final() => {
                    self.skip_unreadable(self.settle_ended(job).await)?;
                }
                Some(Ok(job)) if job.clone().reconcile(now, scope) => {
                    let changed = self.change_job(&owner, id, |job| job.reconcile(now, scope)).await;
                    match self.skip_unreadable(changed)?.flatten() {
                        Some((job, true)) if job.status.is_final() => recovered.ended.push(job),
                        Some((job, true)) => recovered.requeued.push(job),
                        _ => {}
                    }
                }
                None if now - id.created() > ACCEPT_GRACE => self.remove_marker(&owner, id).await?,
                _ => {}
            }
        }
        for path in self.store.list(paths::ACCOUNTS, None, usize::MAX).await? {
            let key = path.strip_prefix(paths::ACCOUNTS).and_then(|key| key.parse().ok());
            if let Some(key) = key {
                self.skip_unreadable(self.audit(&key, now).await)?;
            }
        }
        // Forgets the jobs that are readable again or deleted.
        for (owner, id) in self.store.quarantine.jobs() {
            let path = paths::job(&owner, id);
            if let Some(None) = self.store.skip_unreadable(&path, self.job_record(&owner, id).await)? {
                self.store.quarantine.remove(&paths::name(&path));
            }
        }
        Ok(recovered)
    }

    /// Returns the result; `None` if a record is unreadable, which is remembered.
    pub(crate) fn skip_unreadable<T>(&self, result: Result<T>) -> Result<Option<T>> {
        let path = result.as_ref().err().and_then(Error::record).unwrap_or_default().to_owned();
        self.store.skip_unreadable(&path, result)
    }
}
