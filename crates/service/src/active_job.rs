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
pub(crate) enum Stop {
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
    attention: Mutex<Attention>,
}

/// Whether anybody wants the result.
#[derive(Debug)]
struct Attention {
    waiters: usize,
    /// Made whether anybody waits or not.
    kept: bool,
    /// Everybody hung up; until then a retry may still join.
    orphaned_until: Option<Instant>,
    stop: Option<Stop>,
    /// What a worker of this process is at.
    run: Option<Run>,
    /// The run has taken as long as it may by then.
    overrun_at: Option<Instant>,
    /// Somebody sees to its end already.
    looked_after: bool,
    /// Others work on it, who go on whatever becomes of this process, and that is written down.
    elsewhere: bool,
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
        let kept = job.waiter.as_ref() != Some(process);
        let attention = Attention {
            waiters: 0,
            kept,
            orphaned_until: None,
            stop: None,
            run: None,
            overrun_at: None,
            looked_after: false,
            elsewhere: false,
            place: None,
            files: None,
            waiting: (job.status == Status::Queued).then(|| tracing::trace_span!("wait")),
        };
        Arc::new(Self {
            id: job.id,
            owner: job.owner.clone(),
            fingerprint: job.fingerprint,
            deadline: job.deadline.map(instant),
            single_process,
            span: tracing::Span::current(),
            states: watch::Sender::new(JobState::Queued),
            previews: watch::Sender::new(None),
            attention: Mutex::new(attention),
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
    pub(crate) fn is_good(&self) -> bool {
        match &*self.states.borrow() {
            JobState::Ended(job) => job.status == Status::Succeeded,
            JobState::DetachedFromProcess(_) => false,
            _ => true,
        }
    }

    /// One more waits for it. False if it is to stop: then it is not to be had.
    pub(crate) fn join(&self, now: Instant) -> bool {
        let mut attention = self.attention();
        let gone = attention.stop.is_some() || self.is_given_up(&attention, now);
        if !gone {
            attention.waiters += 1;
            attention.orphaned_until = None;
        }
        !gone
    }

    /// Stops it if nobody here waits for it, and then nobody is let join it any more.
    pub(crate) fn stop_unless_wanted(&self) -> bool {
        let mut attention = self.attention();
        let unwanted = attention.waiters == 0;
        if unwanted {
            attention.stop.get_or_insert(Stop::Canceled);
        }
        unwanted
    }

    /// Made from now on whether anybody waits or not.
    pub(crate) fn detach(&self) {
        let mut attention = self.attention();
        attention.kept = true;
        attention.orphaned_until = None;
    }

    /// One hung up. True if that was the last one of a job that is not kept: then it is an orphan until the given time.
    pub(crate) fn leave(&self, until: Instant) -> bool {
        let mut attention = self.attention();
        attention.waiters = attention.waiters.saturating_sub(1);
        if attention.waiters == 0 {
            attention.files = None;
        }
        let orphaned = attention.waiters == 0 && !attention.kept && attention.stop.is_none();
        if orphaned {
            attention.orphaned_until = Some(until);
        }
        orphaned
    }

    /// A run begins, which may take until then. If the lease of the one before was lost, this one has another.
    pub(crate) fn begin(&self, run: Run, until: Instant) {
        let mut attention = self.attention();
        attention.run = Some(run);
        attention.overrun_at = Some(until);
        attention.waiting = None;
        if attention.stop == Some(Stop::LeaseLost) {
            attention.stop = None;
        }
    }

    /// This run is over.
    pub(crate) fn rest(&self, run: &Run) {
        self.attention().run.take_if(|current| current == run);
    }

    /// The run whose lease this process has to keep alive.
    pub(crate) fn run(&self) -> Option<Run> {
        let attention = self.attention();
        attention.run.clone().filter(|_| attention.stop != Some(Stop::LeaseLost))
    }

    /// A worker of this process has it, and will tell of its end.
    pub(crate) fn is_run_here(&self) -> bool {
        let attention = self.attention();
        attention.overrun_at.is_some() && attention.stop != Some(Stop::LeaseLost)
    }

    /// Others work on it from now on.
    pub(crate) fn set_remote(&self) {
        self.attention().elsewhere = true;
    }

    /// Others work on it: it need not be stopped for a process to end.
    pub(crate) fn is_remote(&self) -> bool {
        self.attention().elsewhere
    }

    /// Stops it; the first reason counts.
    pub(crate) fn stop(&self, why: Stop) {
        self.attention().stop.get_or_insert(why);
    }

    /// True for the first who asks.
    pub(crate) fn is_first_look(&self) -> bool {
        !std::mem::replace(&mut self.attention().looked_after, true)
    }

    /// Takes up a place until [`free_place`](Self::free_place).
    pub(crate) fn hold(&self, place: Option<OwnedSemaphorePermit>) {
        self.attention().place = place;
    }

    /// Somebody else may have its place.
    pub(crate) fn free_place(&self) {
        self.attention().place = None;
    }

    /// The pictures are made: whoever waits may have them from here. Nobody who comes later does, so they take up memory no
    /// longer than that.
    pub(crate) fn hand_over(&self, files: Vec<Encoded>) {
        let mut attention = self.attention();
        if attention.waiters > 0 {
            attention.files = Some(files);
        }
    }

    /// The files, if they were handed over.
    pub(crate) fn files(&self) -> Option<Vec<Encoded>> {
        self.attention().files.clone()
    }

    /// Why it is to stop, if it is. Once there is a reason it stays, since [`join`](Self::join) goes by the same clock: so
    /// the engine may act on it without asking twice.
    pub(crate) fn stopped(&self) -> Option<Stop> {
        let now = Instant::now();
        let mut attention = self.attention();
        if attention.stop.is_none() {
            let reasons = [
                (self.is_given_up(&attention, now), Stop::Canceled),
                (self.deadline.is_some_and(|at| now >= at), Stop::Deadline),
                (attention.overrun_at.is_some_and(|at| now >= at), Stop::Overrun),
            ];
            attention.stop = reasons.into_iter().find(|(holds, _)| *holds).map(|(_, why)| why);
        }
        attention.stop
    }

    /// Somebody here waits for it, or watches it.
    pub(crate) fn is_waited_for(&self) -> bool {
        // Who looks after it has a receiver of its states too.
        self.attention().waiters > 0 || self.previews.receiver_count() > 0
    }

    /// Nobody waits for it, nor has to.
    pub(crate) fn is_orphan(&self) -> bool {
        self.attention().orphaned_until.is_some()
    }

    /// A retry may still join it.
    pub(crate) fn is_orphan_at(&self, now: Instant) -> bool {
        self.attention().orphaned_until.is_some_and(|until| now < until)
    }

    /// A client waits for it, and the work is for that client alone.
    pub(crate) fn is_attended(&self) -> bool {
        !self.attention().kept
    }

    /// Everybody hung up so long ago that nobody will come back. Where somebody may wait in another process, the ledger is asked
    /// first, by whoever looks after orphans.
    fn is_given_up(&self, attention: &Attention, now: Instant) -> bool {
        self.single_process && attention.orphaned_until.is_some_and(|until| now >= until)
    }

    fn attention(&self) -> MutexGuard<'_, Attention> {
        self.attention.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for ActiveJob {
    fn progress(&self, progress: Progress) {
        self.advance(JobState::Running(progress));
    }

    fn is_abandoned(&self) -> bool {
        self.stopped().is_some()
    }

    fn wants_preview(&self) -> bool {
        self.previews.receiver_count() > 0
    }

    fn preview(&self, preview: Preview) {
        self.previews.send_replace(Some(Arc::new(preview)));
    }
}

/// The same time of another clock: the ledger's are of the calendar, ours cannot be set back.
pub(crate) fn instant(at: time::OffsetDateTime) -> Instant {
    let left = at - time::OffsetDateTime::now_utc();
    Instant::now() + Duration::try_from(left).unwrap_or(Duration::ZERO)
}
