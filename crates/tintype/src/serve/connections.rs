//! Accepts, serves and gracefully closes connections.

mod activity;
mod body;
mod refusal;
mod response;
mod stream;

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONNECTION, EXPECT, HOST};
use axum::http::{HeaderMap, HeaderValue, Version};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tintype_core::causes::causes;
use tintype_http::{ConnectionProblem, CorsPolicy};
use tintype_service::Service;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::JoinHandle;

use super::dispatch::Dispatch;
use crate::config::ConnectionSettings;
use activity::{ActivityTracker, Expired};
use body::RequestBody;
use response::ResponseBody;
use stream::ClientStream;

/// Delay after a failed accept. The usual cause is a lack of file descriptors, which other connections must
/// free.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(200);
/// Maximum number of connections beyond the limit that get a response. Others are closed without one.
const MAX_REFUSALS: usize = 64;
/// Maximum number of bytes of a response that the operating system holds before it sends them. Without this
/// limit, it holds several MB for a client that does not read, and reports progress too seldom.
#[cfg(target_os = "linux")]
const MAX_UNSENT: u32 = 128 << 10;
/// The first bytes of an HTTP/2 connection.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The number of first bytes that tell HTTP/2 from HTTP/1: no method of HTTP/1 is `PRI`.
const HTTP2_PREFACE_START: usize = 4;
/// Interval of looking for the rest of an incomplete preface.
const PREFACE_POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Maximum number of concurrent requests of an HTTP/2 connection.
const MAX_HTTP2_STREAMS: u32 = 100;

/// The open connections, and the task that accepts new ones.
pub(crate) struct Connections {
    stop: oneshot::Sender<()>,
    closed: JoinHandle<()>,
}

impl Connections {
    /// Starts to accept connections.
    pub(crate) fn accept(listener: TcpListener, dispatch: Dispatch, context: ConnectionContext) -> Self {
        let (stop, stopped) = oneshot::channel();
        Self { stop, closed: tokio::spawn(serve(listener, dispatch, Arc::new(context), stopped)) }
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

/// What responds to the requests of a connection.
#[derive(Clone)]
enum Responder {
    Dispatch(Dispatch),
    /// The connection exceeds the limit.
    Refusal,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Http1,
    /// HTTP/2 without TLS, with prior knowledge.
    Http2,
}

/// What all connections share.
pub(crate) struct ConnectionContext {
    /// Their limits.
    pub(crate) settings: Arc<ConnectionSettings>,
    /// Counts refused connections.
    pub(crate) service: Arc<Service>,
    /// The web pages that may read the responses to refused requests.
    pub(crate) cors: CorsPolicy,
}

impl ConnectionContext {
    /// Counts a refused connection or request, and returns the response to it.
    fn refuse(&self, problem: ConnectionProblem, path: &str, headers: &HeaderMap) -> Response {
        self.service.count_refused_connection(problem.reason());
        let mut response = tintype_http::refuse(problem, path, headers);
        self.cors.allow(headers, response.headers_mut());
        response
    }
}

async fn serve(
    listener: TcpListener,
    dispatch: Dispatch,
    context: Arc<ConnectionContext>,
    stopped: oneshot::Receiver<()>,
) {
    let settings = &context.settings;
    let graceful = GracefulShutdown::new();
    let (closing, _) = watch::channel(());
    let places = Arc::new(Semaphore::new(settings.max_connections.min(Semaphore::MAX_PERMITS)));
    let refusals = Arc::new(Semaphore::new(MAX_REFUSALS));
    let mut is_full = false;
    let mut stopped = pin!(stopped);
    loop {
        let socket = tokio::select! {
            _ = &mut stopped => break,
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => socket,
                Err(error) => {
                    tracing::warn!(error = %causes(&error), "failed to accept connection");
                    tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
                    continue;
                }
            },
        };
        let place = places.clone().try_acquire_owned();
        if place.is_err() && !is_full {
            let limit = settings.max_connections;
            tracing::warn!(limit, "reached max_connections, refusing further connections");
        }
        is_full = place.is_err();
        let (place, responder) = match place {
            Ok(place) => (place, Responder::Dispatch(dispatch.clone())),
            Err(_) => match refusals.clone().try_acquire_owned() {
                Ok(place) => (place, Responder::Refusal),
                Err(_) => {
                    context.service.count_refused_connection(ConnectionProblem::TooManyConnections.reason());
                    continue;
                }
            },
        };
        let connection = Connection {
            socket: Arc::new(socket),
            responder,
            context: context.clone(),
            activity: ActivityTracker::new(),
        };
        let (watcher, closing) = (graceful.watcher(), closing.subscribe());
        tokio::spawn(async move {
            connection.serve(watcher, closing).await;
            drop(place);
        });
    }
    drop((listener, closing));
    graceful.shutdown().await;
}

/// A connection of a client.
#[derive(Clone)]
struct Connection {
    socket: Arc<TcpStream>,
    responder: Responder,
    context: Arc<ConnectionContext>,
    activity: Arc<ActivityTracker>,
}

impl Connection {
    /// Serves requests until the client, a timeout or the end of `closing` closes the connection.
    async fn serve(self, watcher: Watcher, mut closing: watch::Receiver<()>) {
        // A response is written in a few small packets; with Nagle's algorithm they would wait for
        // acknowledgements.
        let _ = self.socket.set_nodelay(true);
        #[cfg(target_os = "linux")]
        let _ = socket2::SockRef::from(&*self.socket).set_tcp_notsent_lowat(MAX_UNSENT);
        let protocol = tokio::select! {
            protocol = detect_protocol(&self.socket) => protocol,
            _ = self.activity.expired(&self.context.settings) => None,
            _ = closing.changed() => None,
        };
        let Some(protocol) = protocol else { return };
        let expired = match protocol {
            Protocol::Http1 => self.serve_http1(watcher).await,
            Protocol::Http2 => self.serve_http2(watcher).await,
        };
        refusal::finish(&self.socket, &self.activity, expired, &self.context).await;
    }

    async fn serve_http1(&self, watcher: Watcher) -> Option<Expired> {
        let this = self.clone();
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(None::<Duration>)
            .keep_alive(matches!(self.responder, Responder::Dispatch(_)))
            .serve_connection(self.stream(Protocol::Http1), service_fn(move |request| this.respond(request)));
        self.drive(watcher.watch(connection)).await
    }

    async fn serve_http2(&self, watcher: Watcher) -> Option<Expired> {
        let this = self.clone();
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_HTTP2_STREAMS)
            .keep_alive_interval(self.context.settings.stall_timeout)
            .serve_connection(self.stream(Protocol::Http2), service_fn(move |request| this.respond(request)));
        self.drive(watcher.watch(connection)).await
    }

    fn stream(&self, protocol: Protocol) -> TokioIo<ClientStream> {
        let (socket, activity) = (self.socket.clone(), self.activity.clone());
        TokioIo::new(ClientStream::new(socket, activity, protocol, self.context.settings.stall_timeout))
    }

    /// Runs a connection until it ends or a timeout expires.
    async fn drive(&self, connection: impl Future<Output = hyper::Result<()>>) -> Option<Expired> {
        tokio::select! {
            biased;
            ended = connection => {
                if let Err(error) = ended {
                    tracing::debug!(error = %causes(&error), "connection closed with error");
                }
                None
            }
            expired = self.activity.expired(&self.context.settings) => Some(expired),
        }
    }

    /// The response to one request.
    fn respond(
        &self,
        mut request: hyper::Request<Incoming>,
    ) -> impl Future<Output = Result<Response<ResponseBody>, Infallible>> + use<> {
        let (exchange, response_guard) = (self.activity.begin(), self.activity.owe_response());
        // HTTP/2 has no `Host` header, which signatures and the check of origins need.
        if request.version() == Version::HTTP_2
            && !request.headers().contains_key(HOST)
            && let Some(authority) = request.uri().authority()
            && let Ok(host) = HeaderValue::from_str(authority.as_str())
        {
            request.headers_mut().insert(HOST, host);
        }
        let awaits_continue = request.headers().contains_key(EXPECT);
        let is_http2 = request.version() == Version::HTTP_2;
        let (parts, body) = request.into_parts();
        let body = RequestBody::new(body, self.context.settings.clone(), exchange.clone(), awaits_continue);
        let closes = body.closes_after_response();
        let (responder, context) = (self.responder.clone(), self.context.clone());
        async move {
            let mut response = match responder {
                Responder::Dispatch(dispatch) => {
                    dispatch.respond(hyper::Request::from_parts(parts, Body::new(body))).await
                }
                Responder::Refusal => {
                    drop(body);
                    let problem = ConnectionProblem::TooManyConnections;
                    context.refuse(problem, parts.uri.path(), &parts.headers)
                }
            };
            if closes.get() && !is_http2 {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(response.map(|body| {
                if is_http2 {
                    ResponseBody::http2(body, response_guard, exchange)
                } else {
                    ResponseBody::http1(body, response_guard, exchange)
                }
            }))
        }
    }
}

/// Waits for the first bytes of a connection; `None` if the client closes it instead.
async fn detect_protocol(socket: &TcpStream) -> Option<Protocol> {
    let mut start = [0; HTTP2_PREFACE_START];
    loop {
        let read = socket.peek(&mut start).await.ok().filter(|read| *read > 0)?;
        if !HTTP2_PREFACE.starts_with(&start[..read]) {
            return Some(Protocol::Http1);
        }
        if read == HTTP2_PREFACE_START {
            return Some(Protocol::Http2);
        }
        tokio::time::sleep(PREFACE_POLL_INTERVAL).await;
    }
}
