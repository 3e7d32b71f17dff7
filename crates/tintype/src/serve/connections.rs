//! Connections: accepted, served, and closed in an orderly way.

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

/// A client that has not sent its headers by then holds a connection open for nothing.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Most often there are no file descriptors left: what is open has to end first.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(200);

/// The open connections, and the task that accepts more.
pub(crate) struct Connections {
    stop: oneshot::Sender<()>,
    closed: JoinHandle<()>,
}

impl Connections {
    /// Begins to accept.
    pub(crate) fn accept(listener: TcpListener, dispatch: Dispatch) -> Self {
        let (stop, stopped) = oneshot::channel();
        Self { stop, closed: tokio::spawn(serve(listener, dispatch, stopped)) }
    }

    /// Accepts no more. The future ends when every request that came in has its answer.
    pub(crate) fn close(self) -> impl Future<Output = ()> {
        // Fails only if the task is gone, and then there is nothing left to stop.
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
                Ok((stream, _)) => drop(tokio::spawn(serve_connection(stream, dispatch.clone(), graceful.watcher()))),
                Err(error) => {
                    tracing::warn!(error = %causes(&error), "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
                }
            },
        }
    }
    drop(listener);
    graceful.shutdown().await;
}

async fn serve_connection(stream: TcpStream, dispatch: Dispatch, watcher: Watcher) {
    // An answer is written in a few small pieces; none of them should wait for an acknowledgement.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let answer = dispatch.clone().answer(request.map(Body::new));
        async { Ok::<_, Infallible>(answer.await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(error = %causes(&error), "a connection ended early");
    }
}
