//! Reads the events of the supported gateways, and refuses all others with one clear error.
//!
//! `lambda_http` panics at events that its URL and base64 parsers reject, and its own error names gateways
//! that tintype does not support. So the event is checked before that crate converts it.

use std::fmt;

use axum::http::HeaderMap;
use axum::http::header::{HOST, HeaderName, HeaderValue};
use lambda_http::lambda_runtime::Diagnostic;
use lambda_http::request::LambdaRequest;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::Value;

/// The header in which a gateway passes the scheme of the client's request.
pub(super) const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// The headers of the client's URL, and their names during the conversion.
const HIDDEN: [(HeaderName, HeaderName); 2] = [
    (HOST, HeaderName::from_static("x-tintype-host")),
    (FORWARDED_PROTO, HeaderName::from_static("x-tintype-forwarded-proto")),
];
/// The characters that a query must not have.
const NOT_IN_QUERY: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');
/// The characters that a path must not have.
const NOT_IN_PATH: &AsciiSet = &NOT_IN_QUERY.add(b'?');

/// Why an event is not answered with an HTTP response.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EventError {
    /// The event is not a request from a supported gateway.
    #[error(
        "unsupported event ({0}): this function answers HTTP requests from Amazon API Gateway (REST APIs and HTTP \
         APIs with Lambda proxy integration) and from Lambda function URLs"
    )]
    NotHttp(&'static str),
    /// The event says that its body is base64, and it is not.
    #[error("invalid event: `isBase64Encoded` is true, but `body` is not base64")]
    InvalidBase64,
}

impl EventError {
    /// The type of the error in the function's result.
    fn name(self) -> &'static str {
        match self {
            Self::NotHttp(_) => "UnsupportedEvent",
            Self::InvalidBase64 => "InvalidEvent",
        }
    }
}

/// The Lambda runtime logs errors in this form.
impl fmt::Debug for EventError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl From<EventError> for Diagnostic {
    fn from(error: EventError) -> Self {
        Self { error_type: error.name().to_owned(), error_message: error.to_string() }
    }
}

/// Reads an event.
///
/// # Errors
/// [`EventError`] for every event that is not a request from a supported gateway.
pub(crate) fn read(event: Value) -> Result<LambdaRequest, EventError> {
    if let Some(source) = unsupported_source(&event) {
        return Err(EventError::NotHttp(source));
    }
    let request = serde_json::from_value(event);
    let mut request = request.map_err(|_| EventError::NotHttp("not a request from a gateway"))?;
    match &mut request {
        LambdaRequest::ApiGatewayV1(event) => {
            event.path = event.path.as_deref().map(valid_path);
            event.request_context.path = event.request_context.path.as_deref().map(valid_path);
            event.body = plain_base64(event.body.take(), event.is_base64_encoded)?;
            hide_url(&mut event.multi_value_headers);
            hide_url(&mut event.headers);
        }
        LambdaRequest::ApiGatewayV2(event) => {
            event.raw_path = event.raw_path.as_deref().map(valid_path);
            event.raw_query_string = event
                .raw_query_string
                .as_deref()
                .map(|query| utf8_percent_encode(query, NOT_IN_QUERY).to_string());
            event.body = plain_base64(event.body.take(), event.is_base64_encoded)?;
            hide_url(&mut event.headers);
        }
        _ => return Err(EventError::NotHttp("not a request from a supported gateway")),
    }
    Ok(request)
}

/// The source of an event, if it is known not to be a supported gateway.
fn unsupported_source(event: &Value) -> Option<&'static str> {
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    if let Some(record) = event.get("Records").and_then(|records| records.get(0)) {
        let source = text(record, "eventSource").or_else(|| text(record, "EventSource"));
        return Some(match source.as_deref() {
            Some("aws:sqs") => "a message of Amazon SQS",
            Some("aws:sns") => "a notification of Amazon SNS",
            Some("aws:s3") => "a notification of Amazon S3",
            _ => "records of a stream or queue",
        });
    }
    if event.get("detail-type").is_some() {
        return Some("an event of Amazon EventBridge, for example a schedule");
    }
    let Some(context) = event.get("requestContext") else {
        return Some(match event.get("type").and_then(Value::as_str) {
            Some("REQUEST" | "TOKEN") => "a request to a Lambda authorizer",
            _ => "not a request from a gateway, for example a test event of the console",
        });
    };
    if context.get("elb").is_some() {
        return Some("a request from an Application Load Balancer");
    }
    if context.get("serviceNetworkArn").is_some() {
        return Some("a request from Amazon VPC Lattice");
    }
    if context.get("connectionId").is_some() {
        return Some("a message of a WebSocket API");
    }
    (event.get("type").and_then(Value::as_str) == Some("REQUEST"))
        .then_some("a request to a Lambda authorizer")
}

/// An absolute path whose other characters are encoded.
fn valid_path(path: &str) -> String {
    let path = utf8_percent_encode(path, NOT_IN_PATH);
    let path = path.to_string();
    if path.is_empty() || path.starts_with('/') { path } else { format!("/{path}") }
}

/// The body in the strict form of base64 with padding, if it is encoded.
fn plain_base64(body: Option<String>, is_encoded: bool) -> Result<Option<String>, EventError> {
    match body {
        Some(body) if is_encoded => {
            let bytes = base64_simd::forgiving_decode_to_vec(body.as_bytes());
            let bytes = bytes.map_err(|_| EventError::InvalidBase64)?;
            Ok(Some(base64_simd::STANDARD.encode_to_string(bytes)))
        }
        body => Ok(body),
    }
}

/// Renames the headers of the client's URL, because the conversion panics at unusual values of them.
fn hide_url(headers: &mut HeaderMap) {
    for (name, hidden) in HIDDEN {
        headers.remove(&hidden);
        if let Some(value) = headers.remove(&name) {
            headers.insert(hidden, value);
        }
    }
    // Otherwise the conversion uses the domain name of the event.
    headers.insert(HOST, HeaderValue::from_static("localhost"));
}

/// Undoes [`hide_url`] after the conversion.
pub(super) fn restore_url(headers: &mut HeaderMap) {
    for (name, hidden) in HIDDEN {
        headers.remove(&name);
        if let Some(value) = headers.remove(&hidden) {
            headers.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests;
