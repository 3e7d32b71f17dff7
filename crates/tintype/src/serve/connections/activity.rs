//! What a connection is doing: it waits for a request, receives the headers of one, or serves requests.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::config::ConnectionSettings;

/// Maximum number of bytes of a request that are kept to explain why it is malformed.
const MAX_START: usize = 2048;
/// Replaces a timeout that exceeds the range of the clock.
const FAR_FUTURE: Duration = Duration::from_secs(30 * 365 * 86_400);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Activity {
    /// No request has started since this time.
    Idle { since: Instant },
    /// The first byte of a request arrived at this time, the end of its headers has not.
    Headers { since: Instant },
    /// This number of requests is being served.
    Serving { exchanges: usize },
}

/// The timeout that has expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expired {
    /// No request arrived.
    KeepAlive,
    /// The headers of a request are incomplete.
    Headers,
    /// The client does not accept a response.
    Stalled,
}

/// The activity of one connection, which its stream, its requests and its responses report.
pub(super) struct ActivityTracker {
    activity: watch::Sender<Activity>,
    /// Responses that hyper has not written completely.
    responses: AtomicUsize,
    /// A response may have unsent bytes.
    owes_response: AtomicBool,
    /// The status of the response that hyper created by itself, because it could not parse a request; 0 if
    /// there is none.
    automatic_status: AtomicU16,
    /// The client may still send a request body that the handler does not read.
    has_unread_body: AtomicBool,
    /// The first bytes of the current request.
    start: Mutex<Vec<u8>>,
    /// When the pieces of responses were sent that the client has not accepted yet, by the response's number.
    pieces: Mutex<HashMap<usize, Instant>>,
    /// The number of the next response.
    next_response: AtomicUsize,
}

impl ActivityTracker {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            activity: watch::Sender::new(Activity::Idle { since: Instant::now() }),
            responses: AtomicUsize::new(0),
            owes_response: AtomicBool::new(false),
            automatic_status: AtomicU16::new(0),
            has_unread_body: AtomicBool::new(false),
            start: Mutex::default(),
            pieces: Mutex::default(),
            next_response: AtomicUsize::new(0),
        })
    }

    /// Reports bytes that the client sent. Line breaks between two requests do not start a request.
    pub(super) fn received(&self, bytes: &[u8]) {
        if matches!(*self.activity.borrow(), Activity::Serving { .. }) {
            return;
        }
        let Some(first) = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n')) else { return };
        let is_first = self.activity.send_if_modified(|activity| {
            let is_first = matches!(activity, Activity::Idle { .. });
            if is_first {
                *activity = Activity::Headers { since: Instant::now() };
            }
            is_first
        });
        let mut start = self.start.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = if is_first { &bytes[first..] } else { bytes };
        let room = MAX_START - start.len();
        start.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// The first bytes of the request whose headers are incomplete or malformed.
    pub(super) fn request_start(&self) -> Vec<u8> {
        self.start.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reports that the headers of a request are complete. The request is being served until all clones of
    /// the guard are dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Arc<ExchangeGuard> {
        self.start.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.activity.send_modify(|activity| {
            let exchanges = match activity {
                Activity::Serving { exchanges } => *exchanges,
                Activity::Idle { .. } | Activity::Headers { .. } => 0,
            };
            *activity = Activity::Serving { exchanges: exchanges + 1 };
        });
        Arc::new(ExchangeGuard(self.clone()))
    }

    /// Reports that a response will be written until the guard is dropped.
    pub(super) fn owe_response(self: &Arc<Self>) -> ResponseGuard {
        self.responses.fetch_add(1, Ordering::AcqRel);
        self.owes_response.store(true, Ordering::Release);
        let number = self.next_response.fetch_add(1, Ordering::Relaxed);
        ResponseGuard { tracker: self.clone(), number }
    }

    fn pieces(&self) -> MutexGuard<'_, HashMap<usize, Instant>> {
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time until which the client must accept a piece of a response.
    fn stall_deadline(&self, timeout: Duration) -> Option<Instant> {
        self.pieces().values().min().map(|sent| after(*sent, timeout))
    }

    /// Reports that all bytes were sent that hyper has written.
    pub(super) fn flushed(&self) {
        if self.responses.load(Ordering::Acquire) == 0 {
            self.owes_response.store(false, Ordering::Release);
        }
    }

    /// Whether hyper writes a response of the service, not one of its own.
    pub(super) fn owes_response(&self) -> bool {
        self.owes_response.load(Ordering::Acquire)
    }

    /// Reports that hyper created a response with this status by itself.
    pub(super) fn set_automatic_status(&self, status: u16) {
        self.automatic_status.store(status, Ordering::Release);
    }

    /// The status of the response that hyper created by itself.
    pub(super) fn automatic_status(&self) -> Option<u16> {
        Some(self.automatic_status.load(Ordering::Acquire)).filter(|status| *status > 0)
    }

    /// Reports that the client may still send a request body that the handler does not read.
    pub(super) fn set_unread_body(&self) {
        self.has_unread_body.store(true, Ordering::Release);
    }

    /// Whether the client may still send a request body that the handler does not read.
    pub(super) fn has_unread_body(&self) -> bool {
        self.has_unread_body.load(Ordering::Acquire)
    }

    /// Waits until a timeout expires.
    pub(super) async fn expired(&self, settings: &ConnectionSettings) -> Expired {
        let mut changes = self.activity.subscribe();
        loop {
            let activity = *changes.borrow_and_update();
            let (deadline, expired) = match activity {
                Activity::Idle { since } => (after(since, settings.keep_alive), Expired::KeepAlive),
                Activity::Headers { since } => (after(since, settings.header_timeout), Expired::Headers),
                Activity::Serving { .. } => {
                    let now = Instant::now();
                    let deadline = self.stall_deadline(settings.stall_timeout);
                    if deadline.is_some_and(|deadline| deadline <= now) {
                        return Expired::Stalled;
                    }
                    let check = deadline.unwrap_or_else(|| after(now, settings.stall_timeout));
                    tokio::select! {
                        biased;
                        _ = changes.changed() => {}
                        () = sleep_until(check) => {}
                    }
                    continue;
                }
            };
            tokio::select! {
                biased;
                _ = changes.changed() => {}
                () = sleep_until(deadline) => return expired,
            }
        }
    }
}

fn after(start: Instant, timeout: Duration) -> Instant {
    start.checked_add(timeout).unwrap_or(start + FAR_FUTURE)
}

/// A request that is being served.
pub(super) struct ExchangeGuard(Arc<ActivityTracker>);

impl ExchangeGuard {
    pub(super) fn tracker(&self) -> &ActivityTracker {
        &self.0
    }
}

impl Drop for ExchangeGuard {
    fn drop(&mut self) {
        self.0.activity.send_modify(|activity| {
            *activity = match *activity {
                Activity::Serving { exchanges } if exchanges > 1 => {
                    Activity::Serving { exchanges: exchanges - 1 }
                }
                _ => Activity::Idle { since: Instant::now() },
            };
        });
    }
}

/// A response that is being written.
pub(super) struct ResponseGuard {
    tracker: Arc<ActivityTracker>,
    number: usize,
}

impl ResponseGuard {
    /// Reports that a piece of the response was sent, which the client must accept before the stall timeout.
    pub(super) fn piece_sent(&self) {
        self.tracker.pieces().insert(self.number, Instant::now());
    }

    /// Reports that the client has accepted all pieces.
    pub(super) fn piece_accepted(&self) {
        self.tracker.pieces().remove(&self.number);
    }
}

impl Drop for ResponseGuard {
    fn drop(&mut self) {
        self.piece_accepted();
        self.tracker.responses.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, timeout};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn settings() -> ConnectionSettings {
        ConnectionSettings {
            keep_alive: 90 * SECOND,
            header_timeout: 30 * SECOND,
            stall_timeout: 60 * SECOND,
            max_connections: 10,
            drain_time: 5 * SECOND,
            drain_bytes: 10_000_000,
        }
    }

    async fn elapsed(tracker: &ActivityTracker) -> (Expired, Duration) {
        let start = Instant::now();
        (tracker.expired(&settings()).await, start.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn the_header_timeout_starts_with_the_first_byte() {
        let tracker = ActivityTracker::new();
        advance(80 * SECOND).await;
        tracker.received(b"\r\n");
        tracker.received(b"GET");
        advance(20 * SECOND).await;
        tracker.received(b" /");
        let (expired, waited) = elapsed(&tracker).await;
        assert_eq!(expired, Expired::Headers);
        assert!(waited.abs_diff(10 * SECOND) < SECOND, "{waited:?}");
        assert_eq!(tracker.request_start(), b"GET /");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_in_progress_has_no_timeout_and_the_idle_time_starts_after_it() {
        let tracker = ActivityTracker::new();
        tracker.received(b"GET / HTTP/1.1\r\n\r\n");
        let (first, second) = (tracker.begin(), tracker.begin());
        assert!(timeout(1000 * SECOND, tracker.expired(&settings())).await.is_err());
        drop(first);
        assert!(timeout(1000 * SECOND, tracker.expired(&settings())).await.is_err());
        drop(second);
        let (expired, waited) = elapsed(&tracker).await;
        assert_eq!(expired, Expired::KeepAlive);
        assert!(waited.abs_diff(90 * SECOND) < SECOND, "{waited:?}");
        assert!(tracker.request_start().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_must_accept_a_piece_within_the_stall_timeout() {
        let tracker = ActivityTracker::new();
        let (_exchange, response) = (tracker.begin(), tracker.owe_response());
        response.piece_sent();
        advance(50 * SECOND).await;
        response.piece_accepted();
        assert!(timeout(1000 * SECOND, tracker.expired(&settings())).await.is_err());
        response.piece_sent();
        let (expired, waited) = elapsed(&tracker).await;
        assert_eq!(expired, Expired::Stalled);
        // It is noticed at the next check.
        assert!((60 * SECOND..=121 * SECOND).contains(&waited), "{waited:?}");
    }

    #[tokio::test]
    async fn a_response_is_owed_until_it_is_flushed() {
        let tracker = ActivityTracker::new();
        assert!(!tracker.owes_response());
        let response = tracker.owe_response();
        tracker.flushed();
        assert!(tracker.owes_response(), "the body is not complete");
        drop(response);
        assert!(tracker.owes_response(), "the last bytes are not sent");
        tracker.flushed();
        assert!(!tracker.owes_response());
    }

    #[tokio::test]
    async fn only_the_start_of_a_request_is_kept() {
        let tracker = ActivityTracker::new();
        for _ in 0..10 {
            tracker.received(&[b'x'; 1000]);
        }
        assert_eq!(tracker.request_start().len(), MAX_START);
    }
}
