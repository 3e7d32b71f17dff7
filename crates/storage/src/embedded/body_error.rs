//! Errors of a request's body.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use s3s::{S3Error, S3ErrorCode, StdError};

/// An S3 error in a stream of a body.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct BodyError {
    code: S3ErrorCode,
    message: String,
}

impl BodyError {
    /// The S3 error of a stream's error. Any other error means that the body is cut off, or that its signature
    /// is wrong.
    pub(crate) fn of(error: StdError) -> S3Error {
        match error.downcast::<Self>() {
            Ok(error) => S3Error::with_message(error.code, error.message),
            Err(other) => S3Error::with_source(S3ErrorCode::IncompleteBody, other),
        }
    }
}

impl From<S3Error> for BodyError {
    fn from(error: S3Error) -> Self {
        Self { code: error.code().clone(), message: error.message().unwrap_or_default().to_owned() }
    }
}

/// Whether the client stopped sending the body of a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stalled(Arc<AtomicBool>);

impl Stalled {
    pub(crate) fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Records whether a body ends with an error of the kind `TimedOut`. `s3s` does not pass on the causes of all
/// errors.
pub(crate) struct ObservedBody<B> {
    pub(crate) body: B,
    pub(crate) stalled: Stalled,
}

impl<B> Body for ObservedBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Error + 'static,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Err(error)) = &frame
            && is_timeout(error)
        {
            self.stalled.0.store(true, Ordering::Release);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Whether one of the error's causes is an operating-system error of the kind `TimedOut`.
fn is_timeout(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::TimedOut) {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_found_among_the_causes() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] io::Error);
        for (kind, expected) in [(io::ErrorKind::TimedOut, true), (io::ErrorKind::ConnectionReset, false)] {
            assert_eq!(is_timeout(&Outer(kind.into())), expected);
            assert_eq!(is_timeout(&io::Error::from(kind)), expected);
        }
    }

    #[test]
    fn stream_errors() {
        let large = BodyError::from(s3s::s3_error!(EntityTooLarge, "Too large."));
        let error = BodyError::of(Box::new(large));
        assert_eq!((error.code(), error.message()), (&S3ErrorCode::EntityTooLarge, Some("Too large.")));
        let error = BodyError::of(Box::new(io::Error::from(io::ErrorKind::UnexpectedEof)));
        assert_eq!(error.code(), &S3ErrorCode::IncompleteBody);
    }
}
