//! The jobs of this process: who is to be told of their end, and which nobody waits for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tintype_core::request::GenerateRequest;
use tintype_ledger::id::{JobId, OwnerId};
use tintype_ledger::job::JobRecord;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::live::{Live, State, Stop, instant};
use crate::written::fingerprint;

/// Every job that this process runs or that somebody in it waits for.
pub(crate) struct Table {
    open: Mutex<Open>,
    /// How many of them hold up the end of the process.
    holding: watch::Sender<usize>,
}

#[derive(Default)]
struct Open {
    jobs: HashMap<JobId, Arc<Live>>,
    /// Jobs that everybody hung up on and a retry may join. One that ends well stays until its time is over, so that a
    /// retry that comes a moment later is not paid for twice.
    orphans: Vec<Arc<Live>>,
    draining: bool,
}

impl Table {
    pub(crate) fn new() -> Self {
        Self { open: Mutex::default(), holding: watch::Sender::new(0) }
    }

    /// The entry of a job that has not ended, made if there is none.
    pub(crate) fn enter(&self, job: &JobRecord) -> Arc<Live> {
        let mut open = self.open();
        let live = open.jobs.entry(job.id).or_insert_with(|| Live::new(job, job.deadline.map(instant)));
        let live = live.clone();
        self.publish(&open);
        live
    }

    pub(crate) fn get(&self, id: JobId) -> Option<Arc<Live>> {
        self.open().jobs.get(&id).cloned()
    }

    /// A job like this that everybody hung up on a moment ago; the caller waits for it from now on.
    pub(crate) fn adopt(&self, owner: &OwnerId, model: &str, request: &GenerateRequest) -> Option<Arc<Live>> {
        let now = Instant::now();
        let mut open = self.open();
        if open.orphans.is_empty() {
            return None;
        }
        let wanted = fingerprint(model, request);
        let place = open.orphans.iter().position(|orphan| {
            orphan.owner == *owner && orphan.fingerprint == wanted && orphan.is_good() && orphan.join(now)
        })?;
        Some(open.orphans.swap_remove(place))
    }

    /// Somebody hung up. True if that makes it an orphan, which somebody is to look after at `until`.
    pub(crate) fn leave(&self, live: &Arc<Live>, until: Instant) -> bool {
        let mut open = self.open();
        let until = if open.draining { Instant::now() } else { until };
        let orphaned = live.leave(until) && live.is_good();
        if orphaned {
            open.orphans.push(live.clone());
        }
        orphaned
    }

    /// Forgets orphans whose time is over.
    pub(crate) fn sweep(&self) {
        self.open().orphans.retain(|orphan| orphan.is_orphan() && orphan.stopped().is_none());
    }

    /// Tells everybody that a job has ended like this. False if nobody here knew it, or they have been told.
    pub(crate) fn end(&self, job: JobRecord) -> bool {
        let id = job.id;
        self.close(id, State::Ended(Arc::new(job)))
    }

    /// Ends a job for everybody in this process, whatever becomes of it.
    pub(crate) fn close(&self, id: JobId, end: State) -> bool {
        let mut open = self.open();
        let live = open.jobs.remove(&id);
        if let Some(live) = &live {
            live.advance(end);
            live.free_place();
            if !live.is_good() {
                open.orphans.retain(|orphan| orphan.id != id);
            }
        }
        self.publish(&open);
        live.is_some()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Live>> {
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
        open.draining && !open.jobs.values().any(|live| is_awaited(live))
    }

    /// Waits until nothing is left that the end of the process would break: running jobs, and those that a client waits for.
    pub(crate) async fn drained(&self) {
        // The sender lives in `self`, so this ends by the condition only.
        let _ = self.holding.subscribe().wait_for(|&holding| holding == 0).await;
    }

    /// A job has begun to run, or changed hands: whether it holds the process up may have changed.
    pub(crate) fn touched(&self) {
        let open = self.open();
        self.publish(&open);
    }

    fn publish(&self, open: &Open) {
        if !open.draining {
            return;
        }
        let holds = |live: &&Arc<Live>| !is_queued(live) || is_awaited(live);
        self.holding.send_replace(open.jobs.values().filter(holds).count());
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_queued(live: &Live) -> bool {
    matches!(*live.states().borrow(), State::Queued)
}

/// It waits for a worker, and a client for it.
fn is_awaited(live: &Live) -> bool {
    is_queued(live) && live.is_attended() && !live.is_orphan()
}
