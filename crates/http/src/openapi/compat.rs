//! The operations for OpenAI's and SageMaker's clients, for operators and for health checks.

use serde_json::{Value, json};

use super::native::{COMMON_PROBLEMS, idempotency};
use super::operation::{Operation, schema};
use super::parameters;

const PYTHON_SAMPLE: &str =
    "OpenAI(base_url=\"http://127.0.0.1:8080/v1\", api_key=\"-\").images.generate(prompt=\"a tiger\")";
const OPENAI: &str = "OpenAI's Images API";
const SAGEMAKER: &str = "SageMaker";
const KEYS: &str = "Keys and usage";
const SERVER: &str = "Server";
/// The error codes of `/v1/models`.
const MODEL_ERRORS: [&str; 7] =
    ["invalid_api_key", "wrong_host", "internal", "loading", "no_model", "shutting_down", "unavailable"];

pub(super) fn operations() -> Vec<Operation> {
    let mut all = openai();
    all.extend(keys());
    all.extend(server());
    all.extend(sagemaker());
    all
}

fn openai() -> Vec<Operation> {
    let retry = json!({
        "name": "x-stainless-retry-count", "in": "header",
        "description": "The number of previous attempts, sent by OpenAI's SDKs. A retry gets the images of \
                        the first attempt.",
        "schema": {"type": "string", "examples": ["1"]},
    });
    vec![
        Operation::new("post /v1/images/generations", "generateImages", OPENAI, "Generate images (OpenAI)")
            .description(
                "Accepts OpenAI's parameters and the native parameters. With `stream`, the response is \
                 server-sent events: `image_generation.partial_image`, `image_generation.completed` or \
                 `error`, and finally `[DONE]`. The header `x-should-retry` of an error says whether an \
                 automatic retry makes sense.",
            )
            .parameters(vec![retry, idempotency()])
            .body(parameters::openai_body())
            .with("x-code-samples", json!([{"lang": "python", "source": PYTHON_SAMPLE}]))
            .response(200, "The images", Some(("application/json", schema("Generations"))))
            .with_event_stream()
            .openai_errors(&[
                "invalid_value",
                "unknown_parameter",
                "missing_required_parameter",
                "invalid_api_key",
                "cross_site",
                "model_not_found",
                "too_slow",
                "canceled",
                "too_large",
                "not_json",
                "unsupported_content_encoding",
                "malformed_json",
                "wrong_host",
                "idempotency_conflict",
                "model_error",
                "rate_limit_exceeded",
                "insufficient_quota",
                "queue_full",
                "internal",
                "not_finite",
                "outcome_unknown",
                "on_its_way",
                "loading",
                "no_model",
                "shutting_down",
                "unavailable",
                "engine_busy",
                "engine_unavailable",
                "store_full",
                "deadline",
                "overrun",
                "invalid_idempotency_key",
            ]),
        Operation::new("get /v1/models", "listModels", OPENAI, "List models")
            .response(200, "The model and its aliases", Some(("application/json", schema("ModelList"))))
            .openai_errors(&MODEL_ERRORS),
        Operation::new("get /v1/models/{model}", "readModel", OPENAI, "Get a model")
            .parameters(vec![json!({
                "name": "model", "in": "path", "required": true,
                "description": "The name of the model or an alias; may contain slashes.",
                "schema": {"type": "string", "examples": ["dall-e-3"]},
            })])
            .response(200, "The model", Some(("application/json", schema("Model"))))
            .openai_errors(&["model_not_found", "not_found"])
            .openai_errors(&MODEL_ERRORS),
    ]
}

fn keys() -> Vec<Operation> {
    let id = || {
        json!({
            "name": "id", "in": "path", "required": true,
            "description": "The id of the key; not the secret key itself.",
            "schema": {"type": "string", "examples": ["3f9c1a5b7d2e4f60"]},
        })
    };
    let day = |name: &str, description: &str| {
        json!({
            "name": name, "in": "query", "description": description,
            "schema": {"type": "string", "format": "date", "examples": ["2026-11-23"]},
        })
    };
    vec![
        Operation::new("post /v1/keys", "createKey", KEYS, "Create a key")
            .description("Requires an admin key. No other response contains the secret key.")
            .body(new_key())
            .response(201, "The new key", Some(("application/json", schema("NewKey"))))
            .headers(201, &[("Location", "The path of the key")])
            .problems(&[
                "invalid-request",
                "malformed-json",
                "not-admin",
                "cross-site",
                "too-slow",
                "too-large",
                "not-json",
                "unsupported-content-encoding",
            ])
            .problems(&COMMON_PROBLEMS),
        Operation::new("get /v1/keys", "listKeys", KEYS, "List all keys")
            .description("Requires an admin key.")
            .response(200, "All keys, revoked ones included", Some(("application/json", schema("KeyList"))))
            .problems(&["not-admin"])
            .problems(&COMMON_PROBLEMS),
        Operation::new("get /v1/keys/{id}", "readKey", KEYS, "Get a key")
            .description("Requires an admin key.")
            .parameters(vec![id()])
            .response(200, "The key without its secret", Some(("application/json", schema("Key"))))
            .problems(&["not-admin", "not-found"])
            .problems(&COMMON_PROBLEMS),
        Operation::new("delete /v1/keys/{id}", "revokeKey", KEYS, "Revoke a key")
            .description("Requires an admin key. Jobs of the key continue.")
            .parameters(vec![id()])
            .response(200, "The key without its secret", Some(("application/json", schema("Key"))))
            .problems(&["not-admin", "cross-site", "not-found"])
            .problems(&COMMON_PROBLEMS),
        Operation::new(
            "get /v1/usage",
            "readUsage",
            KEYS,
            "Get the usage and remaining quota of the caller's key",
        )
        .parameters(vec![
            day("from", "The first day. Default: 30 days before `to`."),
            day("to", "The last day. Default: today."),
        ])
        .response(
            200,
            "The usage by day, and the remaining quota of the key's limits",
            Some(("application/json", schema("Usage"))),
        )
        .problems(&["invalid-request"])
        .problems(&COMMON_PROBLEMS),
        Operation::new("get /metrics", "readMetrics", KEYS, "Get the metrics of this process for Prometheus")
            .description(
                "Requires an admin key. If the `Accept` header prefers `text/plain`, the response has the text \
                 format 0.0.4 of Prometheus.",
            )
            .response(
                200,
                "Metrics in OpenMetrics format",
                Some(("application/openmetrics-text", json!({"type": "string"}))),
            )
            .problems(&["not-admin"])
            .problems(&COMMON_PROBLEMS),
    ]
}

/// The units of time in a key's limits.
const UNITS: &str = "s|sec|second|m|min|minute|h|hour|d|day";
/// A budget of engine time or money.
const BUDGET: &str = r"^([0-9]+(\.[0-9]{1,3})?s|[0-9]+(\.[0-9]{1,6})?[A-Za-z]{3})/(d|day|month)$";

/// The schema of `POST /v1/keys`. The patterns match what the ledger parses except for the size of numbers,
/// which the descriptions limit.
fn new_key() -> Value {
    json!({
        "type": "object", "required": ["name"], "additionalProperties": false,
        "not": {
            "required": ["expires_in", "expires_at"],
            "properties": {"expires_in": {"type": "string"}, "expires_at": {"type": "string"}},
        },
        "properties": {
            "name": {
                "type": "string", "minLength": 1, "maxLength": 200, "pattern": "\\S",
                "description": "A name for people.", "examples": ["acme"],
            },
            "owner": {
                "type": ["string", "null"], "pattern": "^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}$",
                "description": "The owner whose jobs and images the key can access. Several keys can share \
                                an owner. Default: a new owner.",
                "examples": ["acme-inc"],
            },
            "rate": {
                "type": ["string", "null"], "pattern": format!("^ *\\+?[0-9]+ */ *({UNITS}) *$"),
                "description": "The maximum rate of requests: 1 to 1,000,000 per s, min, h or day.",
                "examples": ["60/min"],
            },
            "concurrency": {
                "type": ["integer", "null"], "minimum": 1, "maximum": u32::MAX,
                "description": "The maximum number of queued and running jobs.", "examples": [4],
            },
            "budgets": {
                "type": ["array", "null"], "items": {"type": "string", "pattern": BUDGET},
                "description": "Budgets of engine time (in seconds, with up to 3 decimals) or money per day \
                                or month. A budget in money, such as `5usd/day`, requires a server with a \
                                price in that currency.",
                "examples": [["3600s/day"]],
            },
            "models": {
                "type": ["array", "null"], "items": {"type": "string", "pattern": "\\S"},
                "description": "The names of the models that the key can use. Default: all models.",
                "examples": [["emoji"]],
            },
            "expires_in": {
                "type": ["string", "null"], "pattern": format!("^\\+?[0-9]+({UNITS})$"),
                "description": "The lifetime of the key, at most 3650d. Default: unlimited.",
                "examples": ["90d"],
            },
            "expires_at": {
                "type": ["string", "null"], "format": "date-time",
                "description": "When the key expires: a future time, not after 9999-12-31T23:59:59Z. \
                                Cannot be combined with `expires_in`.",
            },
            "admin": {
                "type": ["boolean", "null"],
                "description": "Whether the key may manage keys and read metrics. Default: false.",
                "examples": [false],
            },
        },
    })
}

fn server() -> Vec<Operation> {
    vec![
        Operation::new("get /", "root", SERVER, "Get a short introduction")
            .description("With the parameters of `GET /generate`, the call is equivalent to it.")
            .without_key()
            .response(200, "The introduction", Some(("text/plain", json!({"type": "string"}))))
            .problems(&["wrong-host"]),
        Operation::new("get /healthz", "isAlive", SERVER, "Check liveness")
            .without_key()
            .response(200, "The process serves requests", Some(("application/json", schema("Health"))))
            .problems(&["wrong-host"]),
        Operation::new("get /readyz", "isReady", SERVER, "Check readiness")
            .without_key()
            .response(200, "The server accepts requests", Some(("application/json", schema("Readiness"))))
            .response(
                503,
                "The server is loading, failed or shutting down, or cannot write to the ledger",
                Some(("application/json", schema("Readiness"))),
            )
            .problems(&["wrong-host"]),
        Operation::new("get /openapi.json", "describe", SERVER, "Get this description")
            .without_key()
            .response(200, "The OpenAPI 3.1 document", Some(("application/json", json!({"type": "object"}))))
            .problems(&["wrong-host"]),
        Operation::new("get /docs", "readDescription", SERVER, "Get this description as a page")
            .without_key()
            .response(200, "The HTML page", Some(("text/html", json!({"type": "string"}))))
            .problems(&["wrong-host"]),
    ]
}

/// The paths of SageMaker's API. Their formats are described only briefly, since SageMaker's clients know
/// them.
fn sagemaker() -> Vec<Operation> {
    let name = || {
        json!({
            "name": "name", "in": "path", "required": true,
            "description": "The endpoint's name; every name selects the server's model.",
            "schema": {"type": "string"},
        })
    };
    let invocation = || {
        json!({
            "required": true,
            "content": {"application/json": {"schema": {
                "type": "object",
                "description": "The format of JumpStart's models: `prompt`, `width`, `height`, \
                                `num_images_per_prompt`, `num_inference_steps`, `guidance_scale`, \
                                `negative_prompt`, `seed`; or that of SDXL: `text_prompts`, `cfg_scale`, \
                                `steps`, `seed`.",
            }}},
        })
    };
    let signed = "Requests are signed (Signature Version 4, service `sagemaker`) with the access key of the \
                  embedded store. Not available with an external bucket.";
    let container =
        "Only in a model container (`--sagemaker`), which has no other paths and requires no key.";
    vec![
        Operation::new(
            "post /endpoints/{name}/invocations",
            "invokeEndpoint",
            SAGEMAKER,
            "Invoke the model (InvokeEndpoint)",
        )
        .description(signed)
        .with("security", json!([{"sigv4": []}]))
        .parameters(vec![name()])
        .with("requestBody", invocation())
        .response(
            200,
            "The response in the format of the request",
            Some(("application/json", json!({"type": "object"}))),
        ),
        Operation::new(
            "post /endpoints/{name}/async-invocations",
            "invokeEndpointAsync",
            SAGEMAKER,
            "Invoke the model asynchronously (InvokeEndpointAsync)",
        )
        .description(signed)
        .with("security", json!([{"sigv4": []}]))
        .parameters(vec![name()])
        .with("requestBody", invocation())
        .response(
            202,
            "The invocation was accepted; its response will be in the store",
            Some(("application/json", json!({"type": "object"}))),
        ),
        Operation::new("get /ping", "ping", SAGEMAKER, "Check the container's readiness")
            .description(container)
            .without_key()
            .response(200, "The container accepts requests", None)
            .response(503, "The container does not accept requests", None),
        Operation::new("post /invocations", "invoke", SAGEMAKER, "Invoke the container's model")
            .description(container)
            .without_key()
            .with("requestBody", invocation())
            .response(
                200,
                "The response in the format of the request",
                Some(("application/json", json!({"type": "object"}))),
            ),
    ]
}
