//! HTTP client for collectors.

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

/// Maximum size of a collector's response body, in bytes.
const MAX_RESPONSE_BYTES: usize = 1 << 20;

/// Sends requests on a tokio runtime, also when called from OpenTelemetry's own thread.
#[derive(Debug)]
pub(super) struct Sender {
    client: legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    runtime: Handle,
}

impl Sender {
    /// A client whose requests run on `runtime`.
    ///
    /// # Errors
    /// If this machine has no root certificates.
    pub(super) fn new(runtime: Handle) -> Result<Self> {
        let tls =
            HttpsConnectorBuilder::new().with_native_roots().context("failed to load root certificates")?;
        let connector = tls.https_or_http().enable_http1().build();
        Ok(Self { client: legacy::Client::builder(TokioExecutor::new()).build(connector), runtime })
    }
}

#[async_trait]
impl HttpClient for Sender {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (mut head, body) = request.into_parts();
        head.headers.entry(header::USER_AGENT).or_insert(HeaderValue::from_static("tintype"));
        let response = self.client.request(Request::from_parts(head, Full::new(body)));
        let exchange = self.runtime.spawn(async move {
            let (head, body) = response.await?.into_parts();
            let body = Limited::new(body, MAX_RESPONSE_BYTES).collect().await?.to_bytes();
            Ok::<_, HttpError>(Response::from_parts(head, body))
        });
        exchange.await?
    }
}
