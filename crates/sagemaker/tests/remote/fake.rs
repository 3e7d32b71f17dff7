//! A service that answers every request the same way, and remembers them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, Response};
use bytes::Bytes;
use time::OffsetDateTime;
use tintype_sagemaker::sigv4::{Claim, Received};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::keys;

/// What the service does with every request.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    Answer {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: String,
    },
    /// Takes the request and never answers.
    Hang,
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// The client's end of the connection.
    pub(crate) peer: SocketAddr,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Whether the SDK's signature passes our own check.
    pub(crate) fn is_signed(&self) -> bool {
        let Self { target, headers, body, .. } = self;
        let claim = Claim::read(headers, &keys(), OffsetDateTime::now_utc());
        claim.and_then(|claim| claim.verify(&Received { method: "POST", target, headers, body })).is_ok()
    }
}

/// The service, until it is dropped.
pub(crate) struct Fake {
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fake {
    pub(crate) async fn doing(act: Act) -> Self {
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let router = Router::new().fallback(take).with_state((act, Arc::clone(&seen)));
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        let (listener, url) = listen().await;
        let task = tokio::spawn(async move { axum::serve(listener, service).await.expect("served") });
        Self { url, seen, task }
    }

    /// A service that answers 200 with JSON.
    pub(crate) async fn answering(body: String) -> Self {
        let headers = vec![
            ("content-type", "application/json".to_owned()),
            ("x-amzn-invoked-production-variant", "AllTraffic".to_owned()),
        ];
        Self::doing(Act::Answer { status: 200, headers, body }).await
    }

    /// A service that reads a request, writes this much of an answer and hangs up.
    pub(crate) async fn breaking(part: &'static [u8]) -> Self {
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let requests = Arc::clone(&seen);
        let (listener, url) = listen().await;
        let task = tokio::spawn(async move {
            while let Ok((mut connection, peer)) = listener.accept().await {
                let mut read = Vec::new();
                let mut buffer = [0; 4096];
                // The request's JSON ends with the only brace that ends anything.
                while !read.ends_with(b"}") {
                    match connection.read(&mut buffer).await {
                        Ok(length @ 1..) => read.extend_from_slice(&buffer[..length]),
                        _ => break,
                    }
                }
                let request =
                    Seen { peer, target: String::new(), headers: HeaderMap::new(), body: read.into() };
                requests.lock().expect("no panic while locked").push(request);
                connection.write_all(part).await.expect("written");
                connection.shutdown().await.expect("closed");
            }
        });
        Self { url, seen, task }
    }

    /// What has arrived.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("no panic while locked").clone()
    }
}

/// A URL where nobody listens.
pub(crate) async fn nowhere() -> String {
    listen().await.1
}

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    (listener, url)
}

type Memory = (Act, Arc<Mutex<Vec<Seen>>>);

async fn take(
    State((act, seen)): State<Memory>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.expect("a body");
    seen.lock().expect("no panic while locked").push(Seen {
        peer,
        target: parts.uri.to_string(),
        headers: parts.headers,
        body,
    });
    match act {
        Act::Answer { status, headers, body } => {
            let mut response = Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            response.body(body.into()).expect("a response")
        }
        Act::Hang => std::future::pending().await,
    }
}
