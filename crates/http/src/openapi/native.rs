//! Our own calls: pictures and jobs.

use serde_json::{Value, json};
use tintype_core::request::MAX_EXPIRY;

use super::operation::{Operation, schema};
use super::parameters;

/// What everything that makes pictures can end in.
const GENERATION_PROBLEMS: [&str; 22] = [
    "invalid-request",
    "unauthenticated",
    "budget-spent",
    "budget-unpriced",
    "cross-site",
    "canceled",
    "wrong-host",
    "model-error",
    "rate-limited",
    "too-many-jobs",
    "queue-full",
    "internal",
    "outcome-unknown",
    "loading",
    "no-model",
    "shutting-down",
    "unavailable",
    "engine-busy",
    "deadline",
    "overrun",
    "invalid-idempotency-key",
    "idempotency-conflict",
];
/// What every call can end in that looks at what is the caller's own.
pub(super) const COMMON_PROBLEMS: [&str; 4] = ["unauthenticated", "wrong-host", "internal", "unavailable"];
const TAG: &str = "Pictures";

pub(super) fn operations() -> Vec<Operation> {
    vec![
        generate(),
        create(),
        list(),
        Operation::new("get /v1/images/{id}", "readImage", TAG, "A job, with fresh links")
            .parameters(vec![
                id(),
                json!({
                    "name": "expires_in", "in": "query", "description": "How long the links shall work, in seconds; 300 if left out.",
                    "schema": {"type": "integer", "minimum": 1, "maximum": MAX_EXPIRY.as_secs(), "examples": [60]},
                }),
            ])
            .response(200, "The job", Some(("application/json", schema("Image"))))
            .headers(200, &[("Retry-After", "Seconds, as long as it has not ended")])
            .problems(&["invalid-request", "not-found"])
            .problems(&COMMON_PROBLEMS),
        Operation::new("delete /v1/images/{id}", "deleteImage", TAG, "Delete a job and its pictures")
            .description("One that runs is stopped first. What it has cost stays charged.")
            .parameters(vec![id()])
            .response(204, "It is not there any more", None)
            .problems(&["cross-site", "not-found"])
            .problems(&COMMON_PROBLEMS),
        Operation::new("get /v1/images/{id}/content", "readPicture", TAG, "To a picture")
            .parameters(vec![
                id(),
                json!({
                    "name": "index", "in": "query", "description": "Which one; the first, 0, if left out.",
                    "schema": {"type": "integer", "minimum": 0, "maximum": i64::MAX, "examples": [0]},
                }),
            ])
            .response(302, "A fresh signed link", None)
            .headers(302, &[("Location", "The link")])
            .problems(&["invalid-request", "not-found", "no-pictures"])
            .problems(&COMMON_PROBLEMS),
        events(),
        Operation::new("post /v1/images/{id}/cancel", "cancelImage", TAG, "Stop a job")
            .description("One that waits has ended with this; one that runs stops at its next step. One that has ended stays as it is. What a \
                   remote endpoint works on cannot be called back: it is finished and charged, or, if nobody waits for it there, \
                   canceled and charged for the time since it was given away.")
            .parameters(vec![id()])
            .response(200, "The job as it is then", Some(("application/json", schema("Image"))))
            .problems(&["cross-site", "not-found"])
            .problems(&COMMON_PROBLEMS),
        Operation::new("get /v1/images/files/{key}", "followLink", TAG, "Where a link to a picture leads")
            .description("Links that OpenAI's clients get point here if the pictures are in a bucket elsewhere. The signature in the query is what \
                   lets through; who asks is not looked at.")
            .without_key()
            .parameters(vec![
                json!({
                    "name": "key", "in": "path", "required": true, "description": "The rest of the picture's key; it may have slashes.",
                    "schema": {"type": "string", "examples": ["2026/11/23/0199.png"]},
                }),
                json!({
                    "name": "X-Amz-Signature", "in": "query", "required": true, "description": "With the other parameters of the link.",
                    "schema": {"type": "string", "examples": ["0f"]},
                }),
            ])
            .response(302, "The signed link", None)
            .headers(302, &[("Location", "The link")])
            .problems(&["not-found", "wrong-host", "internal"]),
    ]
}

fn generate() -> Operation {
    Operation::new("get /generate", "generate", TAG, "A picture by a link")
        .description("Costs engine time, though it is a GET: `HEAD`, prefetches and other sites' pages are refused, and the operator may turn it \
               off. `GET /?prompt=…` is the same.")
        .parameters(parameters::query().into_iter().chain([idempotency()]).collect())
        .response(200, "The picture", Some(("application/json", schema("Generated"))))
        .response(202, "It is on its way: the server's time budget is over", Some(("application/json", schema("Image"))))
        .headers(202, &[("Location", "The job"), ("Retry-After", "Seconds")])
        .problems(&["get-turned-off", "prefetch"])
        .problems(&GENERATION_PROBLEMS)
}

fn create() -> Operation {
    let prefer = json!({
        "name": "Prefer", "in": "header",
        "description": "`respond-async` answers at once, `wait=SECONDS` waits that long (RFC 7240); without, the answer has the pictures.",
        "schema": {"type": "string", "examples": ["respond-async", "wait=20"]},
    });
    Operation::new("post /v1/images", "createImage", TAG, "Pictures")
        .parameters(vec![prefer, idempotency()])
        .body(parameters::body())
        .response(201, "The job, with its pictures", Some(("application/json", schema("Image"))))
        .headers(201, &[("Location", "The job")])
        .response(202, "The job, on its way", Some(("application/json", schema("Image"))))
        .headers(202, &[("Location", "The job"), ("Retry-After", "Seconds")])
        .problems(&["malformed-json", "too-slow", "too-large", "not-json"])
        .problems(&GENERATION_PROBLEMS)
}

fn list() -> Operation {
    Operation::new("get /v1/images", "listImages", TAG, "One's own jobs, newest first")
        .parameters(vec![
            json!({
                "name": "limit", "in": "query", "description": "How many at the most; 20 if left out.",
                "schema": {"type": "integer", "minimum": 1, "maximum": tintype_service::MAX_PAGE, "examples": [2]},
            }),
            json!({
                "name": "cursor", "in": "query", "description": "A `next_cursor` of an earlier page.",
                "schema": {"type": "string", "format": "uuid", "examples": ["0199d2a4-7c00-7000-8000-000000000001"]},
            }),
        ])
        .response(200, "A page", Some(("application/json", schema("ImagePage"))))
        .problems(&["invalid-request"])
        .problems(&COMMON_PROBLEMS)
}

fn events() -> Operation {
    Operation::new("get /v1/images/{id}/events", "watchImage", TAG, "A job as it happens")
        .description("Server-sent events: `queued` with a position, `started`, `progress` with steps or a small preview as a `data:` URL, and at \
               last `succeeded`, `failed` or `canceled` with the job. Whoever comes late is told what is now. Watching keeps no job \
               alive.")
        .parameters(vec![
            id(),
            json!({
                "name": "Last-Event-ID", "in": "header", "description": "As browsers send it: `end` says that the end was seen.",
                "schema": {"type": "string", "examples": ["end"]},
            }),
        ])
        .response(200, "Events: data is `Queued`, `Step` or `Image`", Some(("text/event-stream", schema("Event"))))
        .response(204, "The job has ended, and the client has seen that", None)
        .problems(&["not-found", "shutting-down"])
        .problems(&COMMON_PROBLEMS)
}

fn id() -> Value {
    json!({
        "name": "id", "in": "path", "required": true, "description": "The job.",
        "schema": {"type": "string", "format": "uuid", "examples": ["0199d2a4-7c00-7000-8000-000000000001"]},
    })
}

pub(super) fn idempotency() -> Value {
    json!({
        "name": "Idempotency-Key", "in": "header",
        "description": "The client's word that this is one request, however often it is sent within 24 hours. It is made even if the client \
                        hangs up.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$", "examples": ["order-1"]},
    })
}
