//! The byte stream of a connection.

use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use super::Protocol;
use super::activity::ActivityTracker;

/// The stream that hyper reads and writes. It reports the activity of the connection, fails if the client
/// accepts no part of a response for too long, and does not send the responses that hyper creates by itself:
/// they are empty, and [`refusal`](super::refusal) writes better ones.
pub(super) struct ClientStream {
    socket: Arc<TcpStream>,
    activity: Arc<ActivityTracker>,
    protocol: Protocol,
    stall_timeout: Duration,
    /// While the client accepts no bytes: the end of the time that it has.
    stall: Option<Pin<Box<Sleep>>>,
}

impl ClientStream {
    pub(super) fn new(
        socket: Arc<TcpStream>,
        activity: Arc<ActivityTracker>,
        protocol: Protocol,
        stall_timeout: Duration,
    ) -> Self {
        Self { socket, activity, protocol, stall_timeout, stall: None }
    }

    /// Whether hyper created these bytes by itself. Then only their status is used.
    fn discards(&self, bytes: &[u8]) -> bool {
        if self.protocol == Protocol::Http2 || self.activity.owes_response() {
            return false;
        }
        let status = bytes.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        self.activity.set_automatic_status(status.unwrap_or(400));
        true
    }

    fn poll_write_with(
        &mut self,
        cx: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> Result<usize>,
    ) -> Poll<Result<usize>> {
        loop {
            if self.socket.poll_write_ready(cx)?.is_pending() {
                let timeout = self.stall_timeout;
                ready!(self.stall.get_or_insert_with(|| Box::pin(sleep(timeout))).as_mut().poll(cx));
                return Poll::Ready(Err(Error::new(ErrorKind::TimedOut, "the client stopped reading")));
            }
            match write(&self.socket) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                written => {
                    self.stall = None;
                    return Poll::Ready(written);
                }
            }
        }
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        loop {
            ready!(self.socket.poll_read_ready(cx))?;
            let start = buffer.filled().len();
            match self.socket.try_read_buf(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(_) => {
                    if self.protocol == Protocol::Http1 {
                        self.activity.received(&buffer.filled()[start..]);
                    }
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        if self.discards(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        self.poll_write_with(cx, |socket| socket.try_write(bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        if self.discards(slices.first().map_or(&[][..], |slice| &**slice)) {
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        self.poll_write_with(cx, |socket| socket.try_write_vectored(slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        self.activity.flushed();
        Poll::Ready(Ok(()))
    }

    /// The socket is closed after hyper has dropped the stream.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }
}
