//! Just enough of an HTTP client, from parts that the binary has anyway.

use std::error::Error;

use anyhow::{Context, Result, anyhow};
use axum::body::Bytes;
use http::{HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tintype_core::secret::Secret;

/// Largest answer that is read.
const MAX_BYTES: usize = 256 << 20;

/// An answer, read to its end.
pub(crate) struct Answer {
    /// Its status.
    pub(crate) status: StatusCode,
    /// Its media type.
    pub(crate) content_type: Option<String>,
    /// Its body.
    pub(crate) body: Bytes,
}

/// A client for `http` and `https`.
pub(crate) struct Client(legacy::Client<HttpsConnector<HttpConnector>, Empty<Bytes>>);

impl Client {
    /// A client that trusts whom this machine trusts.
    ///
    /// # Errors
    /// When this machine has no certificates.
    pub(crate) fn new() -> Result<Self> {
        let tls = HttpsConnectorBuilder::new().with_native_roots().context("no root certificates")?;
        let connector = tls.https_or_http().enable_http1().build();
        Ok(Self(legacy::Client::builder(TokioExecutor::new()).build(connector)))
    }

    /// Asks for this URL, for as long as the answer takes, and shows the key if there is one.
    ///
    /// # Errors
    /// When it is no URL, or nobody answers there.
    pub(crate) async fn get(&self, url: &str, key: Option<&Secret>) -> Result<Answer> {
        let uri: Uri =
            url.parse().ok().filter(has_host).with_context(|| format!("`{url}` is no http(s) URL"))?;
        let place = uri.authority().map(ToString::to_string).unwrap_or_default();
        let mut request =
            Request::get(uri).header(header::USER_AGENT, concat!("tintype/", env!("CARGO_PKG_VERSION")));
        if let Some(key) = key {
            let bearer = HeaderValue::from_str(&format!("Bearer {}", key.expose()));
            request = request
                .header(header::AUTHORIZATION, bearer.context("the key has a control character in it")?);
        }
        let response = self.0.request(request.body(Empty::new())?).await;
        let response = response.map_err(|error| anyhow!("cannot reach {place}: {}", root_cause(&error)))?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_BYTES).collect().await;
        let body = body.map_err(|error| anyhow!("the answer of {place} broke off: {error}"))?.to_bytes();
        let content_type = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        Ok(Answer { status: head.status, content_type: content_type.map(str::to_owned), body })
    }
}

fn has_host(uri: &Uri) -> bool {
    matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some()
}

/// hyper's own message is "client error (Connect)"; what happened is at the end of the chain.
fn root_cause(mut error: &dyn Error) -> String {
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
