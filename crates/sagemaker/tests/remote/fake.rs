//! A service that answers every request the same way, and records the requests.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, Response};
use bytes::Bytes;
use time::OffsetDateTime;
use tintype_sagemaker::sigv4::{ReceivedRequest, RequestSignature};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::keys;

/// The service's reaction to every request.
#[derive(Clone, Debug)]
pub(crate) enum Behavior {
    Respond {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: String,
    },
    /// Reads the request and never responds.
    Hang,
}

/// A request that the service received.
#[derive(Clone, Debug)]
pub(crate) struct ReceivedCall {
    /// The client's address.
    pub(crate) peer: SocketAddr,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl ReceivedCall {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Whether our own verification accepts the SDK's signature.
    pub(crate) fn is_signed(&self) -> bool {
        let Self { target, headers, body, .. } = self;
        let signature = RequestSignature::read(headers, &keys(), OffsetDateTime::now_utc());
        signature
            .and_then(|signature| {
                signature.verify(&ReceivedRequest { method: "POST", target, headers, body })
            })
            .is_ok()
    }
}

/// The service. It stops when this is dropped.
pub(crate) struct FakeService {
    pub(crate) url: String,
    calls: Arc<Mutex<Vec<ReceivedCall>>>,
    task: JoinHandle<()>,
}

impl Drop for FakeService {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FakeService {
    pub(crate) async fn with_behavior(behavior: Behavior) -> Self {
        let calls = Arc::<Mutex<Vec<ReceivedCall>>>::default();
        let router = Router::new().fallback(handle).with_state((behavior, Arc::clone(&calls)));
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        let (listener, url) = listen().await;
        let task = tokio::spawn(async move { axum::serve(listener, service).await.expect("served") });
        Self { url, calls, task }
    }

    /// A service that responds with status 200 and this JSON.
    pub(crate) async fn responding(body: String) -> Self {
        let headers = vec![
            ("content-type", "application/json".to_owned()),
            ("x-amzn-invoked-production-variant", "AllTraffic".to_owned()),
        ];
        Self::with_behavior(Behavior::Respond { status: 200, headers, body }).await
    }

    /// A service that reads a request, writes this part of a response and disconnects.
    pub(crate) async fn disconnecting(part: &'static [u8]) -> Self {
        let calls = Arc::<Mutex<Vec<ReceivedCall>>>::default();
        let requests = Arc::clone(&calls);
        let (listener, url) = listen().await;
        let task = tokio::spawn(async move {
            while let Ok((mut connection, peer)) = listener.accept().await {
                let mut read = Vec::new();
                let mut buffer = [0; 4096];
                // A request's JSON has no other closing brace at the end of a read.
                while !read.ends_with(b"}") {
                    match connection.read(&mut buffer).await {
                        Ok(length @ 1..) => read.extend_from_slice(&buffer[..length]),
                        _ => break,
                    }
                }
                let request = ReceivedCall {
                    peer,
                    target: String::new(),
                    headers: HeaderMap::new(),
                    body: read.into(),
                };
                requests.lock().expect("no panic while locked").push(request);
                connection.write_all(part).await.expect("written");
                connection.shutdown().await.expect("closed");
            }
        });
        Self { url, calls, task }
    }

    /// The requests so far.
    pub(crate) fn calls(&self) -> Vec<ReceivedCall> {
        self.calls.lock().expect("no panic while locked").clone()
    }
}

/// A URL without a listener.
pub(crate) async fn unused_url() -> String {
    listen().await.1
}

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    (listener, url)
}

type FakeState = (Behavior, Arc<Mutex<Vec<ReceivedCall>>>);

async fn handle(
    State((behavior, calls)): State<FakeState>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.expect("a body");
    calls.lock().expect("no panic while locked").push(ReceivedCall {
        peer,
        target: parts.uri.to_string(),
        headers: parts.headers,
        body,
    });
    match behavior {
        Behavior::Respond { status, headers, body } => {
            let mut response = Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            response.body(body.into()).expect("a response")
        }
        Behavior::Hang => std::future::pending().await,
    }
}
