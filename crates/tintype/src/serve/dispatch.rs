//! One port for two protocols: what is S3's goes to the embedded store, whatever its path; the rest to the API.

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

/// Decides by request which of the two answers.
#[derive(Clone)]
pub(crate) struct Dispatch {
    api: Router,
    embedded: Option<Arc<Embedded>>,
}

impl Dispatch {
    /// Without an embedded store everything is the API's.
    pub(crate) fn new(api: Router, embedded: Option<Arc<Embedded>>) -> Self {
        Self { api, embedded }
    }

    /// Answers a request.
    pub(crate) async fn answer(self, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let expects = parts.headers.contains_key(EXPECT);
        let s3 = self
            .embedded
            .filter(|embedded| embedded.is_s3_request(&parts))
            .map(|embedded| embedded.service());
        let request = Request::from_parts(parts, body);
        let answer = match s3 {
            Some(service) => service.oneshot(request).await.map(|response| response.map(Body::new)),
            None => match telemetry::incoming(request.headers()) {
                Some(trace) => self.api.oneshot(request).with_context(trace).await,
                None => self.api.oneshot(request).await,
            },
        };
        let mut answer = answer.unwrap_or_else(|never: Infallible| match never {});
        // A client that asked `Expect: 100-continue` and was refused does not send its body (boto3 does not). On a
        // connection that stays open, hyper could take the beginning of the next request for that body.
        if expects && !answer.status().is_success() {
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }
}
