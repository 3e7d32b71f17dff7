//! Errors of connections and of requests that no handler receives.

use std::time::Duration;

use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};

use crate::middleware;
use crate::problem::Problem;
use crate::request_id::RequestId;

/// Why the server refuses a request before a handler receives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionProblem {
    /// The URL has this byte, which a URL must not have.
    InvalidUrlByte(u8),
    /// The request line or a header is not HTTP.
    MalformedRequest,
    /// The URL is longer than 65,534 bytes.
    UrlTooLong,
    /// The request has more than 100 headers, or its headers are larger than the read buffer.
    HeadersTooLarge,
    /// The headers did not arrive within this time.
    HeaderTimeout(Duration),
    /// The server has its maximum number of connections.
    TooManyConnections,
}

impl ConnectionProblem {
    /// The reason in the metrics.
    pub fn reason(self) -> &'static str {
        match self {
            Self::InvalidUrlByte(_) => "invalid_url",
            Self::MalformedRequest => "malformed_request",
            Self::UrlTooLong => "url_too_long",
            Self::HeadersTooLarge => "headers_too_large",
            Self::HeaderTimeout(_) => "header_timeout",
            Self::TooManyConnections => "too_many_connections",
        }
    }
}

/// The response to a refused request in the format of the path's dialect, with a request id. Path and headers
/// are empty if they could not be read. One line in the log has the same id.
pub fn refuse(problem: ConnectionProblem, path: &str, headers: &HeaderMap) -> Response {
    let id = RequestId::of(headers);
    let reason = problem;
    let problem = Problem::Connection(problem);
    let mut response = problem.clone().into_response();
    middleware::write_problem(&mut response, &problem, middleware::Dialect::of(path), &id);
    middleware::set_default_headers(response.headers_mut(), &id);
    let status = response.status().as_u16();
    // At the level `error`, so that no log filter drops the id.
    let span = tracing::error_span!("request", id = id.as_str());
    span.in_scope(|| tracing::info!(path, status, ?reason, "request rejected"));
    response
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use axum::http::HeaderValue;
    use serde_json::Value;

    use super::*;

    async fn json(response: Response) -> Value {
        let body = to_bytes(response.into_body(), 1 << 20).await.expect("a body");
        serde_json::from_slice(&body).expect("JSON")
    }

    #[tokio::test]
    async fn every_refusal_is_a_problem_with_a_request_id() {
        for (problem, status, text) in [
            (ConnectionProblem::InvalidUrlByte(b'"'), 400, "%22"),
            (ConnectionProblem::InvalidUrlByte(0xe9), 400, "%E9"),
            (ConnectionProblem::MalformedRequest, 400, "header"),
            (ConnectionProblem::UrlTooLong, 414, "65,534"),
            (ConnectionProblem::HeadersTooLarge, 431, "100"),
            (ConnectionProblem::HeaderTimeout(Duration::from_secs(30)), 408, "30 s"),
            (ConnectionProblem::TooManyConnections, 503, "max_connections"),
        ] {
            let response = refuse(problem, "", &HeaderMap::new());
            assert_eq!(response.status(), status);
            assert_eq!(response.headers()["content-type"], "application/problem+json");
            let id = response.headers()["x-request-id"].clone();
            let body = json(response).await;
            assert_eq!(
                (&body["status"], &body["request_id"]),
                (&status.into(), &id.to_str().expect("text").into())
            );
            assert!(body["detail"].as_str().expect("a detail").contains(text), "{body}");
        }
    }

    #[tokio::test]
    async fn a_refusal_has_the_format_of_the_dialect() {
        let headers = HeaderMap::from_iter([(crate::request_id::HEADER, HeaderValue::from_static("mine"))]);
        let response = refuse(ConnectionProblem::TooManyConnections, "/v1/images/generations", &headers);
        assert_eq!(response.headers()["x-request-id"], "mine");
        assert_eq!(
            (&response.headers()["x-should-retry"], response.status().as_u16()),
            (&"true".parse().expect("a value"), 503)
        );
        assert_eq!(json(response).await["error"]["code"], "too_many_connections");
    }
}
