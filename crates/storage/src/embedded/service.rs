//! The S3 API as an HTTP service.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::ORIGIN;
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body as _;
use s3s::service::S3Service;
use s3s::{Body, S3Error, S3Result, s3_error};

use super::body_error::{ObservedBody, Stalled};
use super::credentials::AccessKeys;
use super::form::FormUpload;
use super::hosts::Hosts;
use super::query_string::QueryString;
use super::request_check::{self, Authentication, SignedHost};
use super::{error_response, response, s3, signature_v2};

/// The S3 API as a service for hyper and axum. It accepts any body, and is infallible.
#[derive(Clone, Debug)]
pub struct S3Http {
    pub(crate) inner: S3Service,
    pub(crate) hosts: Arc<Hosts>,
    pub(crate) keys: Arc<AccessKeys>,
    pub(crate) signed_host: SignedHost,
    /// The public URL, without a slash at its end.
    pub(crate) endpoint: Arc<str>,
}

impl S3Http {
    async fn respond(self, request: Request<Body>, stalled: Stalled) -> Response<Body> {
        let (mut parts, body) = request.into_parts();
        let (method, path) = (parts.method.clone(), parts.uri.path().to_owned());
        let request_id = error_response::new_request_id();
        if method == Method::OPTIONS && parts.headers.contains_key(ORIGIN) {
            return response::finish(response::preflight(), &method, None);
        }
        let (mut response, signed) = match self.check(&mut parts, &body) {
            Ok(signed) => (self.call(signed, parts, body).await, Some(signed)),
            Err(error) => (to_response(error), None),
        };
        if stalled.get() {
            response = to_response(s3_error!(
                RequestTimeout,
                "The client stopped sending the body of the request, so the server closes the connection."
            ));
        }
        error_response::complete(&mut response, &path, &request_id);
        response::finish(response, &method, signed)
    }

    /// Prepares a request for the operations.
    fn check(&self, parts: &mut Parts, body: &Body) -> S3Result<Authentication> {
        if parts.method == Method::OPTIONS {
            return Err(s3_error!(InvalidRequest, "A CORS preflight request must have the header Origin."));
        }
        let signed = request_check::check(parts, &self.hosts, self.signed_host)?;
        request_check::check_length_of_xml(parts, &self.hosts, body.is_end_stream())?;
        if let Authentication::Link { expires_at } = signed
            && QueryString::of(&parts.uri).is_signed_v2()
        {
            signature_v2::verify(parts, &self.hosts, &self.keys, expires_at)?;
            parts.uri = s3::without_signature(std::mem::take(&mut parts.uri));
            s3::mark_as_verified(&mut parts.extensions);
        }
        Ok(signed)
    }

    async fn call(&self, signed: Authentication, parts: Parts, body: Body) -> Response<Body> {
        let Self { hosts, keys, inner: service, endpoint, .. } = self;
        if signed == Authentication::Form {
            let form = FormUpload { hosts, keys, service, endpoint };
            return form.respond(&parts, body).await.unwrap_or_else(to_response);
        }
        let is_attributes = parts.method == Method::GET && QueryString::of(&parts.uri).has("attributes");
        let response = service.call(Request::from_parts(parts, body)).await;
        let mut response = response.unwrap_or_else(|error| {
            tracing::error!(?error, "failed to write S3 response");
            internal_error()
        });
        if is_attributes {
            response::unquote_etag(&mut response);
        }
        response
    }
}

fn to_response(error: S3Error) -> Response<Body> {
    error.to_http_response().unwrap_or_else(|error| {
        tracing::error!(?error, "failed to write S3 error response");
        internal_error()
    })
}

fn internal_error() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response.headers_mut().insert(http::header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    response
}

impl<B> tower::Service<Request<B>> for S3Http
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let service = self.clone();
        let stalled = Stalled::default();
        let observed = stalled.clone();
        let request = request
            .map(|body| Body::http_body_unsync(ObservedBody { body: Box::pin(body), stalled: observed }));
        Box::pin(async move { Ok(service.respond(request, stalled).await) })
    }
}
