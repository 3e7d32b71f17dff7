//! Sends requests and follows redirects.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use rustls::RootCertStore;
use tokio::time::{Instant, timeout_at};

use crate::body::{BodyLimits, Response};
use crate::connection::{Connector, Driver};
use crate::error::OutboundError;
use crate::policy::Policy;
use crate::request::OutboundRequest;
use crate::resolver::{Resolver, SystemResolver};
use crate::target::Target;

/// The header `user-agent` of all requests. It does not tell the version.
const USER_AGENT: HeaderValue = HeaderValue::from_static("tintype");

/// A client for URLs that callers choose. Each request has a connection of its own.
pub struct Client {
    policy: Policy,
    connector: Connector,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl Client {
    /// A client with the system's resolver that trusts the root certificates of this machine.
    ///
    /// # Errors
    /// If this machine has no root certificates.
    pub fn new(policy: Policy) -> io::Result<Self> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let cause = found.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("no root certificates{cause}")));
        }
        Ok(Self::with_resolver(policy, Arc::new(SystemResolver::default()), roots))
    }

    /// A client with another resolver and other root certificates.
    pub fn with_resolver(policy: Policy, resolver: Arc<dyn Resolver>, roots: RootCertStore) -> Self {
        Self { policy, connector: Connector::new(resolver, roots) }
    }

    /// Sends a request, follows redirects, and returns the response once its headers are there, whatever its status is.
    ///
    /// # Errors
    /// [`OutboundError`], except [`OutboundError::Status`].
    pub async fn send(&self, request: OutboundRequest) -> Result<Response, OutboundError> {
        let deadline = Instant::now() + self.policy.total_timeout;
        let (response, driver) =
            timeout_at(deadline, self.follow(request)).await.unwrap_or(Err(OutboundError::TimedOut))?;
        let limits = BodyLimits { max_bytes: self.policy.max_response_bytes, deadline };
        Response::new(response, driver, limits)
    }

    async fn follow(
        &self,
        mut request: OutboundRequest,
    ) -> Result<(http::Response<Incoming>, Driver), OutboundError> {
        let mut target = Target::parse(&request.url, &self.policy)?;
        for _ in 0..=self.policy.max_redirects {
            let (response, driver) = self.exchange(&target, &request).await?;
            let Some(location) = redirect_location(&response) else { return Ok((response, driver)) };
            let next = target.redirect(location, &self.policy)?;
            request.redirect(response.status(), next.is_same_origin(&target));
            target = next;
        }
        Err(OutboundError::TooManyRedirects { limit: self.policy.max_redirects })
    }

    /// Sends the request to one target.
    async fn exchange(
        &self,
        target: &Target,
        request: &OutboundRequest,
    ) -> Result<(http::Response<Incoming>, Driver), OutboundError> {
        let mut connection = self.connector.connect(target, &self.policy).await?;
        let message = message(target, request)?;
        let response = connection.sender.send_request(message).await.map_err(|error| {
            match error.is_parse_too_large() {
                true => OutboundError::HeadersTooLarge,
                false => OutboundError::Connection(error.into()),
            }
        })?;
        Ok((response, connection.driver))
    }
}

fn message(target: &Target, request: &OutboundRequest) -> Result<http::Request<Full<Bytes>>, OutboundError> {
    let invalid = |error: http::Error| OutboundError::Connection(error.into());
    let mut message = http::Request::builder()
        .method(&request.method)
        .uri(target.path())
        .header(header::HOST, target.authority())
        .body(Full::new(request.body.clone()))
        .map_err(invalid)?;
    let headers = message.headers_mut();
    headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
    headers.extend(request.headers.clone());
    headers.insert(header::USER_AGENT, USER_AGENT);
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    Ok(message)
}

/// The `Location` of a redirect.
fn redirect_location(response: &http::Response<Incoming>) -> Option<&HeaderValue> {
    let is_redirect = matches!(
        response.status(),
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    );
    response.headers().get(header::LOCATION).filter(|_| is_redirect)
}
