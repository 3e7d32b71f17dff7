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

use super::hosts::Hosts;
use super::request_check::{self, SignedHost};
use super::response;

/// The S3 API as a service for hyper and axum. It accepts any body, and is infallible.
#[derive(Clone, Debug)]
pub struct S3Http {
    pub(crate) inner: S3Service,
    pub(crate) hosts: Arc<Hosts>,
    pub(crate) signed_host: SignedHost,
}

impl S3Http {
    async fn respond(self, request: Request<Body>) -> Response<Body> {
        let (mut parts, body) = request.into_parts();
        let method = parts.method.clone();
        if method == Method::OPTIONS && parts.headers.contains_key(ORIGIN) {
            return response::finish(response::preflight(), &method, None);
        }
        let signed = match request_check::check(&mut parts, &self.hosts, self.signed_host) {
            Ok(signed) => signed,
            Err(error) => return response::finish(error_response(error), &method, None),
        };
        let response = match self.inner.call(Request::from_parts(parts, body)).await {
            Ok(response) => response,
            Err(error) => {
                tracing::error!(?error, "failed to write S3 response");
                internal_error()
            }
        };
        response::finish(response, &method, Some(signed))
    }
}

fn error_response(error: S3Error) -> Response<Body> {
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
