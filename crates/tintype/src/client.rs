//! A minimal HTTP client, built from crates that the server needs anyway.

use anyhow::{Context, Result, anyhow};
use axum::body::Bytes;
use http::{HeaderValue, Request, StatusCode, Uri, header, request};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tintype_core::causes;
use tintype_core::secret::Secret;

/// Maximum size of a response body, in bytes.
const MAX_BODY_BYTES: usize = 256 << 20;

/// A complete response.
pub(crate) struct Response {
    /// The status.
    pub(crate) status: StatusCode,
    /// The header `content-type`.
    pub(crate) content_type: Option<String>,
    /// The body.
    pub(crate) body: Bytes,
}

/// A client for `http` and `https`.
pub(crate) struct Client(legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

impl Client {
    /// A client that trusts the root certificates of this machine.
    ///
    /// # Errors
    /// If this machine has no root certificates.
    pub(crate) fn new() -> Result<Self> {
        let tls =
            HttpsConnectorBuilder::new().with_native_roots().context("failed to load root certificates")?;
        let connector = tls.https_or_http().enable_http1().build();
        Ok(Self(legacy::Client::builder(TokioExecutor::new()).build(connector)))
    }

    /// Sends a GET request, with the API key if there is one. There is no timeout.
    ///
    /// # Errors
    /// If the URL is invalid, the server cannot be reached, or the connection breaks.
    pub(crate) async fn get(&self, url: &str, key: Option<&Secret>) -> Result<Response> {
        self.send(Request::get(checked(url)?), key, Bytes::new()).await
    }

    /// Sends a POST request with a JSON body, which the server processes once however often it is sent with
    /// the same idempotency key. There is no timeout.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub(crate) async fn post(
        &self,
        url: &str,
        key: Option<&Secret>,
        body: &IdempotentBody,
    ) -> Result<Response> {
        let request = Request::post(checked(url)?)
            .header(header::CONTENT_TYPE, "application/json")
            .header("prefer", "respond-async")
            .header("idempotency-key", &body.idempotency_key);
        self.send(request, key, body.json.clone()).await
    }

    /// Sends a POST request without a body.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub(crate) async fn post_empty(&self, url: &str, key: Option<&Secret>) -> Result<Response> {
        self.send(Request::post(checked(url)?), key, Bytes::new()).await
    }

    async fn send(&self, request: request::Builder, key: Option<&Secret>, body: Bytes) -> Result<Response> {
        let mut request = request.header(header::USER_AGENT, concat!("tintype/", env!("CARGO_PKG_VERSION")));
        if let Some(key) = key {
            let bearer = HeaderValue::from_str(&format!("Bearer {}", key.expose()));
            request = request
                .header(header::AUTHORIZATION, bearer.context("the API key contains a control character")?);
        }
        let request = request.body(Full::new(body))?;
        let host = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        let response = self.0.request(request).await;
        // hyper's own message is only "client error (Connect)".
        let response = response.map_err(|error| anyhow!("cannot reach {host}: {}", causes::root(&error)))?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_BODY_BYTES).collect().await;
        let body =
            body.map_err(|error| anyhow!("failed to read the response of {host}: {error}"))?.to_bytes();
        let content_type = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        Ok(Response { status: head.status, content_type: content_type.map(str::to_owned), body })
    }
}

/// The body of a POST request that may be repeated.
pub(crate) struct IdempotentBody {
    /// Identifies the request.
    pub(crate) idempotency_key: String,
    /// The body.
    pub(crate) json: Bytes,
}

/// Parses a URL of the scheme `http` or `https`.
fn checked(url: &str) -> Result<Uri> {
    url.parse().ok().filter(has_host).with_context(|| format!("`{url}` is not an http:// or https:// URL"))
}

fn has_host(uri: &Uri) -> bool {
    matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some()
}
