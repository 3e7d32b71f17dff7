//! The jobs of this process: who is to be told of their end, and which nobody waits for.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tintype_ledger::id::{Fingerprint, JobId, OwnerId, WorkerId};
use tintype_ledger::job::JobRecord;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::active_job::{ActiveJob, JobState, StopReason};
use crate::error::ServiceError;

/// Every job that this process runs or that somebody in it waits for.
pub(crate) struct JobRegistry {
    process: WorkerId,
    single_process: bool,
    entries: Mutex<Entries>,
    /// How many of them hold up the end of the process.
    shutdown_blockers: watch::Sender<usize>,
}

#[derive(Default)]
struct Entries {
    jobs: HashMap<JobId, Arc<ActiveJob>>,
    /// Jobs that everybody hung up on and a retry may join. One that ends well stays until its time is over, so that a
    /// retry that comes a moment later is not paid for twice.
    disconnected: Vec<Arc<ActiveJob>>,
    /// Numbers of those who have asked the ledger something and not yet entered what it answered.
    reads: BTreeSet<u64>,
    /// The number of the next.
    next: u64,
    /// What has ended since the oldest of those asked, and the number that was next then: the answer may be of a time before
    /// the end, and nobody says so again.
    ended: VecDeque<(u64, JobId, JobState)>,
    draining: bool,
    /// Nothing runs here any more.
    stopped: bool,
}

/// Somebody asks the ledger for a job, to enter it: as long as there is this, no end of a job is forgotten.
pub(crate) struct LedgerRead<'a> {
    registry: &'a JobRegistry,
    number: u64,
}

impl Drop for LedgerRead<'_> {
    fn drop(&mut self) {
        let mut entries = self.registry.entries();
        entries.reads.remove(&self.number);
        let oldest = entries.reads.first().copied().unwrap_or(u64::MAX);
        while entries.ended.front().is_some_and(|(number, ..)| *number <= oldest) {
            entries.ended.pop_front();
        }
    }
}

impl JobRegistry {
    pub(crate) fn new(process: WorkerId, single_process: bool) -> Self {
        Self { process, single_process, entries: Mutex::default(), shutdown_blockers: watch::Sender::new(0) }
    }

    /// To be called before the ledger is asked for a job that is to be entered.
    pub(crate) fn begin_read(&self) -> LedgerRead<'_> {
        let mut entries = self.entries();
        let number = entries.next;
        entries.next += 1;
        entries.reads.insert(number);
        LedgerRead { registry: self, number }
    }

    /// The entry of a job that has not ended, made if there is none. One that has ended since the ledger was asked, or that nobody
    /// here will tell of any more, gets an entry that says so.
    pub(crate) fn enter(&self, job: &JobRecord, _read: &LedgerRead<'_>) -> Arc<ActiveJob> {
        let mut entries = self.entries();
        if let Some(active) = entries.jobs.get(&job.id) {
            return active.clone();
        }
        let active = ActiveJob::new(job, &self.process, self.single_process);
        let ended =
            entries.ended.iter().rev().find(|(_, id, _)| *id == job.id).map(|(_, _, end)| end.clone());
        let end = match ended {
            None if entries.stopped => Some(JobState::DetachedFromProcess(ServiceError::Draining)),
            ended => ended,
        };
        match end {
            Some(end) => active.advance(end),
            None => {
                entries.jobs.insert(job.id, active.clone());
                self.publish_blockers(&entries);
            }
        }
        active
    }

    pub(crate) fn get(&self, id: JobId) -> Option<Arc<ActiveJob>> {
        self.entries().jobs.get(&id).cloned()
    }

    /// Whether an owner has a job here.
    pub(crate) fn has_any_of(&self, owner: &OwnerId) -> bool {
        self.entries().jobs.values().any(|active| active.owner == *owner)
    }

    /// A job like this that everybody hung up on a moment ago; the caller waits for it from now on.
    pub(crate) fn rejoin(
        &self,
        owner: &OwnerId,
        wanted: impl FnOnce() -> Fingerprint,
    ) -> Option<Arc<ActiveJob>> {
        let now = Instant::now();
        let mut entries = self.entries();
        if entries.disconnected.is_empty() {
            return None;
        }
        let wanted = wanted();
        let index = entries.disconnected.iter().position(|active| {
            let same = active.owner == *owner && active.fingerprint == wanted && active.deadline.is_none();
            same && active.is_reusable() && active.join(now)
        })?;
        Some(entries.disconnected.swap_remove(index))
    }

    /// Somebody hung up. True if that makes it an orphan, which somebody is to look after at `until`.
    pub(crate) fn leave(&self, active: &Arc<ActiveJob>, until: Instant) -> bool {
        let mut entries = self.entries();
        let until = if entries.draining { Instant::now() } else { until };
        let is_disconnected = active.leave(until) && active.is_reusable();
        if is_disconnected {
            entries.disconnected.push(active.clone());
        }
        self.publish_blockers(&entries);
        is_disconnected
    }

    /// Forgets orphans whose time is over.
    pub(crate) fn remove_expired(&self) {
        let now = Instant::now();
        self.entries().disconnected.retain(|active| active.is_rejoinable_at(now));
    }

    /// Tells everybody that a job has ended like this. False if nobody here knew it, or they have been told.
    pub(crate) fn end(&self, job: JobRecord) -> bool {
        let id = job.id;
        self.close(id, JobState::Ended(Arc::new(job)))
    }

    /// Ends a job for everybody in this process, whatever becomes of it.
    pub(crate) fn close(&self, id: JobId, end: JobState) -> bool {
        let mut entries = self.entries();
        let active = entries.jobs.remove(&id);
        if let Some(active) = &active {
            active.advance(end.clone());
            active.release_place();
            if !active.is_reusable() {
                entries.disconnected.retain(|active| active.id != id);
            }
        }
        if !entries.reads.is_empty() {
            let number = entries.next;
            entries.ended.push_back((number, id, end));
        }
        self.publish_blockers(&entries);
        active.is_some()
    }

    pub(crate) fn all(&self) -> Vec<Arc<ActiveJob>> {
        self.entries().jobs.values().cloned().collect()
    }

    /// No job is begun any more, and what nobody waits for stops.
    pub(crate) fn drain(&self) {
        let mut entries = self.entries();
        entries.draining = true;
        for active in entries.disconnected.drain(..) {
            active.stop(StopReason::Canceled);
        }
        self.publish_blockers(&entries);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.entries().draining
    }

    /// Nothing new is taken, and no client waits for a job that waits: what else waits is for the next start.
    pub(crate) fn workers_can_stop(&self) -> bool {
        let entries = self.entries();
        entries.draining && !entries.jobs.values().any(|active| is_queued_for_client(active))
    }

    /// Others work on a job from now on.
    pub(crate) fn set_remote(&self, active: &ActiveJob) {
        let entries = self.entries();
        active.set_remote();
        self.publish_blockers(&entries);
    }

    /// Waits until nothing is left that the end of the process would break: running jobs, and those that a client waits for.
    pub(crate) async fn drained(&self) {
        // The sender lives in `self`, so this ends by the condition only.
        let _ =
            self.shutdown_blockers.subscribe().wait_for(|&shutdown_blockers| shutdown_blockers == 0).await;
    }

    /// Whoever enters a job from now on is told that nobody here will make it.
    pub(crate) fn mark_stopped(&self) {
        self.entries().stopped = true;
    }

    fn publish_blockers(&self, entries: &Entries) {
        if !entries.draining {
            return;
        }
        let blocks = |active: &&Arc<ActiveJob>| {
            (!is_queued(active) && !survives_shutdown(active)) || is_queued_for_client(active)
        };
        self.shutdown_blockers.send_replace(entries.jobs.values().filter(blocks).count());
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_queued(active: &ActiveJob) -> bool {
    matches!(*active.states().borrow(), JobState::Queued)
}

/// It is made whether this process ends or not, and nobody in it waits for it.
fn survives_shutdown(active: &ActiveJob) -> bool {
    active.is_remote() && !active.has_observers() && !matches!(*active.states().borrow(), JobState::Storing)
}

/// It waits for a worker, and a client for it.
fn is_queued_for_client(active: &ActiveJob) -> bool {
    is_queued(active) && active.is_attended() && !active.is_disconnected()
}
