//! The bodies of responses.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use super::activity::{ExchangeGuard, ResponseGuard};

/// Maximum size of a piece of an HTTP/2 response. A client has the stall timeout to accept a piece.
const MAX_PIECE: usize = 64 << 10;

/// The body of a response, which reports the end of the exchange.
///
/// hyper requests the next piece of an HTTP/2 response when the client has accepted the last one. The stream
/// of the connection cannot show this, because several responses share it.
pub(super) struct ResponseBody {
    body: Body,
    /// The rest of the last chunk, which was too large for one piece.
    rest: Bytes,
    is_http2: bool,
    response: ResponseGuard,
    _exchange: Arc<ExchangeGuard>,
}

impl ResponseBody {
    pub(super) fn http1(body: Body, response: ResponseGuard, exchange: Arc<ExchangeGuard>) -> Self {
        Self { body, rest: Bytes::new(), is_http2: false, response, _exchange: exchange }
    }

    pub(super) fn http2(body: Body, response: ResponseGuard, exchange: Arc<ExchangeGuard>) -> Self {
        Self { is_http2: true, ..Self::http1(body, response, exchange) }
    }
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        if !this.is_http2 {
            return Pin::new(&mut this.body).poll_frame(cx);
        }
        this.response.piece_accepted();
        if this.rest.is_empty() {
            match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => this.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                other => return Poll::Ready(other),
            }
        }
        let piece = this.rest.split_to(this.rest.len().min(MAX_PIECE));
        this.response.piece_sent();
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (hint, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut total = SizeHint::new();
        total.set_lower(hint.lower() + rest);
        if let Some(upper) = hint.upper() {
            total.set_upper(upper + rest);
        }
        total
    }
}
