//! A client that keeps its connections open, and says when a server is gone.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use axum::body::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// The connection broke, or there is none to be had: whether the server did what it was asked nobody knows.
#[derive(Debug, thiserror::Error)]
#[error("the server is gone")]
pub(crate) struct Gone;

/// What a server is asked.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    method: Method,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl Ask {
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self { method: Method::GET, path: path.into(), headers: Vec::new(), body: String::new() }
    }

    pub(crate) fn post(path: impl Into<String>, body: &Value) -> Self {
        let headers = vec![("content-type", "application/json".to_owned())];
        Self { method: Method::POST, path: path.into(), headers, body: body.to_string() }
    }

    /// A picture, from these members.
    pub(crate) fn picture(body: &Value) -> Self {
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

    fn request(self, address: SocketAddr) -> Request<Full<Bytes>> {
        let mut request = Request::builder().method(self.method).uri(self.path);
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        let request = request.header("host", address.to_string()).body(Full::from(self.body));
        request.expect("the bench writes well-formed requests")
    }
}

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

impl Answer {
    /// The body as JSON; null if it is none.
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

    /// Opens so many connections beforehand.
    pub(crate) async fn warm_up(&self, connections: usize) -> Result<(), Gone> {
        for _ in 0..connections {
            let connection = self.connect().await?;
            self.put_back(connection);
        }
        Ok(())
    }

    /// Asks over a connection of its own, or one that nobody else needs.
    pub(crate) async fn send(&self, ask: Ask) -> Result<Answer, Gone> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        connection.ready().await.map_err(|_| Gone)?;
        let answer = connection.send_request(ask.request(self.address)).await.map_err(|_| Gone)?;
        let (head, body) = answer.into_parts();
        let body = body.collect().await.map_err(|_| Gone)?.to_bytes();
        self.put_back(connection);
        Ok(Answer { status: head.status, body })
    }

    fn put_back(&self, connection: SendRequest<Full<Bytes>>) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Gone> {
        let stream = TcpStream::connect(self.address).await.map_err(|_| Gone)?;
        stream.set_nodelay(true).map_err(|_| Gone)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|_| Gone)?;
        tokio::spawn(connection);
        Ok(sender)
    }
}
