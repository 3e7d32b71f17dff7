//! A job in this process: how far it has come, who waits for it, and why it is to stop.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tintype_core::engine::{Observer, Preview, Progress};
use tintype_core::picture::Encoded;
use tintype_ledger::id::{Fingerprint, JobId, OwnerId, WorkerId};
use tintype_ledger::job::{JobRecord, Run, Status};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;

use crate::error::ServiceError;

/// How far a job has come. It only ever moves forward, and the last two states are final.
#[derive(Clone, Debug)]
pub enum JobState {
    /// It waits for an engine.
    Queued,
    /// An engine works on it.
    Running(Progress),
    /// Its pictures are being encoded and stored.
    Storing,
    /// It has ended, and this is what the ledger has of it.
    Ended(Arc<JobRecord>),
    /// This process has nothing more to say of it: it is shutting down, or the ledger is not to be had.
    DetachedFromProcess(ServiceError),
}

impl JobState {
    /// Nothing comes after this.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Ended(_) | Self::DetachedFromProcess(_))
    }
}

/// Why an engine is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopReason {
    /// Nobody wants it any more.
    Canceled,
    /// Its time is over.
    Deadline,
    /// It has taken twice what was reserved for it.
    Overrun,
    /// The process ends.
    Shutdown,
    /// Another worker was given it.
    LeaseLost,
}

/// A job that this process runs, or that somebody in it waits for.
pub(crate) struct ActiveJob {
    pub(crate) id: JobId,
    pub(crate) owner: OwnerId,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) deadline: Option<Instant>,
    /// Nobody can wait for it in another process.
    single_process: bool,
    /// Of the request that started it, so that what the job logs carries that request's id.
    pub(crate) span: tracing::Span,
    states: watch::Sender<JobState>,
    previews: watch::Sender<Option<Arc<Preview>>>,
    control: Mutex<Control>,
}

/// Whether anybody wants the result.
#[derive(Debug)]
struct Control {
    waiters: usize,
    /// Made whether anybody waits or not.
    detached: bool,
    /// Everybody hung up; until then a retry may still join.
    rejoin_until: Option<Instant>,
    stop: Option<StopReason>,
    /// What a worker of this process is at.
    run: Option<Run>,
    /// The run has taken as long as it may by then.
    overrun_at: Option<Instant>,
    /// Somebody sees to its end already.
    watched: bool,
    /// Others work on it, who go on whatever becomes of this process, and that is written down.
    remote: bool,
    /// Its place among the requests that may be on their way.
    place: Option<OwnedSemaphorePermit>,
    /// Its files, for those who waited for them.
    files: Option<Vec<Encoded>>,
    /// Its time in the queue, for those who trace where time goes.
    waiting: Option<tracing::Span>,
}

impl ActiveJob {
    /// A job as the ledger has it, in this process. One that is attended in another is not this one's to give up.
    pub(crate) fn new(job: &JobRecord, process: &WorkerId, single_process: bool) -> Arc<Self> {
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
            fingerprint: job.fingerprint,
            deadline: job.deadline.map(to_instant),
            single_process,
            span: tracing::Span::current(),
            states: watch::Sender::new(JobState::Queued),
            previews: watch::Sender::new(None),
            control: Mutex::new(control),
        })
    }

    pub(crate) fn states(&self) -> watch::Receiver<JobState> {
        self.states.subscribe()
    }

    pub(crate) fn previews(&self) -> watch::Receiver<Option<Arc<Preview>>> {
        self.previews.subscribe()
    }

    /// Moves on, unless it has ended already.
    pub(crate) fn advance(&self, to: JobState) {
        self.states.send_if_modified(|state| {
            let open = !state.is_final();
            if open {
                *state = to;
            }
            open
        });
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.states.borrow().is_final()
    }

    /// Worth handing to somebody who comes late: on its way, or done well.
    pub(crate) fn is_reusable(&self) -> bool {
        match &*self.states.borrow() {
            JobState::Ended(job) => job.status == Status::Succeeded,
            JobState::DetachedFromProcess(_) => false,
            _ => true,
        }
    }

    /// One more waits for it. False if it is to stop: then it is not to be had.
    pub(crate) fn join(&self, now: Instant) -> bool {
        let mut control = self.control();
        let has_expired = control.stop.is_some() || self.has_expired(&control, now);
        if !has_expired {
            control.waiters += 1;
            control.rejoin_until = None;
        }
        !has_expired
    }

    /// Stops it if nobody here waits for it, and then nobody is let join it any more.
    pub(crate) fn stop_without_waiters(&self) -> bool {
        let mut control = self.control();
        let is_unwanted = control.waiters == 0;
        if is_unwanted {
            control.stop.get_or_insert(StopReason::Canceled);
        }
        is_unwanted
    }

    /// Made from now on whether anybody waits or not.
    pub(crate) fn detach(&self) {
        let mut control = self.control();
        control.detached = true;
        control.rejoin_until = None;
    }

    /// One hung up. True if that was the last one of a job that is not kept: then it is an orphan until the given time.
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

    /// A run begins, which may take until then. If the lease of the one before was lost, this one has another.
    pub(crate) fn begin_run(&self, run: Run, until: Instant) {
        let mut control = self.control();
        control.run = Some(run);
        control.overrun_at = Some(until);
        control.waiting = None;
        if control.stop == Some(StopReason::LeaseLost) {
            control.stop = None;
        }
    }

    /// This run is over.
    pub(crate) fn end_run(&self, run: &Run) {
        self.control().run.take_if(|current| current == run);
    }

    /// The run whose lease this process has to keep alive.
    pub(crate) fn run(&self) -> Option<Run> {
        let control = self.control();
        control.run.clone().filter(|_| control.stop != Some(StopReason::LeaseLost))
    }

    /// A worker of this process has it, and will tell of its end.
    pub(crate) fn is_running_here(&self) -> bool {
        let control = self.control();
        control.overrun_at.is_some() && control.stop != Some(StopReason::LeaseLost)
    }

    /// Others work on it from now on.
    pub(crate) fn set_remote(&self) {
        self.control().remote = true;
    }

    /// Others work on it: it need not be stopped for a process to end.
    pub(crate) fn is_remote(&self) -> bool {
        self.control().remote
    }

    /// Stops it; the first reason counts.
    pub(crate) fn stop(&self, reason: StopReason) {
        self.control().stop.get_or_insert(reason);
    }

    /// True for the first who asks.
    pub(crate) fn start_watching(&self) -> bool {
        !std::mem::replace(&mut self.control().watched, true)
    }

    /// Takes up a place until [`release_place`](Self::free_place).
    pub(crate) fn hold_place(&self, place: Option<OwnedSemaphorePermit>) {
        self.control().place = place;
    }

    /// Somebody else may have its place.
    pub(crate) fn release_place(&self) {
        self.control().place = None;
    }

    /// The pictures are made: whoever waits may have them from here. Nobody who comes later does, so they take up memory no
    /// longer than that.
    pub(crate) fn set_files(&self, files: Vec<Encoded>) {
        let mut control = self.control();
        if control.waiters > 0 {
            control.files = Some(files);
        }
    }

    /// The files, if they were handed over.
    pub(crate) fn files(&self) -> Option<Vec<Encoded>> {
        self.control().files.clone()
    }

    /// Why it is to stop, if it is. Once there is a reason it stays, since [`join`](Self::join) goes by the same clock: so
    /// the engine may act on it without asking twice.
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

    /// Somebody here waits for it, or watches it.
    pub(crate) fn has_observers(&self) -> bool {
        // Who looks after it has a receiver of its states too.
        self.control().waiters > 0 || self.previews.receiver_count() > 0
    }

    /// Nobody waits for it, nor has to.
    pub(crate) fn is_disconnected(&self) -> bool {
        self.control().rejoin_until.is_some()
    }

    /// A retry may still join it.
    pub(crate) fn is_rejoinable_at(&self, now: Instant) -> bool {
        self.control().rejoin_until.is_some_and(|until| now < until)
    }

    /// A client waits for it, and the work is for that client alone.
    pub(crate) fn is_attended(&self) -> bool {
        !self.control().detached
    }

    /// Everybody hung up so long ago that nobody will come back. Where somebody may wait in another process, the ledger is asked
    /// first, by whoever looks after orphans.
    fn has_expired(&self, control: &Control, now: Instant) -> bool {
        self.single_process && control.rejoin_until.is_some_and(|until| now >= until)
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
        self.previews.send_replace(Some(Arc::new(preview)));
    }
}

/// The same time of another clock: the ledger's are of the calendar, ours cannot be set back.
pub(crate) fn to_instant(at: time::OffsetDateTime) -> Instant {
    let left = at - time::OffsetDateTime::now_utc();
    Instant::now() + Duration::try_from(left).unwrap_or(Duration::ZERO)
}
