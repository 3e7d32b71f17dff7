//! Converts Lambda events to requests of the API, and removes the gateway's prefix from their paths.

use axum::body::Body;
use axum::http::Uri;
use axum::http::header::HOST;
use axum::http::uri::PathAndQuery;
use lambda_http::request::RequestContext;
use lambda_http::{Request, RequestExt};
use percent_encoding::percent_decode_str;
use tintype_http::RESERVED;

use super::payload::{self, FORWARDED_PROTO};

/// The URL under which a client reaches the API: `origin` followed by `prefix`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ApiBase {
    /// `https://host`.
    pub(crate) origin: String,
    /// The path in front of the API's own paths, `/prod` for example; may be empty.
    pub(crate) prefix: String,
}

/// The request for the API's router, and the URL under which the client reached the API.
pub(crate) fn request(mut event: Request) -> (axum::extract::Request, ApiBase) {
    payload::restore_url(event.headers_mut());
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

/// The path within the API, and the prefix in front of it in the client's URL.
fn paths(event: &Request) -> (String, String) {
    let outer = outer_path(event);
    let prefix_length = match route(event).and_then(|route| route_prefix(event, &outer, route)) {
        Some(length) => length,
        None => stage_prefix(event, &outer),
    };
    let (prefix, path) = outer.split_at(prefix_length);
    let path = if path.is_empty() { "/" } else { path };
    // In the events of HTTP APIs, a path begins with the stage also if the client's URL does not: a custom
    // domain leads to one stage.
    let is_hidden = matches!(event.request_context_ref(), Some(RequestContext::ApiGatewayV2(_)))
        && !is_gateway_domain(event)
        && prefix.strip_prefix('/') == stage(event);
    (path.to_owned(), if is_hidden { String::new() } else { prefix.to_owned() })
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

/// The route that the gateway selected, as the template of a path. A default route has none.
fn route(event: &Request) -> Option<&str> {
    let route = match event.request_context_ref()? {
        RequestContext::ApiGatewayV1(context) => context.resource_path.as_deref()?,
        // The method and the template.
        RequestContext::ApiGatewayV2(context) => context.route_key.as_deref()?.split_once(' ')?.1,
        _ => return None,
    };
    route.starts_with('/').then_some(route)
}

/// The length of the prefix in front of a route: a stage, the base path mapping of a custom domain, or
/// nothing. None if the route does not match the end of the path.
fn route_prefix(event: &Request, outer: &str, route: &str) -> Option<usize> {
    let segments = |path: &str| -> Vec<String> {
        let decode = |segment: &str| percent_decode_str(segment).decode_utf8_lossy().into_owned();
        path.split('/').filter(|segment| !segment.is_empty()).map(decode).collect()
    };
    let mut expected: Vec<Option<String>> = Vec::new();
    for segment in segments(route) {
        let parameter = segment.strip_prefix('{').and_then(|name| name.strip_suffix('}'));
        match parameter.map(|name| name.strip_suffix('+').ok_or(name)) {
            None => expected.push(Some(segment)),
            Some(Err(_)) => expected.push(None),
            // A greedy parameter stands for the rest of the path.
            Some(Ok(name)) => {
                let rest = event.path_parameters_ref()?.first(name)?;
                expected.extend(segments(rest).into_iter().map(Some));
            }
        }
    }
    let found = segments(outer);
    let start = found.len().checked_sub(expected.len())?;
    let is_match = found[start..]
        .iter()
        .zip(&expected)
        .all(|(found, expected)| expected.as_ref().is_none_or(|expected| expected == found));
    if !is_match {
        return None;
    }
    // The position of the slash in front of the segment.
    let mut slashes = outer
        .char_indices()
        .filter(|(at, character)| *character == '/' && outer[at + 1..].starts_with(|next: char| next != '/'));
    match slashes.nth(start) {
        Some((at, _)) => Some(at),
        None => Some(outer.trim_end_matches('/').len()),
    }
}

/// The length of the stage at the start of a path. A gateway's own domain always has it, a custom domain only
/// if the rest is one of the API's paths.
fn stage_prefix(event: &Request, outer: &str) -> usize {
    let Some(stage) = stage(event).filter(|stage| *stage != "$default") else { return 0 };
    let rest = outer.strip_prefix('/').and_then(|path| path.strip_prefix(stage));
    let Some(rest) = rest.filter(|rest| rest.is_empty() || rest.starts_with('/')) else { return 0 };
    let first = rest.split('/').find(|segment| !segment.is_empty());
    let is_stage = is_gateway_domain(event) || first.is_none_or(|first| RESERVED.contains(&first));
    if is_stage { outer.len() - rest.len() } else { 0 }
}

fn stage(event: &Request) -> Option<&str> {
    match event.request_context_ref()? {
        RequestContext::ApiGatewayV1(context) => context.stage.as_deref(),
        RequestContext::ApiGatewayV2(context) => context.stage.as_deref(),
        _ => None,
    }
}

/// The domain name of the gateway, under which the client sent the request.
fn domain(event: &Request) -> Option<&str> {
    match event.request_context_ref()? {
        RequestContext::ApiGatewayV1(context) => context.domain_name.as_deref(),
        RequestContext::ApiGatewayV2(context) => context.domain_name.as_deref(),
        _ => None,
    }
}

/// Whether the client used the gateway's own domain, not a custom one.
fn is_gateway_domain(event: &Request) -> bool {
    domain(event).is_some_and(|domain| domain.contains(".execute-api."))
}

/// The origin of the client's request. The gateway's domain name has precedence over the client's `host`
/// header.
fn origin(event: &Request) -> String {
    let header = |name| event.headers().get(name).and_then(|value| value.to_str().ok());
    let host = domain(event).or_else(|| header(HOST)).unwrap_or("localhost");
    let scheme = if header(FORWARDED_PROTO) == Some("http") { "http" } else { "https" };
    format!("{scheme}://{host}")
}

#[cfg(test)]
mod tests;
