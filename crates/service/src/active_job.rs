//! A job in this process: its state, its waiters and the reason to stop it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use time::OffsetDateTime;
use tintype_core::engine::{Observer, Preview, Progress};
use tintype_core::picture::Encoded;
use tintype_ledger::id::{Fingerprint, JobId, OwnerId, WorkerId};
use tintype_ledger::job::{JobRecord, Run, Status};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;

use crate::error::ServiceError;
use crate::settings::Topology;
use crate::shared_preview::SharedPreview;

/// The state of a job. States only move forward, and the last two are final.
#[derive(Clone, Debug)]
pub enum JobState {
    /// The job waits for a worker.
    Queued,
    /// The engine runs the job.
    Running(Progress),
    /// The images are being encoded and stored.
    Storing,
    /// The job has ended; the record is the ledger's.
    Ended(Arc<JobRecord>),
    /// This process no longer follows the job, because it is shutting down, the job was deleted, or another
    /// process runs it.
    DetachedFromProcess(ServiceError),
}

impl JobState {
    /// Whether no other state follows.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Ended(_) | Self::DetachedFromProcess(_))
    }
}

/// Why a run is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopReason {
    /// A client canceled the job, or all clients disconnected.
    Canceled,
    /// The deadline of the job has passed.
    Deadline,
    /// The run reached its maximum engine time.
    Overrun,
    /// The process is shutting down.
    Shutdown,
    /// Another worker has the job's lease.
    LeaseLost,
}

/// A job that this process runs or that a client of this process waits for.
pub(crate) struct ActiveJob {
    pub(crate) id: JobId,
    pub(crate) owner: OwnerId,
    /// The name of the model.
    pub(crate) model: String,
    pub(crate) request_key: Fingerprint,
    pub(crate) deadline: Option<Instant>,
    /// With a single process, no other one can have a waiter.
    topology: Topology,
    /// The span of the request that started the job, so that the job's log lines carry its request id.
    pub(crate) span: tracing::Span,
    states: watch::Sender<JobState>,
    previews: watch::Sender<Option<Arc<SharedPreview>>>,
    control: Mutex<Control>,
}

/// The mutable state of an active job.
#[derive(Debug)]
struct Control {
    waiters: usize,
    /// The job continues without waiters.
    detached: bool,
    /// All clients have disconnected; a retry can rejoin until this time.
    rejoin_until: Option<Instant>,
    stop: Option<StopReason>,
    /// The current run by a worker of this process.
    run: Option<Run>,
    /// Time at which the run reaches its maximum engine time.
    overrun_at: Option<Instant>,
    /// A task of this process watches the job.
    watched: bool,
    /// A remote engine runs the job, independently of this process, and the receipt is saved.
    remote: bool,
    /// The job's place in the queue.
    place: Option<OwnedSemaphorePermit>,
    /// The image files, for the clients that waited for them.
    files: Option<Vec<Encoded>>,
    /// The span of the time in the queue.
    waiting: Option<tracing::Span>,
}

impl ActiveJob {
    /// An entry for the ledger's record. A job whose waiter is in another process counts as detached.
    pub(crate) fn new(
        job: &JobRecord,
        now: OffsetDateTime,
        process: &WorkerId,
        topology: Topology,
    ) -> Arc<Self> {
        let detached = job.waiter.as_ref() != Some(process);
        let control = Control {
            waiters: 0,
            detached,
            rejoin_until: None,
            stop: None,
            run: None,
            overrun_at: None,
            watched: false,
            remote: false,
            place: None,
            files: None,
            waiting: (job.status == Status::Queued).then(|| tracing::trace_span!("wait")),
        };
        Arc::new(Self {
            id: job.id,
            owner: job.owner.clone(),
            model: job.model().to_owned(),
            request_key: job.request_key,
            deadline: job.deadline.map(|at| to_instant(at, now)),
            topology,
            span: tracing::Span::current(),
            states: watch::Sender::new(JobState::Queued),
            previews: watch::Sender::new(None),
            control: Mutex::new(control),
        })
    }

    pub(crate) fn states(&self) -> watch::Receiver<JobState> {
        self.states.subscribe()
    }

    pub(crate) fn previews(&self) -> watch::Receiver<Option<Arc<SharedPreview>>> {
        self.previews.subscribe()
    }

    /// Moves to the next state, unless the job has ended.
    pub(crate) fn advance(&self, to: JobState) {
        self.states.send_if_modified(|state| {
            let is_unfinished = !state.is_final();
            if is_unfinished {
                *state = to;
            }
            is_unfinished
        });
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.states.borrow().is_final()
    }

    /// Whether a late client can use the job: it is unfinished or has succeeded.
    pub(crate) fn is_reusable(&self) -> bool {
        match &*self.states.borrow() {
            JobState::Ended(job) => job.status == Status::Succeeded,
            JobState::DetachedFromProcess(_) => false,
            _ => true,
        }
    }

    /// Adds a waiter. False if the job is about to stop.
    pub(crate) fn join(&self, now: Instant) -> bool {
        let mut control = self.control();
        let has_expired = control.stop.is_some() || self.has_expired(&control, now);
        if !has_expired {
            control.waiters += 1;
            control.rejoin_until = None;
        }
        !has_expired
    }

    /// Stops the job if it has no waiters; no client can join it afterwards.
    pub(crate) fn stop_without_waiters(&self) -> bool {
        let mut control = self.control();
        let is_unwanted = control.waiters == 0;
        if is_unwanted {
            control.stop.get_or_insert(StopReason::Canceled);
        }
        is_unwanted
    }

    /// The job continues without waiters from now on.
    pub(crate) fn detach(&self) {
        let mut control = self.control();
        control.detached = true;
        control.rejoin_until = None;
    }

    /// Removes a waiter. True if it was the last one of a job that is not detached; a retry can then rejoin
    /// the job until the given time.
    pub(crate) fn leave(&self, until: Instant) -> bool {
        let mut control = self.control();
        control.waiters = control.waiters.saturating_sub(1);
        if control.waiters == 0 {
            control.files = None;
        }
        let is_disconnected = control.waiters == 0 && !control.detached && control.stop.is_none();
        if is_disconnected {
            control.rejoin_until = Some(until);
        }
        is_disconnected
    }

    /// Starts a run that must end by the given time. A lost lease of an earlier run no longer counts.
    pub(crate) fn begin_run(&self, run: Run, until: Instant) {
        let mut control = self.control();
        control.run = Some(run);
        control.overrun_at = Some(until);
        control.waiting = None;
        if control.stop == Some(StopReason::LeaseLost) {
            control.stop = None;
        }
    }

    /// Ends this run.
    pub(crate) fn end_run(&self, run: &Run) {
        self.control().run.take_if(|current| current == run);
    }

    /// The run whose lease this process must renew.
    pub(crate) fn run(&self) -> Option<Run> {
        let control = self.control();
        control.run.clone().filter(|_| control.stop != Some(StopReason::LeaseLost))
    }

    /// Whether a worker of this process runs the job and will record its end.
    pub(crate) fn is_running_here(&self) -> bool {
        let control = self.control();
        control.overrun_at.is_some() && control.stop != Some(StopReason::LeaseLost)
    }

    /// Marks the job as running on a remote engine.
    pub(crate) fn set_remote(&self) {
        self.control().remote = true;
    }

    /// Whether a remote engine runs the job, so that the job survives this process.
    pub(crate) fn is_remote(&self) -> bool {
        self.control().remote
    }

    /// Requests the stop of the job; the first reason counts.
    pub(crate) fn stop(&self, reason: StopReason) {
        self.control().stop.get_or_insert(reason);
    }

    /// Marks the job as watched. True only for the first call.
    pub(crate) fn start_watching(&self) -> bool {
        !std::mem::replace(&mut self.control().watched, true)
    }

    /// Occupies a place in the queue until [`release_place`](Self::release_place).
    pub(crate) fn hold_place(&self, place: Option<OwnedSemaphorePermit>) {
        self.control().place = place;
    }

    /// Frees the job's place in the queue.
    pub(crate) fn release_place(&self) {
        self.control().place = None;
    }

    /// Keeps the image files for the clients that wait now. Later clients read the store, so the files are
    /// not kept without waiters.
    pub(crate) fn set_files(&self, files: Vec<Encoded>) {
        let mut control = self.control();
        if control.waiters > 0 {
            control.files = Some(files);
        }
    }

    /// The image files, if they were kept.
    pub(crate) fn files(&self) -> Option<Vec<Encoded>> {
        self.control().files.clone()
    }

    /// The reason to stop, if any. A reason is permanent, because [`join`](Self::join) uses the same clock;
    /// the engine can act on the first answer.
    pub(crate) fn stop_reason(&self) -> Option<StopReason> {
        let now = Instant::now();
        let mut control = self.control();
        if control.stop.is_none() {
            let reasons = [
                (self.has_expired(&control, now), StopReason::Canceled),
                (self.deadline.is_some_and(|at| now >= at), StopReason::Deadline),
                (control.overrun_at.is_some_and(|at| now >= at), StopReason::Overrun),
            ];
            control.stop = reasons.into_iter().find(|(holds, _)| *holds).map(|(_, reason)| reason);
        }
        control.stop
    }

    /// Whether a client of this process waits for the job or follows its previews.
    pub(crate) fn has_observers(&self) -> bool {
        // The watching task also has a receiver of the states, so states do not count.
        self.control().waiters > 0 || self.previews.receiver_count() > 0
    }

    /// Whether all clients have disconnected from a job that is not detached.
    pub(crate) fn is_disconnected(&self) -> bool {
        self.control().rejoin_until.is_some()
    }

    /// Whether a retry can still rejoin the job at this time.
    pub(crate) fn is_rejoinable_at(&self, now: Instant) -> bool {
        self.control().rejoin_until.is_some_and(|until| now < until)
    }

    /// Whether the job is only run for its waiters.
    pub(crate) fn depends_on_waiters(&self) -> bool {
        !self.control().detached
    }

    /// Whether the time to rejoin has passed. With several processes another one may have a waiter,
    /// so the janitor asks the ledger first.
    fn has_expired(&self, control: &Control, now: Instant) -> bool {
        self.topology == Topology::SingleProcess && control.rejoin_until.is_some_and(|until| now >= until)
    }

    fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for ActiveJob {
    fn progress(&self, progress: Progress) {
        self.advance(JobState::Running(progress));
    }

    fn is_abandoned(&self) -> bool {
        self.stop_reason().is_some()
    }

    fn wants_preview(&self) -> bool {
        self.previews.receiver_count() > 0
    }

    fn preview(&self, preview: Preview) {
        self.previews.send_replace(Some(Arc::new(SharedPreview::new(preview))));
    }
}

/// Converts the ledger's calendar time to this process's monotonic clock. `now` is the ledger's time.
fn to_instant(at: OffsetDateTime, now: OffsetDateTime) -> Instant {
    let left = at - now;
    Instant::now() + Duration::try_from(left).unwrap_or(Duration::ZERO)
}
