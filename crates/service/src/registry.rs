//! The jobs of this process: who is to be told of their end, and which nobody waits for.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tintype_ledger::id::{Fingerprint, JobId, OwnerId, WorkerId};
use tintype_ledger::job::JobRecord;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::active_job::{ActiveJob, JobState, Stop};
use crate::error::ServiceError;

/// Every job that this process runs or that somebody in it waits for.
pub(crate) struct JobRegistry {
    process: WorkerId,
    single_process: bool,
    open: Mutex<Open>,
    /// How many of them hold up the end of the process.
    holding: watch::Sender<usize>,
}

#[derive(Default)]
struct Open {
    jobs: HashMap<JobId, Arc<ActiveJob>>,
    /// Jobs that everybody hung up on and a retry may join. One that ends well stays until its time is over, so that a
    /// retry that comes a moment later is not paid for twice.
    orphans: Vec<Arc<ActiveJob>>,
    /// Numbers of those who have asked the ledger something and not yet entered what it answered.
    asking: BTreeSet<u64>,
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
pub(crate) struct Asking<'a> {
    registry: &'a JobRegistry,
    number: u64,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let mut open = self.registry.open();
        open.asking.remove(&self.number);
        let oldest = open.asking.first().copied().unwrap_or(u64::MAX);
        while open.ended.front().is_some_and(|(number, ..)| *number <= oldest) {
            open.ended.pop_front();
        }
    }
}

impl JobRegistry {
    pub(crate) fn new(process: WorkerId, single_process: bool) -> Self {
        Self { process, single_process, open: Mutex::default(), holding: watch::Sender::new(0) }
    }

    /// To be called before the ledger is asked for a job that is to be entered.
    pub(crate) fn asking(&self) -> Asking<'_> {
        let mut open = self.open();
        let number = open.next;
        open.next += 1;
        open.asking.insert(number);
        Asking { registry: self, number }
    }

    /// The entry of a job that has not ended, made if there is none. One that has ended since the ledger was asked, or that nobody
    /// here will tell of any more, gets an entry that says so.
    pub(crate) fn enter(&self, job: &JobRecord, _asked: &Asking<'_>) -> Arc<ActiveJob> {
        let mut open = self.open();
        if let Some(active) = open.jobs.get(&job.id) {
            return active.clone();
        }
        let active = ActiveJob::new(job, &self.process, self.single_process);
        let ended = open.ended.iter().rev().find(|(_, id, _)| *id == job.id).map(|(_, _, end)| end.clone());
        let end = match ended {
            None if open.stopped => Some(JobState::DetachedFromProcess(ServiceError::Draining)),
            ended => ended,
        };
        match end {
            Some(end) => active.advance(end),
            None => {
                open.jobs.insert(job.id, active.clone());
                self.publish(&open);
            }
        }
        active
    }

    pub(crate) fn get(&self, id: JobId) -> Option<Arc<ActiveJob>> {
        self.open().jobs.get(&id).cloned()
    }

    /// Whether an owner has a job here.
    pub(crate) fn has_any_of(&self, owner: &OwnerId) -> bool {
        self.open().jobs.values().any(|active| active.owner == *owner)
    }

    /// A job like this that everybody hung up on a moment ago; the caller waits for it from now on.
    pub(crate) fn adopt(
        &self,
        owner: &OwnerId,
        wanted: impl FnOnce() -> Fingerprint,
    ) -> Option<Arc<ActiveJob>> {
        let now = Instant::now();
        let mut open = self.open();
        if open.orphans.is_empty() {
            return None;
        }
        let wanted = wanted();
        let place = open.orphans.iter().position(|orphan| {
            let same = orphan.owner == *owner && orphan.fingerprint == wanted && orphan.deadline.is_none();
            same && orphan.is_good() && orphan.join(now)
        })?;
        Some(open.orphans.swap_remove(place))
    }

    /// Somebody hung up. True if that makes it an orphan, which somebody is to look after at `until`.
    pub(crate) fn leave(&self, active: &Arc<ActiveJob>, until: Instant) -> bool {
        let mut open = self.open();
        let until = if open.draining { Instant::now() } else { until };
        let orphaned = active.leave(until) && active.is_good();
        if orphaned {
            open.orphans.push(active.clone());
        }
        self.publish(&open);
        orphaned
    }

    /// Forgets orphans whose time is over.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        self.open().orphans.retain(|orphan| orphan.is_orphan_at(now));
    }

    /// Tells everybody that a job has ended like this. False if nobody here knew it, or they have been told.
    pub(crate) fn end(&self, job: JobRecord) -> bool {
        let id = job.id;
        self.close(id, JobState::Ended(Arc::new(job)))
    }

    /// Ends a job for everybody in this process, whatever becomes of it.
    pub(crate) fn close(&self, id: JobId, end: JobState) -> bool {
        let mut open = self.open();
        let active = open.jobs.remove(&id);
        if let Some(active) = &active {
            active.advance(end.clone());
            active.free_place();
            if !active.is_good() {
                open.orphans.retain(|orphan| orphan.id != id);
            }
        }
        if !open.asking.is_empty() {
            let number = open.next;
            open.ended.push_back((number, id, end));
        }
        self.publish(&open);
        active.is_some()
    }

    pub(crate) fn all(&self) -> Vec<Arc<ActiveJob>> {
        self.open().jobs.values().cloned().collect()
    }

    /// No job is begun any more, and what nobody waits for stops.
    pub(crate) fn drain(&self) {
        let mut open = self.open();
        open.draining = true;
        for orphan in open.orphans.drain(..) {
            orphan.stop(Stop::Canceled);
        }
        self.publish(&open);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.open().draining
    }

    /// Nothing new is taken, and no client waits for a job that waits: what else waits is for the next start.
    pub(crate) fn is_done(&self) -> bool {
        let open = self.open();
        open.draining && !open.jobs.values().any(|active| is_awaited(active))
    }

    /// Others work on a job from now on.
    pub(crate) fn set_remote(&self, active: &ActiveJob) {
        let open = self.open();
        active.set_remote();
        self.publish(&open);
    }

    /// Waits until nothing is left that the end of the process would break: running jobs, and those that a client waits for.
    pub(crate) async fn drained(&self) {
        // The sender lives in `self`, so this ends by the condition only.
        let _ = self.holding.subscribe().wait_for(|&holding| holding == 0).await;
    }

    /// Whoever enters a job from now on is told that nobody here will make it.
    pub(crate) fn stop(&self) {
        self.open().stopped = true;
    }

    fn publish(&self, open: &Open) {
        if !open.draining {
            return;
        }
        let holds = |active: &&Arc<ActiveJob>| (!is_queued(active) && !goes_on(active)) || is_awaited(active);
        self.holding.send_replace(open.jobs.values().filter(holds).count());
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_queued(active: &ActiveJob) -> bool {
    matches!(*active.states().borrow(), JobState::Queued)
}

/// It is made whether this process ends or not, and nobody in it waits for it.
fn goes_on(active: &ActiveJob) -> bool {
    active.is_remote() && !active.is_waited_for() && !matches!(*active.states().borrow(), JobState::Storing)
}

/// It waits for a worker, and a client for it.
fn is_awaited(active: &ActiveJob) -> bool {
    is_queued(active) && active.is_attended() && !active.is_orphan()
}
