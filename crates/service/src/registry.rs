//! The jobs of this process, their waiters' notification and the jobs without clients.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use time::OffsetDateTime;
use tintype_ledger::id::{Fingerprint, JobId, OwnerId, WorkerId};
use tintype_ledger::job::JobRecord;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::active_job::{ActiveJob, JobState, StopReason};
use crate::error::ServiceError;
use crate::settings::Topology;

/// All jobs that this process runs or that its clients wait for.
pub(crate) struct JobRegistry {
    process: WorkerId,
    topology: Topology,
    entries: Mutex<Entries>,
    /// Number of jobs that shutdown waits for.
    shutdown_blockers: watch::Sender<usize>,
}

#[derive(Default)]
struct Entries {
    jobs: HashMap<JobId, Arc<ActiveJob>>,
    /// Jobs that all clients disconnected from and a retry can rejoin. A succeeded job stays until its time
    /// is over, so that a retry does not pay twice.
    disconnected: Vec<Arc<ActiveJob>>,
    /// Numbers of the ledger reads whose result is not in the registry yet.
    reads: BTreeSet<u64>,
    /// The number of the next read.
    next: u64,
    /// Jobs that ended since the oldest of these reads, each with the next read's number at that time: a
    /// read can return a record from before the end, and the end is not reported again.
    ended: VecDeque<(u64, JobId, JobState)>,
    draining: bool,
    /// The workers have stopped.
    stopped: bool,
}

/// A read of a job from the ledger whose result will be entered. The registry remembers all ends of jobs
/// while such a read is in progress.
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
    pub(crate) fn new(process: WorkerId, topology: Topology) -> Self {
        Self { process, topology, entries: Mutex::default(), shutdown_blockers: watch::Sender::new(0) }
    }

    /// Starts a read. Call it before the ledger call whose job is passed to [`enter`](Self::enter).
    pub(crate) fn begin_read(&self) -> LedgerRead<'_> {
        let mut entries = self.entries();
        let number = entries.next;
        entries.next += 1;
        entries.reads.insert(number);
        LedgerRead { registry: self, number }
    }

    /// The entry of an unfinished job, created if absent. If the job ended after the read began, or the
    /// workers have stopped, the returned entry has a final state. `now` is the ledger's time.
    pub(crate) fn enter(
        &self,
        job: &JobRecord,
        now: OffsetDateTime,
        _read: &LedgerRead<'_>,
    ) -> Arc<ActiveJob> {
        let mut entries = self.entries();
        if let Some(active) = entries.jobs.get(&job.id) {
            return active.clone();
        }
        let active = ActiveJob::new(job, now, &self.process, self.topology);
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

    /// Whether an owner has a job in this process.
    pub(crate) fn has_job_of(&self, owner: &OwnerId) -> bool {
        self.entries().jobs.values().any(|active| active.owner == *owner)
    }

    /// Rejoins an identical job whose clients disconnected a moment ago; the caller becomes its waiter.
    pub(crate) fn rejoin(
        &self,
        owner: &OwnerId,
        request_key: impl FnOnce() -> Fingerprint,
    ) -> Option<Arc<ActiveJob>> {
        let now = Instant::now();
        let mut entries = self.entries();
        if entries.disconnected.is_empty() {
            return None;
        }
        let request_key = request_key();
        let index = entries.disconnected.iter().position(|active| {
            let is_identical =
                active.owner == *owner && active.request_key == request_key && active.deadline.is_none();
            is_identical && active.is_reusable() && active.join(now)
        })?;
        Some(entries.disconnected.swap_remove(index))
    }

    /// Removes a waiter. True if the job now has no clients; the caller then cancels it at `until`.
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

    /// Removes disconnected jobs whose time to rejoin has passed.
    pub(crate) fn remove_expired(&self) {
        let now = Instant::now();
        self.entries().disconnected.retain(|active| active.is_rejoinable_at(now));
    }

    /// Publishes the end of a job to its waiters. False if the job is not in this process or has already
    /// ended.
    pub(crate) fn end(&self, job: JobRecord) -> bool {
        let id = job.id;
        self.close(id, JobState::Ended(Arc::new(job)))
    }

    /// Publishes a final state to all waiters in this process and removes the entry.
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

    /// Starts the shutdown: no new jobs start, and jobs without clients stop.
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

    /// Whether the workers can stop: the service is draining and no client waits for a queued job. Other
    /// queued jobs are left for the next start.
    pub(crate) fn workers_can_stop(&self) -> bool {
        let entries = self.entries();
        entries.draining && !entries.jobs.values().any(|active| is_queued_for_client(active))
    }

    /// Marks a job as running on a remote engine.
    pub(crate) fn set_remote(&self, active: &ActiveJob) {
        let entries = self.entries();
        active.set_remote();
        self.publish_blockers(&entries);
    }

    /// Waits until no job blocks the shutdown: running jobs and jobs that a client waits for.
    pub(crate) async fn drained(&self) {
        // `self` owns the sender, so the wait ends only when the condition holds.
        let _ = self.shutdown_blockers.subscribe().wait_for(|&count| count == 0).await;
    }

    /// The number of jobs that block the shutdown.
    pub(crate) fn shutdown_blockers(&self) -> usize {
        *self.shutdown_blockers.borrow()
    }

    /// Entries created from now on are final, because no worker will run them.
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

/// Whether the job continues without this process and no client of this process waits for it.
fn survives_shutdown(active: &ActiveJob) -> bool {
    active.is_remote() && !active.has_observers() && !matches!(*active.states().borrow(), JobState::Storing)
}

/// Whether the job is queued and a client waits for it.
fn is_queued_for_client(active: &ActiveJob) -> bool {
    is_queued(active) && active.depends_on_waiters() && !active.is_disconnected()
}
