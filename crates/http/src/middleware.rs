//! The outermost layer: request id, log line, metrics, default headers, and a response if a handler panics.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use tintype_core::causes::causes;
use tintype_service::{HttpExchange, Service};
use tracing::Instrument;

use crate::openai;
use crate::problem::Problem;
use crate::request_id::{self, RequestId};

/// The maximum number of a path's characters in the log.
const MAX_LOGGED_PATH_CHARS: usize = 200;

/// Handles one HTTP exchange; see the module.
pub(crate) async fn wrap_exchange(
    State(service): State<Arc<Service>>,
    request: Request,
    next: Next,
) -> Response {
    let id = RequestId::of(request.headers());
    // At the level `error`, so that no log filter drops the id.
    let span = tracing::error_span!("request", id = id.as_str());
    let exchange = span.in_scope(|| exchange_span(&request, &id));
    let started = Instant::now();
    let method = request.method().clone();
    let matched = request.extensions().get::<MatchedPath>().map(|route| route.as_str().to_owned());
    let response = run_handler(id, request, next).instrument(exchange.clone()).instrument(span).await;
    exchange.record("http.response.status_code", i64::from(response.status().as_u16()));
    if response.status().is_server_error() {
        exchange.record("otel.status_code", "ERROR");
    }
    // Method and path of the client are not used as labels, which must be few.
    let (method, route) = (method_label(&method).to_owned(), matched.unwrap_or_else(|| "none".to_owned()));
    service.count(&HttpExchange { method, route, status: response.status().as_u16() }, started.elapsed());
    response
}

/// The trace span of an exchange, with OpenTelemetry's attribute names. The log does not show it.
fn exchange_span(request: &Request, id: &RequestId) -> tracing::Span {
    let method = method_label(request.method());
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str);
    tracing::trace_span!(
        "exchange",
        "otel.name" = format_args!("{method} {route}"),
        "otel.kind" = "server",
        "otel.status_code" = tracing::field::Empty,
        "http.request.method" = method,
        "http.route" = route,
        "http.response.status_code" = tracing::field::Empty,
        "tintype.request_id" = id.as_str(),
    )
}

/// The name of a standard method, `other` for any other method.
fn method_label(method: &Method) -> &'static str {
    let methods = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"];
    methods.into_iter().find(|name| *name == method.as_str()).unwrap_or("other")
}

/// The error response in place of a response that exceeds the size limit of the deployment; `headers` are
/// those of the original.
pub fn response_too_large(headers: &HeaderMap) -> Response {
    let id = RequestId::of(headers);
    let mut response = Problem::ResponseTooLarge.into_response();
    *response.body_mut() = Problem::ResponseTooLarge.body(&id);
    set_default_headers(response.headers_mut(), &id);
    response
}

async fn run_handler(id: RequestId, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    let is_openai_client = openai::is_openai_client(request.headers());
    let has_route = request.extensions().get::<MatchedPath>().is_some();
    // Without the query, which has the prompt.
    let path: String = request.uri().path().chars().take(MAX_LOGGED_PATH_CHARS).collect();
    // No state of the request is used after a panic.
    let result = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    let mut response = result.unwrap_or_else(|_| Problem::Internal.into_response());
    if let Some(problem) = response.extensions_mut().remove::<Arc<Problem>>() {
        if let Some(cause) = problem.cause() {
            tracing::error!(error = %causes(cause), "failed to process request");
        }
        let is_unknown = !has_route || matches!(*problem, Problem::UnknownPath(_));
        let dialect = if is_openai_client && is_unknown { Dialect::OpenAi } else { Dialect::of(&path) };
        write_problem(&mut response, &problem, dialect, &id);
    }
    set_default_headers(response.headers_mut(), &id);
    let (status, milliseconds) = (response.status().as_u16(), started.elapsed().as_millis() as u64);
    tracing::info!(%method, path, status, milliseconds, "request completed");
    response
}

/// The format of an error response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Problem documents.
    Native,
    /// OpenAI's error objects.
    OpenAi,
}

impl Dialect {
    /// The dialect of a path.
    pub(crate) fn of(path: &str) -> Self {
        if openai::is_openai_path(path) { Self::OpenAi } else { Self::Native }
    }
}

/// Writes a problem into its response, in the format of the dialect.
pub(crate) fn write_problem(response: &mut Response, problem: &Problem, dialect: Dialect, id: &RequestId) {
    match dialect {
        Dialect::OpenAi => {
            *response.status_mut() = problem.openai_status();
            problem.openai_headers(response.headers_mut());
            *response.body_mut() = problem.openai_body().into();
        }
        Dialect::Native => *response.body_mut() = problem.body(id),
    }
}

/// Sets the request id, and the default headers that the handler did not set.
pub(crate) fn set_default_headers(headers: &mut HeaderMap, id: &RequestId) {
    headers.insert(request_id::HEADER, id.header());
    let defaults = [
        // Responses carry presigned URLs, and a cached response would replace a generation.
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    ];
    for (name, value) in defaults {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}
