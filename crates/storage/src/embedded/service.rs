//! The S3 API as an HTTP service.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::ORIGIN;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use s3s::service::S3Service;
use s3s::{Body, S3Error};

use super::credentials::AccessKeys;
use super::hosts::Hosts;
use super::query_string::QueryString;
use super::request_check::{self, SignedHost};
use super::{error_response, response, signature_v2};

/// The S3 API as a service for hyper and axum. It accepts any body, and is infallible.
#[derive(Clone, Debug)]
pub struct S3Http {
    pub(crate) inner: S3Service,
    pub(crate) hosts: Arc<Hosts>,
    pub(crate) keys: Arc<AccessKeys>,
    pub(crate) signed_host: SignedHost,
}

impl S3Http {
    async fn respond(self, request: Request<Body>) -> Response<Body> {
        let (mut parts, body) = request.into_parts();
        let (method, path) = (parts.method.clone(), parts.uri.path().to_owned());
        let request_id = error_response::new_request_id();
        if method == Method::OPTIONS && parts.headers.contains_key(ORIGIN) {
            return response::finish(response::preflight(), &method, None);
        }
        let checked = request_check::check(&mut parts, &self.hosts, self.signed_host).and_then(|signed| {
            if QueryString::of(&parts.uri).is_signed_v2() {
                signature_v2::verify(&parts, &self.hosts, &self.keys)?;
            }
            Ok(signed)
        });
        let signed = match checked {
            Ok(signed) => signed,
            Err(error) => {
                let mut response = to_response(error);
                error_response::complete(&mut response, &path, &request_id);
                return response::finish(response, &method, None);
            }
        };
        let mut response = match self.inner.call(Request::from_parts(parts, body)).await {
            Ok(response) => response,
            Err(error) => {
                tracing::error!(?error, "failed to write S3 response");
                internal_error()
            }
        };
        error_response::complete(&mut response, &path, &request_id);
        response::finish(response, &method, Some(signed))
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
        let request = request.map(Body::http_body_unsync);
        Box::pin(async move { Ok(service.respond(request).await) })
    }
}
