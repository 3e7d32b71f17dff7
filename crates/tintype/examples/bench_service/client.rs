//! An HTTP client that keeps its connections open and reports lost connections.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use axum::body::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// The connection could not be opened, or broke. It is unknown whether the server has executed the request.
#[derive(Debug, thiserror::Error)]
#[error("connection to the server lost")]
pub(crate) struct ConnectionLost;

/// A request to the API.
#[derive(Clone, Debug)]
pub(crate) struct ApiRequest {
    method: Method,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl ApiRequest {
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self { method: Method::GET, path: path.into(), headers: Vec::new(), body: String::new() }
    }

    pub(crate) fn post(path: impl Into<String>, body: &Value) -> Self {
        let headers = vec![("content-type", "application/json".to_owned())];
        Self { method: Method::POST, path: path.into(), headers, body: body.to_string() }
    }

    /// Generates an image; the body has the parameters.
    pub(crate) fn create_image(body: &Value) -> Self {
        Self::post("/v1/images", body)
    }

    /// With this API key; without any if it is empty.
    pub(crate) fn key(self, key: &str) -> Self {
        if key.is_empty() { self } else { self.header("authorization", format!("Bearer {key}")) }
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn into_http(self, address: SocketAddr) -> Request<Full<Bytes>> {
        let mut request = Request::builder().method(self.method).uri(self.path);
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        let request = request.header("host", address.to_string()).body(Full::from(self.body));
        request.expect("the benchmark's requests are well-formed")
    }
}

/// A complete response.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

impl Response {
    /// The body as JSON; null if it is not JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// Connections to one server.
pub(crate) struct Client {
    address: SocketAddr,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, idle: Mutex::default() }
    }

    /// Opens connections in advance.
    pub(crate) async fn warm_up(&self, connections: usize) -> Result<(), ConnectionLost> {
        for _ in 0..connections {
            let connection = self.connect().await?;
            self.release(connection);
        }
        Ok(())
    }

    /// Sends a request over an idle or a new connection.
    pub(crate) async fn send(&self, request: ApiRequest) -> Result<Response, ConnectionLost> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        connection.ready().await.map_err(|_| ConnectionLost)?;
        let response =
            connection.send_request(request.into_http(self.address)).await.map_err(|_| ConnectionLost)?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(|_| ConnectionLost)?.to_bytes();
        self.release(connection);
        Ok(Response { status: head.status, body })
    }

    fn release(&self, connection: SendRequest<Full<Bytes>>) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, ConnectionLost> {
        let stream = TcpStream::connect(self.address).await.map_err(|_| ConnectionLost)?;
        stream.set_nodelay(true).map_err(|_| ConnectionLost)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|_| ConnectionLost)?;
        tokio::spawn(connection);
        Ok(sender)
    }
}
