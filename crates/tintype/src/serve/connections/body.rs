//! The bodies of requests.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::runtime::Handle;
use tokio::time::{Instant, Sleep, sleep, timeout};

use super::activity::ExchangeGuard;
use crate::config::ConnectionSettings;

/// The number of bytes that a request body must bring in each stall timeout: about 270 bytes per second with
/// the default, which every network exceeds.
const MIN_PROGRESS: usize = 16 << 10;

/// Why a request body ended early.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    /// The connection broke.
    #[error(transparent)]
    Connection(#[from] hyper::Error),
    /// The client sent too few bytes. The source has the kind `TimedOut`, by which the S3 server recognizes the
    /// error.
    #[error("the client sent less than {min} bytes of the request body in {timeout:?}", min = MIN_PROGRESS)]
    Stalled { timeout: Duration, source: io::Error },
}

/// Whether the connection must close after a response.
#[derive(Clone, Debug, Default)]
pub(super) struct ClosesAfterResponse(Arc<AtomicBool>);

impl ClosesAfterResponse {
    pub(super) fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    fn set(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// The body of a request. If a handler does not read it to its end, the rest is read and discarded within
/// limits: if the connection were closed instead, the operating system would reset it, and a client that is
/// still sending would lose the response.
pub(super) struct RequestBody {
    /// `None` after the body was passed on to be discarded.
    body: Option<Incoming>,
    settings: Arc<ConnectionSettings>,
    exchange: Arc<ExchangeGuard>,
    closes: ClosesAfterResponse,
    /// The client sends the body only after `100 Continue`, which hyper sends when the body is read.
    awaits_continue: bool,
    /// The body is complete, or no more of it will arrive.
    has_ended: bool,
    stall: Stall,
}

/// Measures how long a handler waits for a body.
#[derive(Default)]
struct Stall {
    /// The bytes since the last check.
    bytes: usize,
    /// The waiting time since the last check.
    waited: Duration,
    /// The start of the current wait, and its maximum.
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl Stall {
    /// Whether the client has had `timeout` for fewer than [`MIN_PROGRESS`] bytes.
    fn poll_expired(&mut self, cx: &mut Context<'_>, timeout: Duration) -> Poll<()> {
        let left = timeout.saturating_sub(self.waited);
        let (_, timer) = self.waiting.get_or_insert_with(|| (Instant::now(), Box::pin(sleep(left))));
        timer.as_mut().poll(cx)
    }

    fn received(&mut self, bytes: usize) {
        if let Some((start, _)) = self.waiting.take() {
            self.waited += start.elapsed();
        }
        self.bytes += bytes;
        if self.bytes >= MIN_PROGRESS {
            *self = Self::default();
        }
    }
}

impl RequestBody {
    pub(super) fn new(
        body: Incoming,
        settings: Arc<ConnectionSettings>,
        exchange: Arc<ExchangeGuard>,
        awaits_continue: bool,
    ) -> Self {
        let (closes, stall) = (ClosesAfterResponse::default(), Stall::default());
        Self { body: Some(body), settings, exchange, closes, awaits_continue, has_ended: false, stall }
    }

    /// Becomes true if the rest of the body is not read.
    pub(super) fn closes_after_response(&self) -> ClosesAfterResponse {
        self.closes.clone()
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        this.awaits_continue = false;
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) else {
            let timeout = this.settings.stall_timeout;
            ready!(this.stall.poll_expired(cx, timeout));
            this.has_ended = true;
            this.closes.set();
            this.exchange.tracker().set_unread_body();
            this.body = None;
            let source = io::ErrorKind::TimedOut.into();
            return Poll::Ready(Some(Err(BodyError::Stalled { timeout, source })));
        };
        match &frame {
            Some(Ok(frame)) => this.stall.received(frame.data_ref().map_or(0, Bytes::len)),
            Some(Err(_)) | None => this.has_ended = true,
        }
        Poll::Ready(frame.map(|frame| frame.map_err(BodyError::from)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if self.has_ended || self.is_end_stream() {
            return;
        }
        let Some(body) = self.body.take() else { return };
        if self.awaits_continue {
            // Reading would ask the client to send the body. A client that sends it anyway is handled
            // after the end of the connection.
            self.closes.set();
            self.exchange.tracker().set_unread_body();
            return;
        }
        if body.size_hint().lower() > self.settings.drain_bytes {
            self.closes.set();
        }
        // Outside of a runtime, the connection does not exist any more.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(discard(body, self.settings.clone(), self.exchange.clone()));
        }
    }
}

/// Reads a request body to its end or to the limit. The connection serves the next request only afterwards.
async fn discard(mut body: Incoming, settings: Arc<ConnectionSettings>, exchange: Arc<ExchangeGuard>) {
    let mut left = settings.drain_bytes;
    let rest = async {
        while let Some(Ok(frame)) = body.frame().await {
            let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
            left = left.saturating_sub(bytes);
            if left == 0 {
                break;
            }
        }
    };
    if timeout(settings.drain_time, rest).await.is_err() || left == 0 {
        tracing::debug!("request body exceeded the limits for discarding it, closing connection");
    }
    drop(body);
    drop(exchange);
}
