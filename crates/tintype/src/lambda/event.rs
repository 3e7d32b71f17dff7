//! Converts Lambda events to requests of the API, and removes the gateway's prefix from their paths.

use axum::body::Body;
use axum::http::Uri;
use axum::http::header::HOST;
use axum::http::uri::PathAndQuery;
use lambda_http::request::RequestContext;
use lambda_http::{Request, RequestExt};

/// The header in which a gateway passes the scheme of the client's request.
const FORWARDED_PROTO: &str = "x-forwarded-proto";

/// The URL under which a client reaches the API: `origin` followed by `prefix`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ApiBase {
    /// `https://host`.
    pub(crate) origin: String,
    /// The path in front of the API's own paths, `/prod` for example; may be empty.
    pub(crate) prefix: String,
}

/// The request for the API's router, and the URL under which the client reached the API.
pub(crate) fn request(event: Request) -> (axum::extract::Request, ApiBase) {
    let (path, prefix) = paths(&event);
    let base = ApiBase { origin: origin(&event), prefix };
    let query = event.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    let inner: Option<PathAndQuery> = format!("{path}{query}").parse().ok();
    let (mut parts, body) = event.into_parts();
    if let Some(inner) = inner {
        parts.uri = Uri::from(inner);
    }
    let body = match body {
        lambda_http::Body::Text(text) => Body::from(text),
        lambda_http::Body::Binary(bytes) => Body::from(bytes),
        _ => Body::empty(),
    };
    (axum::extract::Request::from_parts(parts, body), base)
}

/// The path within the API, and the prefix in front of it.
fn paths(event: &Request) -> (String, String) {
    let outer = outer_path(event);
    let proxied = event.path_parameters_ref().and_then(|parameters| parameters.first("proxy"));
    // The greedy path parameter has the path after the stage and the domain's base path mapping.
    if let Some(prefix) = proxied.and_then(|proxied| outer.strip_suffix(proxied)?.strip_suffix('/')) {
        let path = outer[prefix.len()..].to_owned();
        return (path, prefix.to_owned());
    }
    let stage = stage(event).filter(|stage| *stage != "$default").map(|stage| format!("/{stage}"));
    match stage {
        Some(stage) if outer == stage => ("/".to_owned(), stage),
        Some(stage) => match outer.strip_prefix(&stage).filter(|rest| rest.starts_with('/')) {
            Some(rest) => (rest.to_owned(), stage),
            None => (outer, String::new()),
        },
        None => (outer, String::new()),
    }
}

/// The complete path of the client's request.
fn outer_path(event: &Request) -> String {
    let in_context = match event.request_context_ref() {
        Some(RequestContext::ApiGatewayV1(context)) => context.path.clone(),
        _ => None,
    };
    let path = in_context.unwrap_or_else(|| event.raw_http_path().to_owned());
    if path.is_empty() { "/".to_owned() } else { path }
}

fn stage(event: &Request) -> Option<&str> {
    match event.request_context_ref()? {
        RequestContext::ApiGatewayV1(context) => context.stage.as_deref(),
        RequestContext::ApiGatewayV2(context) => context.stage.as_deref(),
        _ => None,
    }
}

/// The origin of the client's request. The gateway's domain name has precedence over the client's `host`
/// header.
fn origin(event: &Request) -> String {
    let domain = match event.request_context_ref() {
        Some(RequestContext::ApiGatewayV1(context)) => context.domain_name.as_deref(),
        Some(RequestContext::ApiGatewayV2(context)) => context.domain_name.as_deref(),
        _ => None,
    };
    let header = |name| event.headers().get(name).and_then(|value| value.to_str().ok());
    let host = domain.or_else(|| header(HOST.as_str())).unwrap_or("localhost");
    let scheme = if header(FORWARDED_PROTO) == Some("http") { "http" } else { "https" };
    format!("{scheme}://{host}")
}

#[cfg(test)]
mod tests;
