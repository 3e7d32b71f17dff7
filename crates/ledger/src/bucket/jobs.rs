//! What happens to an accepted job in a bucket: the record changes by a conditional write, then its account is
//! charged and its mark goes. A crash in between is made good by whoever looks next.

use std::collections::{BTreeMap, HashMap};
use std::sync::PoisonError;

use futures::future::join;
use time::OffsetDateTime;
use tintype_core::store::Condition;

use super::accounts::GRACE;
use super::cas::Change;
use super::{BucketLedger, paths};
use crate::accept::QueueLimit;
use crate::error::Result;
use crate::fairness::{OwnerQueue, jobs_ahead};
use crate::id::{JobId, OwnerId};
use crate::job::{JobRecord, Lease, Outcome, RecoveryScope, Run, Status};
use crate::ledger::{ClaimReply, FinishReply, HeartbeatReply, JobPage, Recovered};
use crate::money::Spend;

/// Most marks that are looked at: where more jobs are open at a time, there should be a database.
const MOST_OPEN: usize = 10_000;

impl BucketLedger {
    /// A job, also a deleted one.
    pub(super) async fn record(&self, owner: &OwnerId, id: JobId) -> Result<Option<JobRecord>> {
        Ok(self.cells.read(&paths::job(owner, id)).await?.map(|seen| seen.record))
    }

    /// Changes a job if it is there; `change` says whether it did anything. The record afterwards, and whether.
    pub(super) async fn change_job(
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
        let changed = self.cells.change(&paths::job(owner, id), change).await?;
        if let Some((job, _)) = changed.as_ref().filter(|_| ended) {
            self.close(job).await?;
        }
        Ok(changed)
    }

    /// Charges a job that has ended and takes its mark away; any number of times.
    async fn close(&self, job: &JobRecord) -> Result<()> {
        // Whoever recovers looks at every reservation, so the mark is not needed for the charge.
        let path = paths::open(&job.owner, job.id);
        let (settled, removed) = join(self.settle(job), self.cells.remove(&path)).await;
        settled.and(removed)
    }

    /// Takes a mark away that stands for no job, and puts it back if the job was being made just then.
    pub(super) async fn unmark(&self, owner: &OwnerId, id: JobId) -> Result<()> {
        self.cells.remove(&paths::open(owner, id)).await?;
        match self.record(owner, id).await? {
            Some(job) if !job.status.is_final() => self.mark(owner, id).await,
            _ => Ok(()),
        }
    }

    /// Marks a job as one that may be open.
    pub(super) async fn mark(&self, owner: &OwnerId, id: JobId) -> Result<()> {
        self.cells.write(&paths::open(owner, id), &(), Condition::Always).await.map(drop)
    }

    pub(super) async fn try_reconcile(
        &self,
        owner: &OwnerId,
        id: JobId,
        (now, scope): (OffsetDateTime, RecoveryScope),
    ) -> Result<Option<(JobRecord, bool)>> {
        // Most need nothing: find that out without standing in line.
        match self.record(owner, id).await? {
            None => Ok(None),
            Some(job) if !job.clone().reconcile(now, scope) => Ok(Some((job, false))),
            Some(_) => self.change_job(owner, id, |job| job.reconcile(now, scope)).await,
        }
    }

    pub(super) async fn claim_job(
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
            // Also if the answer to this very claim was lost on its way and it is asked again.
            Some((job, _)) if job.status == Status::Running && job.lease.as_ref() == Some(lease) => {
                ClaimReply::Granted(job)
            }
            Some((job, _)) => ClaimReply::Unavailable(job),
            None => ClaimReply::NotFound,
        })
    }

    /// Every job that may be open, by age within its owner.
    pub(super) async fn open_jobs(&self) -> Result<Vec<JobRecord>> {
        let marks = self.cells.list(paths::OPEN, None, MOST_OPEN).await?;
        let marked = marks.iter().filter_map(|path| paths::marked(path));
        let records = marked.map(|(owner, id)| paths::job(&owner, id)).collect();
        Ok(self.cells.read_all(records).await?.into_iter().map(|(_, job)| job).collect())
    }

    /// The owners with jobs that wait. Turns are those that this process gave.
    fn waiting(&self, open: &[JobRecord]) -> Vec<OwnerQueue<OwnerId>> {
        let mut owners = BTreeMap::<&OwnerId, (u32, u32)>::new();
        for job in open.iter().filter(|job| !job.status.is_final()) {
            let (queued, running) = owners.entry(&job.owner).or_default();
            *(if job.status == Status::Queued { queued } else { running }) += 1;
        }
        let turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = owners.into_iter().filter(|(_, (queued, _))| *queued > 0);
        waiting
            .map(|(owner, (queued, running))| {
                let turn = turns.get(owner).copied().unwrap_or(0);
                OwnerQueue { owner: owner.clone(), queued, running, turn }
            })
            .collect()
    }

    pub(super) async fn claim_any(&self, lease: &Lease, now: OffsetDateTime) -> Result<Option<JobRecord>> {
        let mut open = self.open_jobs().await?;
        while let Some(next) = self.waiting(&open).into_iter().min_by_key(OwnerQueue::rank) {
            let mut queue = open.iter_mut().filter(|job| job.owner == next.owner);
            let Some(first) = queue.find(|job| job.status == Status::Queued) else { break };
            match self.claim_job(&next.owner, first.id, lease, now).await? {
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

    pub(super) async fn place(&self, owner: &OwnerId, id: JobId) -> Result<Option<u64>> {
        let queued = |job: &JobRecord| job.status == Status::Queued && !job.deleted;
        if !self.record(owner, id).await?.as_ref().is_some_and(queued) {
            return Ok(None);
        }
        let open = self.open_jobs().await?;
        let earlier = open.iter().filter(|job| job.owner == *owner && job.id < id && queued(job)).count();
        Ok(Some(jobs_ahead(&self.waiting(&open), owner, earlier as u32)))
    }

    /// True if one more job may wait. Not exact: who asks at the same moment gets the same answer.
    pub(super) async fn has_room(&self, owner: &OwnerId, limit: QueueLimit) -> Result<bool> {
        let open = self.open_jobs().await?;
        let queued = || open.iter().filter(|job| job.status == Status::Queued);
        let own = queued().filter(|job| job.owner == *owner).count();
        Ok(queued().count() < limit.total as usize && own < limit.per_owner as usize)
    }

    pub(super) async fn beat(&self, run: &Run, until: OffsetDateTime) -> Result<HeartbeatReply> {
        let extend = |job: &mut JobRecord| {
            let alive = job.is_run_by(run);
            if let Some(lease) = job.lease.as_mut().filter(|_| alive) {
                lease.until = until;
            }
            alive
        };
        Ok(match self.change_job(&run.owner, run.job, extend).await? {
            Some((job, true)) if job.cancel_requested => HeartbeatReply::CancelRequested,
            Some((_, true)) => HeartbeatReply::Continue,
            _ => HeartbeatReply::LeaseLost,
        })
    }

    pub(super) async fn end_run(
        &self,
        run: &Run,
        (outcome, cost): (Outcome, Spend),
        now: OffsetDateTime,
    ) -> Result<FinishReply> {
        let end = |job: &mut JobRecord| {
            let ours = job.is_run_by(run);
            if ours {
                job.end(outcome.clone(), cost, now);
            }
            ours
        };
        let Some((job, ended)) = self.change_job(&run.owner, run.job, end).await? else {
            return Ok(FinishReply::Stale);
        };
        if !ended {
            if !job.has_reported(run, &outcome, &cost) {
                return Ok(FinishReply::Stale);
            }
            // It may have been between its end and its charge that the first report was lost.
            self.close(&job).await?;
        }
        Ok(if job.deleted { FinishReply::Deleted(job) } else { FinishReply::Recorded(job) })
    }

    pub(super) async fn erase(
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

    pub(super) async fn page(&self, owner: &OwnerId, before: Option<JobId>, limit: usize) -> Result<JobPage> {
        let limit = limit.clamp(1, 1_000);
        let folder = paths::jobs(owner);
        let mut after = before.map(|id| paths::job(owner, id));
        let mut jobs = Vec::new();
        // What was deleted is still listed, so that a page may take several looks. One more than the page shows
        // whether there is another.
        while jobs.len() <= limit {
            let wanted = limit + 1 - jobs.len();
            let found = self.cells.list(&folder, after.as_deref(), wanted).await?;
            let last = found.len() < wanted;
            after = found.last().cloned();
            let records = self.cells.read_all::<JobRecord>(found).await?;
            jobs.extend(records.into_iter().map(|(_, job)| job).filter(|job| !job.deleted));
            if last {
                break;
            }
        }
        let more = jobs.len() > limit;
        jobs.truncate(limit);
        let next = jobs.last().filter(|_| more).map(|job| job.id);
        Ok(JobPage { jobs, next })
    }

    pub(super) async fn old(&self, before: OffsetDateTime, limit: usize) -> Result<Vec<JobRecord>> {
        let (first, limit) = (JobId::first_at(before), limit.clamp(1, 1_000));
        let mut old = self.cells.list(paths::JOBS, None, usize::MAX).await?;
        // Listed newest first within each owner.
        old.retain(|path| paths::job_at(path).is_some_and(|id| id < first));
        old.reverse();
        let mut jobs = Vec::new();
        for part in old.chunks(limit) {
            let records = self.cells.read_all::<JobRecord>(part.to_vec()).await?;
            let ended =
                records.into_iter().map(|(_, job)| job).filter(|job| job.status.is_final() && !job.deleted);
            jobs.extend(ended.take(limit - jobs.len()));
            if jobs.len() == limit {
                break;
            }
        }
        Ok(jobs)
    }

    pub(super) async fn recover_all(&self, now: OffsetDateTime, scope: RecoveryScope) -> Result<Recovered> {
        let mut recovered = Recovered::default();
        let marks = self.cells.list(paths::OPEN, None, MOST_OPEN).await?;
        let marked: Vec<_> = marks.iter().filter_map(|mark| paths::marked(mark)).collect();
        let records = marked.iter().map(|(owner, id)| paths::job(owner, *id)).collect();
        let found: HashMap<_, _> = self.cells.read_all::<JobRecord>(records).await?.into_iter().collect();
        for (owner, id) in marked {
            match found.get(&paths::job(&owner, id)) {
                // It ended before, and its process died before it was charged or its mark was gone.
                Some(job) if job.status.is_final() => self.close(job).await?,
                Some(job) if job.clone().reconcile(now, scope) => {
                    match self.change_job(&owner, id, |job| job.reconcile(now, scope)).await? {
                        Some((job, true)) if job.status.is_final() => recovered.ended.push(job),
                        Some((job, true)) => recovered.requeued.push(job),
                        _ => {}
                    }
                }
                None if now - id.created() > GRACE => self.unmark(&owner, id).await?,
                _ => {}
            }
        }
        for book in self.cells.list(paths::BOOKS, None, usize::MAX).await? {
            let name = book.strip_prefix(paths::BOOKS).and_then(|name| name.parse().ok());
            if let Some(key) = name {
                self.audit(&key, now).await?;
            }
        }
        Ok(recovered)
    }
}
