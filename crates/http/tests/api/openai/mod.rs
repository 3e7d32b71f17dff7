//! OpenAI's dialect.

mod errors;
mod generations;
mod models;
mod retries;
mod stream;

use serde_json::Value;
use tintype_core::picture::{Encoded, Format, Pixels};

use crate::{TestResponse, TestServer};

const PATH: &str = "/v1/images/generations";

/// Sends `POST /v1/images/generations`.
async fn generate(server: &TestServer, body: Value) -> TestResponse {
    server.send_json(PATH, &body, &[]).await
}

/// Generates images and returns the body of the successful response.
async fn generate_ok(server: &TestServer, body: Value) -> Value {
    let response = generate(server, body).await;
    assert_eq!(
        (response.status().as_u16(), response.header("content-type")),
        (200, Some("application/json")),
        "{}",
        response.text
    );
    assert!(response.header("x-request-id").is_some());
    response.json()
}

/// The decoded image of `b64_json`.
fn picture(item: &Value, format: Format) -> Pixels {
    let base64 = item["b64_json"].as_str().expect("text").as_bytes();
    let bytes = base64_simd::STANDARD.decode_to_vec(base64).expect("bare base64").into();
    tintype_picture::decode(&Encoded { format, bytes }).expect("a picture")
}

/// An error in OpenAI's format.
#[derive(Clone, Copy)]
struct ApiError<'a> {
    status: u16,
    r#type: &'a str,
    code: Option<&'a str>,
    /// `x-should-retry`.
    retry: bool,
}

/// An error that is not to be retried.
const fn api_error<'a>(status: u16, r#type: &'a str, code: Option<&'a str>) -> ApiError<'a> {
    ApiError { status, r#type, code, retry: false }
}

impl ApiError<'_> {
    fn retryable(self) -> Self {
        Self { retry: true, ..self }
    }
}

/// Checks that the response is this error, and returns its member `error`.
fn assert_error(response: &TestResponse, expected: ApiError<'_>) -> Value {
    let ApiError { status, r#type, code, retry } = expected;
    assert_eq!(
        (response.status().as_u16(), response.header("content-type")),
        (status, Some("application/json")),
        "{}",
        response.text
    );
    assert!(response.header("x-request-id").is_some());
    assert_eq!(
        response.header("x-should-retry"),
        Some(if retry { "true" } else { "false" }),
        "{}",
        response.text
    );
    let body = response.json();
    let error = body["error"].as_object().expect("an error");
    let mut names: Vec<_> = error.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        (body.as_object().map(|body| body.len()), &*names),
        (Some(1), &["code", "message", "param", "type"][..])
    );
    assert_eq!((error["type"].as_str(), error["code"].as_str()), (Some(r#type), code), "{body}");
    assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()));
    body["error"].clone()
}
