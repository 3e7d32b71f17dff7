//! The OpenAPI document matches the server: its examples are recorded requests and responses.
//!
//! `BLESS=1 cargo test -p tintype-http openapi` records the current responses. It takes two runs: the first
//! records the examples, the second writes `openapi.json` with them.

mod described;
mod mask;
mod patterns;
mod problems;
mod responses;

use axum::body::Body;
use axum::http::Request;
use serde_json::{Map, Value, json};

use crate::{TestResponse, TestServer};

/// The request of an example.
#[derive(Clone, Debug)]
struct Call {
    method: &'static str,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Value,
}

impl Call {
    fn new(method: &'static str, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), headers: Vec::new(), body: Value::Null }
    }

    fn post(path: impl Into<String>, body: Value) -> Self {
        Self { body, ..Self::new("POST", path) }.header("content-type", "application/json")
    }

    fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    async fn send(&self, server: &TestServer) -> TestResponse {
        let mut request = Request::builder().method(self.method).uri(&self.path);
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let body = match &self.body {
            Value::Null => Body::empty(),
            body => Body::from(body.to_string()),
        };
        server.request(request.body(body).expect("a request")).await
    }

    /// The request and its response, as recorded in `examples.json`.
    fn recorded(&self, response: &TestResponse) -> Value {
        let body = match response.header("content-type") {
            _ if response.text.is_empty() => Value::Null,
            Some(kind) if kind.contains("json") && !kind.starts_with("text/") => response.json(),
            _ => Value::from(response.text.as_str()),
        };
        let headers: Map<_, _> = self
            .headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Value::from(value.as_str())))
            .collect();
        let mut recorded = json!({
            "request": {"method": self.method, "path": self.path, "headers": headers, "body": self.body},
            "status": response.status().as_u16(),
            "body": body,
        });
        mask::mask(&mut recorded);
        recorded
    }
}
