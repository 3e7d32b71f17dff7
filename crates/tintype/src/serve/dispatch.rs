//! Serves two protocols on one port: S3 requests go to the embedded store, all others to the API.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::http::header::{CONNECTION, EXPECT};
use axum::response::Response;
use opentelemetry::context::FutureExt;
use tintype_storage::Embedded;
use tower::ServiceExt;

use crate::telemetry;

/// Selects the API or the embedded store for each request.
#[derive(Clone)]
pub(crate) struct Dispatch {
    api: Router,
    embedded: Option<Arc<Embedded>>,
}

impl Dispatch {
    /// Without an embedded store, all requests go to the API.
    pub(crate) fn new(api: Router, embedded: Option<Arc<Embedded>>) -> Self {
        Self { api, embedded }
    }

    /// The response of the API or the embedded store.
    pub(crate) async fn respond(self, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let expects_continue = parts.headers.contains_key(EXPECT);
        let s3 = self
            .embedded
            .filter(|embedded| embedded.is_s3_request(&parts))
            .map(|embedded| embedded.service());
        let request = Request::from_parts(parts, body);
        let response = match s3 {
            // The store has a policy of its own: pages of every origin may read with a presigned URL.
            Some(service) => service.oneshot(request).await.map(|response| response.map(Body::new)),
            None => match telemetry::incoming(request.headers()) {
                Some(trace) => self.api.oneshot(request).with_context(trace).await,
                None => self.api.oneshot(request).await,
            },
        };
        let mut response = response.unwrap_or_else(|never: Infallible| match never {});
        // After an error response to `Expect: 100-continue`, a client such as boto3 does not send the body.
        // If the connection stayed open, hyper could read the start of the next request as that body.
        if expects_continue && !response.status().is_success() {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
