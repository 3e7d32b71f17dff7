//! A response, the body of which is read within the limits.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

use crate::connection::Driver;
use crate::error::OutboundError;

/// A response. Its body is not decompressed, whatever its `content-encoding` is; none is requested.
pub struct Response {
    status: StatusCode,
    headers: HeaderMap,
    body: Incoming,
    limits: BodyLimits,
    received: u64,
    /// Keeps the connection open.
    _driver: Driver,
}

/// The limits of a response's body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyLimits {
    pub(crate) max_bytes: u64,
    pub(crate) deadline: Instant,
}

impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Response").field("status", &self.status).finish_non_exhaustive()
    }
}

impl Response {
    /// # Errors
    /// [`OutboundError::TooLarge`] if the header `content-length` is above the limit.
    pub(crate) fn new(
        response: http::Response<Incoming>,
        driver: Driver,
        limits: BodyLimits,
    ) -> Result<Self, OutboundError> {
        let (head, body) = response.into_parts();
        let response =
            Self { status: head.status, headers: head.headers, body, limits, received: 0, _driver: driver };
        match response.body.size_hint().lower() > limits.max_bytes {
            true => Err(response.too_large()),
            false => Ok(response),
        }
    }

    /// The status, which is no redirect with a `Location`.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The response if its status is a success (2xx).
    ///
    /// # Errors
    /// [`OutboundError::Status`].
    pub fn success(self) -> Result<Self, OutboundError> {
        if self.status.is_success() { Ok(self) } else { Err(OutboundError::Status(self.status)) }
    }

    /// The next part of the body; `None` at its end.
    ///
    /// # Errors
    /// [`OutboundError::TooLarge`], [`OutboundError::TimedOut`], [`OutboundError::Connection`].
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, OutboundError> {
        loop {
            let frame = timeout_at(self.limits.deadline, self.body.frame()).await;
            let Some(frame) = frame.map_err(|_| OutboundError::TimedOut)? else { return Ok(None) };
            let frame = frame.map_err(|error| OutboundError::Connection(error.into()))?;
            // Trailers are ignored.
            let Ok(data) = frame.into_data() else { continue };
            self.received = self.received.saturating_add(data.len() as u64);
            if self.received > self.limits.max_bytes {
                return Err(self.too_large());
            }
            return Ok(Some(data));
        }
    }

    /// The whole rest of the body.
    ///
    /// # Errors
    /// As [`Response::chunk`].
    pub async fn bytes(mut self) -> Result<Bytes, OutboundError> {
        let mut all = BytesMut::new();
        while let Some(chunk) = self.chunk().await? {
            all.extend_from_slice(&chunk);
        }
        Ok(all.freeze())
    }

    fn too_large(&self) -> OutboundError {
        OutboundError::TooLarge { limit: self.limits.max_bytes }
    }
}
