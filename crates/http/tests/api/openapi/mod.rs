//! The description is true: every example in it was sent, and answered like this.
//!
//! `BLESS=1 cargo test --release -p tintype-http openapi` writes down what is answered now, in two runs: first the examples,
//! then the file at the root that is made of them.

mod described;
mod mask;
mod patterns;
mod problems;
mod responses;

use axum::body::Body;
use axum::http::Request;
use serde_json::{Map, Value, json};

use crate::{TestResponse, TestServer};

/// A request that an example is made of.
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

    /// The request and its answer as they are written down.
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
