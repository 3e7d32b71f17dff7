//! The OpenAPI 3.1 document. Its schemas are generated from the response types, its parameters from the table
//! that parses them, and its examples are recorded by tests.

mod compat;
mod examples;
mod native;
mod operation;
mod page;
mod parameters;
mod schemas;
pub(crate) mod types;

use std::sync::LazyLock;

use axum::Router;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::IntoResponse;
use axum::routing::get;
use serde_json::{Map, Value, json};
use tintype_core::model::ModelCard;
use tintype_core::request::RequestLimits;

use crate::{App, read_only};
use examples::Examples;

static DESCRIPTION: LazyLock<Value> = LazyLock::new(describe);
static DOCUMENT: LazyLock<String> =
    LazyLock::new(|| serde_json::to_string_pretty(&*DESCRIPTION).expect("a JSON value serializes") + "\n");
static PAGE: LazyLock<String> = LazyLock::new(|| page::page(&DESCRIPTION));

/// The OpenAPI document as JSON, with a final newline.
pub fn document() -> &'static str {
    &DOCUMENT
}

/// `/openapi.json` and `/docs`.
/// A JSON Schema of the parameters that `POST /v1/images` accepts for this model.
pub(crate) fn model_parameters(card: &ModelCard, limits: &RequestLimits) -> Value {
    parameters::of_model(card, limits)
}

pub(crate) fn routes() -> Router<App> {
    let json = async || ([(CONTENT_TYPE, "application/json")], document());
    // The page has no scripts and an inline style sheet.
    let policy =
        (CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'");
    let page =
        async move || ([(CONTENT_TYPE, "text/html; charset=utf-8"), policy], PAGE.as_str()).into_response();
    Router::new().route("/openapi.json", read_only(get(json))).route("/docs", read_only(get(page)))
}

fn describe() -> Value {
    let examples = Examples::read();
    let mut paths = Map::new();
    for operation in native::operations().into_iter().chain(compat::operations()) {
        let (path, method) = (operation.path.to_owned(), operation.method.to_owned());
        let calls = paths.entry(path).or_insert_with(|| json!({}));
        calls[method] = operation.finish(&examples);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "tintype",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "A text-to-image API: a diffusion model generates an image from a prompt, and the \
                            response has a presigned URL to it.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        // `{}`: no key is required if the server allows anonymous requests, as on loopback.
        "security": [{}, {"bearer": []}, {"apiKey": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": {
                    "type": "http", "scheme": "bearer", "description": "An API key, which begins with `tt_`.",
                },
                "apiKey": {
                    "type": "apiKey", "in": "header", "name": "x-api-key", "description": "The same API key.",
                },
                "sigv4": {
                    "type": "apiKey", "in": "header", "name": "Authorization",
                    "description": "AWS Signature Version 4 for the service `sagemaker`.",
                },
            },
            "schemas": schemas::components(),
        },
    })
}
