//! Converts responses of the API to responses that Lambda accepts.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use http_body_util::Full;
use hyper::body::Frame;
use tokio::time::{Instant, Sleep, sleep_until};

/// Maximum size of a buffered body in bytes: Lambda's limit of 6 MiB, less 64 KiB for headers and JSON.
const MAX_RESPONSE_BYTES: usize = 6 * 1_024 * 1_024 - 64 * 1_024;

/// Puts the gateway's prefix in front of a `location` header that is a path of this API.
pub(crate) fn prefix_location(mut response: Response, prefix: &str) -> Response {
    let location = response.headers().get(LOCATION).filter(|location| location.as_bytes().starts_with(b"/"));
    let location = location.and_then(|location| {
        let prefixed = [prefix.as_bytes(), location.as_bytes()].concat();
        HeaderValue::from_maybe_shared(Bytes::from(prefixed)).ok()
    });
    if let Some(location) = location {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

/// Ends a stream of server-sent events at this time; the client reconnects. Other responses are unchanged.
pub(crate) fn end_events_at(response: Response, end: Option<Instant>) -> Response {
    match end {
        Some(end) if content_type(response.headers()).starts_with("text/event-stream") => {
            response.map(|body| Body::new(DeadlineBody { body, end: Box::pin(sleep_until(end)) }))
        }
        _ => response,
    }
}

/// Collects the body. A response above Lambda's size limit is replaced by an error response.
pub(crate) async fn buffer(response: Response) -> Response<Full<Bytes>> {
    let (parts, body) = response.into_parts();
    match collect(body).await {
        Some(bytes) if encoded_len(&parts.headers, &bytes) <= MAX_RESPONSE_BYTES => {
            Response::from_parts(parts, Full::new(bytes))
        }
        _ => {
            tracing::warn!(limit_bytes = MAX_RESPONSE_BYTES, "response exceeds Lambda's size limit");
            let (parts, body) = tintype_http::response_too_large(&parts.headers).into_parts();
            Response::from_parts(parts, Full::new(collect(body).await.unwrap_or_default()))
        }
    }
}

/// The body; none if it is larger than the limit.
async fn collect(body: Body) -> Option<Bytes> {
    axum::body::to_bytes(body, MAX_RESPONSE_BYTES).await.ok()
}

/// A body that ends at a given time at the latest.
struct DeadlineBody {
    body: Body,
    end: Pin<Box<Sleep>>,
}

impl HttpBody for DeadlineBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Pending => self.end.as_mut().poll(cx).map(|()| None),
            frame => frame,
        }
    }
}

/// The size in bytes of a body in Lambda's JSON: text becomes a JSON string, other content base64.
fn encoded_len(headers: &HeaderMap, bytes: &[u8]) -> usize {
    let kind = content_type(headers);
    let is_text = kind.is_empty() || kind.starts_with("text/") || kind.contains("json");
    if !is_text {
        return bytes.len().div_ceil(3) * 4;
    }
    let escaped_len = |byte: &u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' => 2,
        0..0x20 => 6,
        _ => 1,
    };
    bytes.iter().map(escaped_len).sum()
}

fn content_type(headers: &HeaderMap) -> &str {
    headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http_body_util::BodyExt;

    use super::*;

    fn response(kind: &'static str, body: impl Into<Body>) -> Response {
        Response::builder().header(CONTENT_TYPE, kind).body(body.into()).expect("a response")
    }

    #[tokio::test]
    async fn a_response_above_the_limit_becomes_an_error() {
        let text = "x".repeat(MAX_RESPONSE_BYTES);
        // The limit applies to text as it is, and to other content after its encoding in base64.
        for (kind, body, status) in [
            ("application/json", text.clone(), 200),
            ("text/plain", format!("{text}x"), 413),
            ("application/json", "\"".repeat(MAX_RESPONSE_BYTES / 2 + 1), 413),
            ("image/png", "x".repeat(MAX_RESPONSE_BYTES / 4 * 3), 200),
            ("image/png", "x".repeat(MAX_RESPONSE_BYTES / 4 * 3 + 1), 413),
        ] {
            let buffered = buffer(response(kind, body)).await;
            assert_eq!(buffered.status().as_u16(), status, "{kind}");
            let bytes = buffered.into_body().collect().await.expect("a body").to_bytes();
            assert_eq!(status == 413, String::from_utf8_lossy(&bytes).contains("answer-too-large"));
        }
    }

    #[tokio::test]
    async fn a_stream_of_events_ends_in_time() {
        let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(1);
        sender.send("data: 1\n\n".into()).await.expect("a reader");
        let stream = futures::stream::unfold(receiver, async |mut receiver| {
            Some((Ok::<_, std::convert::Infallible>(receiver.recv().await?), receiver))
        });
        let end = Instant::now() + Duration::from_millis(50);
        let ended = end_events_at(response("text/event-stream", Body::from_stream(stream)), Some(end));
        let bytes = buffer(ended).await.into_body().collect().await.expect("a body").to_bytes();
        assert_eq!(bytes, "data: 1\n\n");
        drop(sender);
    }

    #[test]
    fn locations_start_with_the_stage() {
        let located = |location: &'static str| {
            let response =
                Response::builder().header(LOCATION, location).body(Body::empty()).expect("a response");
            prefix_location(response, "/prod").headers()[LOCATION].to_str().expect("text").to_owned()
        };
        assert_eq!(located("/v1/images/1"), "/prod/v1/images/1");
        assert_eq!(located("https://bucket.example/x"), "https://bucket.example/x");
    }
}
