//! Posting to a collector.

use anyhow::{Context, Result};
use async_trait::async_trait;
use axum::body::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry_http::{HttpClient, HttpError};
use tokio::runtime::Handle;

/// A collector's answer is a few bytes.
const MAX_ANSWER: usize = 1 << 20;

/// Sends also from OpenTelemetry's own thread, which is none of tokio's.
#[derive(Debug)]
pub(super) struct Sender {
    client: legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    runtime: Handle,
}

impl Sender {
    /// # Errors
    /// When this machine has no certificates.
    pub(super) fn new(runtime: Handle) -> Result<Self> {
        let tls = HttpsConnectorBuilder::new().with_native_roots().context("no root certificates")?;
        let connector = tls.https_or_http().enable_http1().build();
        Ok(Self { client: legacy::Client::builder(TokioExecutor::new()).build(connector), runtime })
    }
}

#[async_trait]
impl HttpClient for Sender {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (mut head, body) = request.into_parts();
        head.headers.entry(header::USER_AGENT).or_insert(HeaderValue::from_static("tintype"));
        let answered = self.client.request(Request::from_parts(head, Full::new(body)));
        let sent = self.runtime.spawn(async move {
            let (head, body) = answered.await?.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await?.to_bytes();
            Ok::<_, HttpError>(Response::from_parts(head, body))
        });
        sent.await?
    }
}
