//! The one bounded queue, and the account of every job between its acceptance and its end.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use uuid::Uuid;

use crate::error::ServiceError;
use crate::identity::Identity;
use crate::job::{Job, State};

/// Assumed duration of a job until one has been measured.
const UNMEASURED: Duration = Duration::from_secs(5);

/// Jobs that wait, that run, and that nobody waits for.
pub(crate) struct Queue {
    /// How many may wait.
    capacity: usize,
    /// How long an orphan lives.
    abandon_after: Duration,
    table: Mutex<Table>,
    /// One permit per arrival. A job that is swept from the queue leaves its permit behind, so a worker may find
    /// nothing there and must come back.
    arrivals: Semaphore,
    /// How many jobs have not ended.
    live: watch::Sender<usize>,
}

#[derive(Default)]
struct Table {
    slots: usize,
    waiting: VecDeque<Arc<Job>>,
    /// How many an engine works on.
    in_engine: usize,
    /// Every job that has not ended.
    live: HashMap<Uuid, Arc<Job>>,
    /// Jobs that everybody hung up on and a retry may join. One that ends as it should stays until its time is over,
    /// so that a retry that comes a moment later is not paid for twice.
    orphans: Vec<Arc<Job>>,
    /// How long a job keeps a slot: an exponential average, in seconds.
    seconds_per_job: Option<f64>,
    draining: bool,
}

impl Queue {
    pub(crate) fn new(capacity: usize, abandon_after: Duration) -> Self {
        Self {
            capacity,
            abandon_after,
            table: Mutex::default(),
            arrivals: Semaphore::new(0),
            live: watch::Sender::new(0),
        }
    }

    /// So many jobs can be worked on at a time.
    pub(crate) fn set_slots(&self, slots: usize) {
        self.table().slots = slots;
    }

    /// Takes a job in. If it is a retry of one that everybody hung up on, it joins that one, which is returned.
    ///
    /// # Errors
    /// [`ServiceError::QueueFull`], [`ServiceError::Draining`].
    pub(crate) fn admit(&self, job: Arc<Job>) -> Result<Arc<Job>, ServiceError> {
        let now = Instant::now();
        let mut table = self.table();
        if table.draining {
            return Err(ServiceError::Draining);
        }
        self.sweep(&mut table, now);
        if let Some(orphan) = table.adopt(&job.identity, now) {
            return Ok(orphan);
        }
        if table.waiting.len() + table.in_engine >= self.capacity + table.slots {
            return Err(ServiceError::QueueFull { retry_after: table.next_place() });
        }
        table.waiting.push_back(job.clone());
        table.live.insert(job.id, job.clone());
        self.publish(&table);
        self.arrivals.add_permits(1);
        Ok(job)
    }

    /// The next job to work on; `None` once there will be no more.
    pub(crate) async fn next(&self) -> Option<Arc<Job>> {
        loop {
            self.arrivals.acquire().await.ok()?.forget();
            let mut table = self.table();
            self.sweep(&mut table, Instant::now());
            if let Some(job) = table.waiting.pop_front() {
                table.in_engine += 1;
                return Some(job);
            }
        }
    }

    /// The engine is done with a job; `took` is how long, if that says something about other jobs.
    pub(crate) fn left_engine(&self, took: Option<Duration>) {
        let mut table = self.table();
        table.in_engine -= 1;
        if let Some(took) = took {
            let took = took.as_secs_f64();
            let average = table.seconds_per_job.map_or(took, |average| 0.8 * average + 0.2 * took);
            table.seconds_per_job = Some(average);
        }
    }

    /// A job has ended like this. Without effect if it had ended before.
    pub(crate) fn end(&self, job: &Arc<Job>, end: State) {
        let mut table = self.table();
        self.close(&mut table, job, end);
    }

    /// Somebody hung up.
    pub(crate) fn leave(&self, job: &Arc<Job>) {
        let now = Instant::now();
        let mut table = self.table();
        let patience = if table.draining { Duration::ZERO } else { self.abandon_after };
        if job.leave(now + patience) && !job.has_failed() {
            table.orphans.push(job.clone());
        }
        self.sweep(&mut table, now);
    }

    /// Takes nothing new from now on, and stops what nobody waits for.
    pub(crate) fn refuse(&self) {
        let mut table = self.table();
        table.draining = true;
        table.orphans.iter().for_each(|orphan| orphan.stop());
        self.sweep(&mut table, Instant::now());
    }

    /// Waits until every job has ended.
    pub(crate) async fn emptied(&self) {
        // The sender lives in `self`, so this ends by the condition only.
        let _ = self.live.subscribe().wait_for(|&live| live == 0).await;
    }

    /// Ends every job there still is, and the workers.
    pub(crate) fn stop(&self) {
        let mut table = self.table();
        table.draining = true;
        table.waiting.clear();
        table.orphans.clear();
        let rest: Vec<_> = table.live.values().cloned().collect();
        for job in rest {
            job.stop();
            self.close(&mut table, &job, State::Failed(ServiceError::Abandoned));
        }
        self.arrivals.close();
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.table().draining
    }

    /// Drops the orphans whose time is over, from the queue too.
    fn sweep(&self, table: &mut Table, now: Instant) {
        let (gone, kept) =
            table.orphans.drain(..).partition::<Vec<_>, _>(|orphan| orphan.is_abandoned_at(now));
        table.orphans = kept;
        for job in gone {
            if let Some(place) = table.waiting.iter().position(|waiting| waiting.id == job.id) {
                table.waiting.remove(place);
                self.close(table, &job, State::Failed(ServiceError::Abandoned));
            }
        }
    }

    fn close(&self, table: &mut Table, job: &Arc<Job>, end: State) {
        if matches!(end, State::Failed(_)) {
            table.orphans.retain(|orphan| orphan.id != job.id);
        }
        job.advance(end);
        table.live.remove(&job.id);
        self.publish(table);
    }

    fn publish(&self, table: &Table) {
        self.live.send_replace(table.live.len());
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn adopt(&mut self, identity: &Identity, now: Instant) -> Option<Arc<Job>> {
        let place =
            self.orphans.iter().position(|orphan| orphan.identity == *identity && orphan.join(now))?;
        Some(self.orphans.swap_remove(place))
    }

    /// When the next place in the queue is likely to be free: when the next of the running jobs is done.
    fn next_place(&self) -> Duration {
        let per_job = self.seconds_per_job.unwrap_or(UNMEASURED.as_secs_f64());
        Duration::from_secs_f64((per_job / self.slots.max(1) as f64).ceil().clamp(1.0, 3600.0))
    }
}
