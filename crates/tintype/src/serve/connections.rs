//! Accepts, serves and gracefully closes connections.

use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use axum::body::Body;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tintype_core::causes::causes;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::dispatch::Dispatch;

/// Timeout for receiving the headers of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Delay after a failed accept. The usual cause is a lack of file descriptors, which other connections must
/// free.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(200);

/// The open connections, and the task that accepts new ones.
pub(crate) struct Connections {
    stop: oneshot::Sender<()>,
    closed: JoinHandle<()>,
}

impl Connections {
    /// Starts to accept connections.
    pub(crate) fn accept(listener: TcpListener, dispatch: Dispatch) -> Self {
        let (stop, stopped) = oneshot::channel();
        Self { stop, closed: tokio::spawn(serve(listener, dispatch, stopped)) }
    }

    /// Stops accepting connections. The future completes when every received request has its response.
    pub(crate) fn close(self) -> impl Future<Output = ()> {
        // Sending fails only if the task has already ended.
        let _ = self.stop.send(());
        async {
            let _ = self.closed.await;
        }
    }
}

async fn serve(listener: TcpListener, dispatch: Dispatch, stopped: oneshot::Receiver<()>) {
    let graceful = GracefulShutdown::new();
    let mut stopped = pin!(stopped);
    loop {
        tokio::select! {
            _ = &mut stopped => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    tokio::spawn(serve_connection(stream, dispatch.clone(), graceful.watcher()));
                }
                Err(error) => {
                    tracing::warn!(error = %causes(&error), "failed to accept connection");
                    tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
                }
            },
        }
    }
    drop(listener);
    graceful.shutdown().await;
}

async fn serve_connection(stream: TcpStream, dispatch: Dispatch, watcher: Watcher) {
    // A response is written in a few small packets; with Nagle's algorithm they would wait for
    // acknowledgements.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let response = dispatch.clone().respond(request.map(Body::new));
        async { Ok::<_, Infallible>(response.await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(error = %causes(&error), "connection closed with error");
    }
}
