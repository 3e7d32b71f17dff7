//! One piece of accepted work, and who waits for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tintype_core::engine::{Observer, Progress, Warning};
use tintype_core::picture::Format;
use tintype_core::request::GenerateRequest;
use tintype_core::store::Key;
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

use crate::error::ServiceError;
use crate::identity::Identity;

/// How far a job has come. It only ever moves forward, and the last two states are final.
#[derive(Clone, Debug)]
pub enum State {
    /// It waits for an engine.
    Queued,
    /// An engine works on it.
    Running(Progress),
    /// Its pictures are being encoded and stored.
    Storing,
    /// Its pictures are stored.
    Succeeded(Arc<Made>),
    /// It ended without pictures.
    Failed(ServiceError),
}

impl State {
    /// Nothing comes after this.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Succeeded(_) | Self::Failed(_))
    }
}

/// What came of a job.
#[derive(Clone, Debug, PartialEq)]
pub struct Made {
    /// As many as were asked for, in the order of their seeds; never empty.
    pub images: Vec<StoredImage>,
    /// Seconds that the engine was busy with them.
    pub engine_seconds: f64,
    /// What the client should know.
    pub warnings: Vec<Warning>,
}

/// A picture in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredImage {
    /// Where it is.
    pub key: Key,
    /// Seed of its noise.
    pub seed: u64,
    /// Pixels per row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Its file format.
    pub format: Format,
}

/// One piece of accepted work.
pub(crate) struct Job {
    pub(crate) id: Uuid,
    pub(crate) request: Arc<GenerateRequest>,
    pub(crate) identity: Identity,
    /// Of the request that started it, so that what the job logs carries that request's id.
    pub(crate) span: tracing::Span,
    state: watch::Sender<State>,
    attention: Mutex<Attention>,
}

/// Whether anybody wants the result.
#[derive(Clone, Copy, Debug)]
enum Attention {
    /// So many wait, at least one.
    Wanted(usize),
    /// Everybody hung up; until then a retry may still join.
    Orphaned { until: Instant },
    /// The service shuts down.
    Stopped,
}

impl Job {
    /// A job that one client waits for.
    pub(crate) fn new(request: GenerateRequest) -> Arc<Self> {
        Arc::new(Self {
            id: Uuid::now_v7(),
            identity: Identity::of(&request),
            request: Arc::new(request),
            span: tracing::Span::current(),
            state: watch::Sender::new(State::Queued),
            attention: Mutex::new(Attention::Wanted(1)),
        })
    }

    pub(crate) fn states(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// Moves on, unless it has ended already. True if this was what ended it.
    pub(crate) fn advance(&self, to: State) -> bool {
        let ends = to.is_final();
        let moved = self.state.send_if_modified(|state| {
            let open = !state.is_final();
            if open {
                *state = to;
            }
            open
        });
        moved && ends
    }

    pub(crate) fn has_failed(&self) -> bool {
        matches!(*self.state.borrow(), State::Failed(_))
    }

    /// One more waits for it, if it is still to be had.
    pub(crate) fn join(&self, now: Instant) -> bool {
        let mut attention = self.attention();
        match *attention {
            Attention::Orphaned { until } if now < until => *attention = Attention::Wanted(1),
            Attention::Wanted(waiters) => *attention = Attention::Wanted(waiters + 1),
            _ => return false,
        }
        true
    }

    /// One hung up. True if that was the last one: then it is an orphan until the given time.
    pub(crate) fn leave(&self, until: Instant) -> bool {
        let mut attention = self.attention();
        let last = matches!(*attention, Attention::Wanted(1));
        match *attention {
            Attention::Wanted(1) => *attention = Attention::Orphaned { until },
            Attention::Wanted(waiters) => *attention = Attention::Wanted(waiters - 1),
            Attention::Orphaned { .. } | Attention::Stopped => {}
        }
        last
    }

    /// Nobody gets the result any more, whoever waits.
    pub(crate) fn stop(&self) {
        *self.attention() = Attention::Stopped;
    }

    pub(crate) fn is_wanted(&self) -> bool {
        matches!(*self.attention(), Attention::Wanted(_))
    }

    /// Nobody waits, and the time in which a retry could join is over. Once true it stays true, since
    /// [`join`](Self::join) goes by the same clock: so the engine may act on it without asking twice.
    pub(crate) fn is_abandoned_at(&self, now: Instant) -> bool {
        match *self.attention() {
            Attention::Wanted(_) => false,
            Attention::Orphaned { until } => now >= until,
            Attention::Stopped => true,
        }
    }

    fn attention(&self) -> MutexGuard<'_, Attention> {
        self.attention.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Job {
    fn progress(&self, progress: Progress) {
        self.advance(State::Running(progress));
    }

    fn is_abandoned(&self) -> bool {
        self.is_abandoned_at(Instant::now())
    }
}
