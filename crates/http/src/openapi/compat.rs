//! What other people's clients call, what operators call, and what supervisors call.

use serde_json::{Value, json};

use super::native::{COMMON_PROBLEMS, idempotency};
use super::operation::{Operation, schema};
use super::parameters;

const OPENAI: &str = "OpenAI's Images API";
const SAGEMAKER: &str = "SageMaker";
const CUSTOMERS: &str = "Customers";
const SERVER: &str = "Server";
/// What a call that names models can end in, for OpenAI's clients.
const MODEL_ERRORS: [&str; 7] =
    ["invalid_api_key", "wrong_host", "internal", "loading", "no_model", "shutting_down", "unavailable"];

pub(super) fn operations() -> Vec<Operation> {
    let mut all = openai();
    all.extend(customers());
    all.extend(server());
    all.extend(sagemaker());
    all
}

fn openai() -> Vec<Operation> {
    let retry = json!({
        "name": "x-stainless-retry-count", "in": "header",
        "description": "How often the client has tried before. Above 0 it gets what its first try has made, or is making.",
        "schema": {"type": "string", "examples": ["1"]},
    });
    vec![
        Operation::new("post /v1/images/generations", "generateImages", OPENAI, "Pictures, for OpenAI's clients")
            .description("Every parameter of OpenAI's and, beside them, every one of ours. With `stream`, the answer is server-sent events: \
                   `image_generation.partial_image`, `image_generation.completed`, an `error`, and `[DONE]` at the end. Errors say in \
                   `x-should-retry` whether to try again by itself.")
            .parameters(vec![retry, idempotency()])
            .body(parameters::openai_body())
            .with("x-code-samples", json!([{"lang": "python", "source": "OpenAI(base_url=\"http://127.0.0.1:8080/v1\", api_key=\"-\").images.generate(prompt=\"a tiger\")"}]))
            .response(200, "The pictures", Some(("application/json", schema("Generations"))))
            .with_event_stream()
            .openai_errors(&[
                "invalid_value", "unknown_parameter", "missing_required_parameter", "invalid_api_key", "cross_site", "model_not_found",
                "too_slow", "canceled", "too_large", "not_json", "malformed_json", "wrong_host", "idempotency_conflict", "model_error",
                "rate_limit_exceeded", "insufficient_quota", "queue_full", "internal", "outcome_unknown", "on_its_way", "loading",
                "no_model", "shutting_down", "unavailable", "engine_busy", "deadline", "overrun", "invalid_idempotency_key",
            ]),
        Operation::new("get /v1/models", "listModels", OPENAI, "The models")
            .response(200, "This server's model, and the whole names that stand for it", Some(("application/json", schema("ModelList"))))
            .openai_errors(&MODEL_ERRORS),
        Operation::new("get /v1/models/{model}", "readModel", OPENAI, "A model")
            .parameters(vec![json!({
                "name": "model", "in": "path", "required": true, "description": "Its name, or one that stands for it; it may have slashes.",
                "schema": {"type": "string", "examples": ["dall-e-3"]},
            })])
            .response(200, "The model", Some(("application/json", schema("Model"))))
            .openai_errors(&["model_not_found", "not_found"])
            .openai_errors(&MODEL_ERRORS),
    ]
}

fn customers() -> Vec<Operation> {
    let id = || {
        json!({
            "name": "id", "in": "path", "required": true, "description": "The key's id, which is not the key.",
            "schema": {"type": "string", "examples": ["3f9c1a5b7d2e4f60"]},
        })
    };
    let day = |name: &str, what: &str| {
        json!({
            "name": name, "in": "query", "description": what, "schema": {"type": "string", "format": "date", "examples": ["2026-11-23"]},
        })
    };
    vec![
        Operation::new("post /v1/keys", "createKey", CUSTOMERS, "A new key")
            .description("Takes an admin key. The key is in this answer and nowhere else.")
            .body(new_key())
            .response(201, "The key", Some(("application/json", schema("NewKey"))))
            .headers(201, &[("Location", "Its record")])
            .problems(&[
                "invalid-request",
                "malformed-json",
                "not-admin",
                "cross-site",
                "too-slow",
                "too-large",
                "not-json",
            ])
            .problems(&COMMON_PROBLEMS),
        Operation::new("get /v1/keys", "listKeys", CUSTOMERS, "Every key")
            .description("Takes an admin key.")
            .response(
                200,
                "Their records, revoked ones included",
                Some(("application/json", schema("KeyList"))),
            )
            .problems(&["not-admin"])
            .problems(&COMMON_PROBLEMS),
        Operation::new("get /v1/keys/{id}", "readKey", CUSTOMERS, "A key")
            .description("Takes an admin key.")
            .parameters(vec![id()])
            .response(200, "Its record", Some(("application/json", schema("Key"))))
            .problems(&["not-admin", "not-found"])
            .problems(&COMMON_PROBLEMS),
        Operation::new("delete /v1/keys/{id}", "revokeKey", CUSTOMERS, "Take a key back")
            .description("Takes an admin key. The key's jobs go on.")
            .parameters(vec![id()])
            .response(200, "Its record", Some(("application/json", schema("Key"))))
            .problems(&["not-admin", "cross-site", "not-found"])
            .problems(&COMMON_PROBLEMS),
        Operation::new(
            "get /v1/usage",
            "readUsage",
            CUSTOMERS,
            "What one's key has used, and what is left to it",
        )
        .parameters(vec![
            day("from", "The first day; 30 days before `to` if left out."),
            day("to", "The last day; today if left out."),
        ])
        .response(
            200,
            "By day, days without any left out; and the key's limits",
            Some(("application/json", schema("Usage"))),
        )
        .problems(&["invalid-request"])
        .problems(&COMMON_PROBLEMS),
        Operation::new(
            "get /metrics",
            "readMetrics",
            CUSTOMERS,
            "What this process has done, for Prometheus",
        )
        .description("Takes an admin key.")
        .response(200, "OpenMetrics", Some(("application/openmetrics-text", json!({"type": "string"}))))
        .problems(&["not-admin"])
        .problems(&COMMON_PROBLEMS),
    ]
}

/// The units in which a key's limits count time.
const UNITS: &str = "s|sec|second|m|min|minute|h|hour|d|day";
/// Engine time or money.
const BUDGET: &str = r"^([0-9]+(\.[0-9]{1,3})?s|[0-9]+(\.[0-9]{1,6})?[A-Za-z]{3})/(d|day|month)$";

/// The patterns are what the ledger reads, whatever the size: how large a number may be is told in words.
fn new_key() -> Value {
    json!({
        "type": "object", "required": ["name"], "additionalProperties": false,
        "not": {
            "required": ["expires_in", "expires_at"],
            "properties": {"expires_in": {"type": "string"}, "expires_at": {"type": "string"}},
        },
        "properties": {
            "name": {
                "type": "string", "minLength": 1, "maxLength": 200, "pattern": "\\S", "description": "What people call it.", "examples": ["acme"],
            },
            "owner": {
                "type": ["string", "null"], "pattern": "^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}$",
                "description": "Whose jobs and pictures it reaches; several keys may have one owner. One of its own if left out.",
                "examples": ["acme-inc"],
            },
            "rate": {
                "type": ["string", "null"], "pattern": format!("^ *\\+?[0-9]+ */ *({UNITS}) *$"),
                "description": "Requests per time: 1 to 1,000,000 per s, min, h or day.", "examples": ["60/min"],
            },
            "concurrency": {
                "type": ["integer", "null"], "minimum": 1, "maximum": u32::MAX, "description": "Jobs queued or running at the same time.", "examples": [4],
            },
            "budgets": {
                "type": ["array", "null"], "items": {"type": "string", "pattern": BUDGET},
                "description": "Engine time per day or month, to the millisecond. A budget in money, as in `5usd/day`, takes a server with a price in that currency.",
                "examples": [["3600s/day"]],
            },
            "expires_in": {
                "type": ["string", "null"], "pattern": format!("^\\+?[0-9]+({UNITS})$"),
                "description": "How long it works: up to 3650d.", "examples": ["90d"],
            },
            "expires_at": {
                "type": ["string", "null"], "format": "date-time", "description": "Until when it works; a time to come, at the latest 9999-12-31T23:59:59Z.",
            },
            "admin": {"type": ["boolean", "null"], "description": "It may manage keys, and read metrics.", "examples": [false]},
        },
    })
}

fn server() -> Vec<Operation> {
    vec![
        Operation::new("get /", "root", SERVER, "A word on how to begin")
            .description("With the parameters of `/generate` it is that call.")
            .without_key()
            .response(200, "Text", Some(("text/plain", json!({"type": "string"}))))
            .problems(&["wrong-host"]),
        Operation::new("get /healthz", "isAlive", SERVER, "Whether the process answers")
            .without_key()
            .response(200, "It does", Some(("application/json", schema("Health"))))
            .problems(&["wrong-host"]),
        Operation::new("get /readyz", "isReady", SERVER, "Whether requests are taken")
            .without_key()
            .response(200, "They are", Some(("application/json", schema("Readiness"))))
            .response(503, "Not yet, not any more, or never", Some(("application/json", schema("Readiness"))))
            .problems(&["wrong-host"]),
        Operation::new("get /openapi.json", "describe", SERVER, "This description")
            .without_key()
            .response(200, "OpenAPI 3.1", Some(("application/json", json!({"type": "object"}))))
            .problems(&["wrong-host"]),
        Operation::new("get /docs", "readDescription", SERVER, "This description, to be read")
            .without_key()
            .response(200, "A page", Some(("text/html", json!({"type": "string"}))))
            .problems(&["wrong-host"]),
    ]
}

/// Wire formats of somebody else's: described as far as a client of theirs needs none of it.
fn sagemaker() -> Vec<Operation> {
    let name = || {
        json!({
            "name": "name", "in": "path", "required": true, "description": "The endpoint's name; any stands for the one model.",
            "schema": {"type": "string"},
        })
    };
    let invocation = || {
        json!({
            "required": true,
            "content": {"application/json": {"schema": {
                "type": "object",
                "description": "As the models of JumpStart take it: `prompt`, `width`, `height`, `num_images_per_prompt`, `num_inference_steps`, \
                                `guidance_scale`, `negative_prompt`, `seed`; or as SDXL takes it: `text_prompts`, `cfg_scale`, `steps`, `seed`.",
            }}},
        })
    };
    let signed = "Requests are signed (Signature Version 4, service `sagemaker`) with the access key of the server's own store. Not there \
                  with a bucket elsewhere.";
    let container = "Only in a model container (`--sagemaker`), which serves nothing else, to anybody.";
    vec![
        Operation::new(
            "post /endpoints/{name}/invocations",
            "invokeEndpoint",
            SAGEMAKER,
            "The Runtime API's InvokeEndpoint",
        )
        .description(signed)
        .with("security", json!([{"sigv4": []}]))
        .parameters(vec![name()])
        .with("requestBody", invocation())
        .response(
            200,
            "As the model's dialect has it",
            Some(("application/json", json!({"type": "object"}))),
        ),
        Operation::new(
            "post /endpoints/{name}/async-invocations",
            "invokeEndpointAsync",
            SAGEMAKER,
            "The Runtime API's InvokeEndpointAsync",
        )
        .description(signed)
        .with("security", json!([{"sigv4": []}]))
        .parameters(vec![name()])
        .with("requestBody", invocation())
        .response(
            202,
            "Its result will be in the store",
            Some(("application/json", json!({"type": "object"}))),
        ),
        Operation::new("get /ping", "ping", SAGEMAKER, "Whether the container is ready")
            .description(container)
            .without_key()
            .response(200, "It is", None)
            .response(503, "It is not", None),
        Operation::new("post /invocations", "invoke", SAGEMAKER, "The container's model")
            .description(container)
            .without_key()
            .with("requestBody", invocation())
            .response(
                200,
                "As the model's dialect has it",
                Some(("application/json", json!({"type": "object"}))),
            ),
    ]
}
