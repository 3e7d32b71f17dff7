//! The operations of the native API: images and jobs.

use serde_json::{Value, json};
use tintype_core::request::MAX_EXPIRY;

use super::operation::{Operation, schema};
use super::parameters;

/// The problems of every operation that generates images.
const GENERATION_PROBLEMS: [&str; 25] = [
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
    "not-finite",
    "outcome-unknown",
    "loading",
    "no-model",
    "shutting-down",
    "unavailable",
    "engine-busy",
    "engine-unavailable",
    "store-full",
    "deadline",
    "overrun",
    "invalid-idempotency-key",
    "idempotency-conflict",
];
/// The problems of every operation that requires authentication.
pub(super) const COMMON_PROBLEMS: [&str; 4] = ["unauthenticated", "wrong-host", "internal", "unavailable"];
/// The headers of a response with a job in progress.
const PENDING_HEADERS: [(&str, &str); 2] =
    [("Location", "The path of the job"), ("Retry-After", "The polling interval in seconds")];
/// The tag of these operations.
pub(super) const TAG: &str = "Images";

pub(super) fn operations() -> Vec<Operation> {
    vec![
        generate(),
        create(),
        list(),
        Operation::new("get /v1/images/{id}", "readImage", TAG, "Get a job")
            .description("The response has a new presigned URL to each image.")
            .parameters(vec![
                id(),
                json!({
                    "name": "expires_in", "in": "query",
                    "description": "The lifetime of the presigned URLs in seconds. Default: 300.",
                    "schema": {
                        "type": "integer", "minimum": 1, "maximum": MAX_EXPIRY.as_secs(), "examples": [60],
                    },
                }),
            ])
            .response(200, "The job", Some(("application/json", schema("Image"))))
            .headers(200, &[("Retry-After", "The polling interval in seconds, if the job has not ended")])
            .problems(&["invalid-request", "not-found"])
            .problems(&COMMON_PROBLEMS),
        Operation::new("delete /v1/images/{id}", "deleteImage", TAG, "Delete a job and its images")
            .description("A running job is stopped first. Its cost remains charged.")
            .parameters(vec![id()])
            .response(204, "The job and its images were deleted", None)
            .problems(&["cross-site", "not-found"])
            .problems(&COMMON_PROBLEMS),
        Operation::new("get /v1/images/{id}/content", "readPicture", TAG, "Redirect to an image")
            .parameters(vec![
                id(),
                json!({
                    "name": "index", "in": "query",
                    "description": "The index of the image in the job. Default: 0, the first image.",
                    "schema": {"type": "integer", "minimum": 0, "maximum": i64::MAX, "examples": [0]},
                }),
            ])
            .response(302, "A redirect to a new presigned URL", None)
            .headers(302, &[("Location", "The presigned URL")])
            .problems(&["invalid-request", "not-found", "no-pictures"])
            .problems(&COMMON_PROBLEMS),
        events(),
        Operation::new("post /v1/images/{id}/cancel", "cancelImage", TAG, "Cancel a job")
            .description(
                "A queued job ends immediately; a running job ends after its current step. A job that has \
                 ended is not changed. Work on a remote endpoint cannot be stopped: it is completed and \
                 charged, or, if no client waits for it, canceled and charged for the time since it was \
                 sent.",
            )
            .parameters(vec![id()])
            .response(200, "The job after the cancellation", Some(("application/json", schema("Image"))))
            .problems(&["cross-site", "not-found"])
            .problems(&COMMON_PROBLEMS),
        Operation::new("get /v1/images/files/{key}", "followLink", TAG, "Redirect to a presigned URL")
            .description(
                "If the images are in a bucket outside the embedded S3 server, the responses of the OpenAI-compatible \
                 calls contain URLs with this path. \
                 The signature in the query authorizes the download; no API key is required.",
            )
            .without_key()
            .parameters(vec![
                json!({
                    "name": "key", "in": "path", "required": true,
                    "description": "The object key of the image without its prefix; may contain slashes.",
                    "schema": {"type": "string", "examples": ["2026/11/23/0199.png"]},
                }),
                json!({
                    "name": "X-Amz-Signature", "in": "query", "required": true,
                    "description": "The signature, with the other query parameters of the presigned URL.",
                    "schema": {"type": "string", "examples": ["0f"]},
                }),
            ])
            .response(302, "A redirect to the presigned URL", None)
            .headers(302, &[("Location", "The presigned URL")])
            .problems(&["not-found", "wrong-host", "internal"]),
    ]
}

fn generate() -> Operation {
    Operation::new("get /generate", "generate", TAG, "Generate an image by GET")
        .description(
            "Costs engine time, although it is a GET: `HEAD`, prefetch and cross-site requests are refused, \
             and the operator can disable the call. `GET /?prompt=…` is equivalent.",
        )
        .parameters(parameters::query().into_iter().chain([idempotency()]).collect())
        .response(200, "The image", Some(("application/json", schema("Generated"))))
        .response(
            202,
            "The job, still in progress at the end of the server's time budget",
            Some(("application/json", schema("Image"))),
        )
        .headers(202, &PENDING_HEADERS)
        .problems(&["get-turned-off", "prefetch"])
        .problems(&GENERATION_PROBLEMS)
}

fn create() -> Operation {
    let prefer = json!({
        "name": "Prefer", "in": "header",
        "description": "`respond-async` requests an immediate response, `wait=SECONDS` a response after at \
                        most that time (RFC 7240). Default: the response has the images.",
        "schema": {"type": "string", "examples": ["respond-async", "wait=20"]},
    });
    Operation::new("post /v1/images", "createImage", TAG, "Generate images")
        .parameters(vec![prefer, idempotency()])
        .body(parameters::body())
        .response(201, "The job with its images", Some(("application/json", schema("Image"))))
        .headers(201, &[("Location", "The path of the job")])
        .response(202, "The job, still in progress", Some(("application/json", schema("Image"))))
        .headers(202, &PENDING_HEADERS)
        .problems(&["malformed-json", "too-slow", "too-large", "not-json", "unsupported-content-encoding"])
        .problems(&GENERATION_PROBLEMS)
}

fn list() -> Operation {
    Operation::new("get /v1/images", "listImages", TAG, "List the caller's jobs")
        .description("The newest jobs come first.")
        .parameters(vec![
            json!({
                "name": "limit", "in": "query",
                "description": "The maximum number of jobs on the page. Default: 20.",
                "schema": {
                    "type": "integer", "minimum": 1, "maximum": tintype_service::MAX_PAGE, "examples": [2],
                },
            }),
            json!({
                "name": "cursor", "in": "query",
                "description": "The `next_cursor` of the previous page. Default: the first page.",
                "schema": {
                    "type": "string", "format": "uuid", "examples": ["0199d2a4-7c00-7000-8000-000000000001"],
                },
            }),
        ])
        .response(200, "A page of jobs", Some(("application/json", schema("ImagePage"))))
        .problems(&["invalid-request"])
        .problems(&COMMON_PROBLEMS)
}

fn events() -> Operation {
    Operation::new("get /v1/images/{id}/events", "watchImage", TAG, "Follow the progress of a job")
        .description(
            "Server-sent events: `queued` with the queue position, `started`, `progress` with the steps or \
             a small preview as a `data:` URL, and finally `succeeded`, `failed` or `canceled` with the \
             job. The stream begins with the current state. Reading this stream does not keep the job running. A \
             browser's `EventSource` sends no API key; give it the `events_url` of the job.",
        )
        .parameters(vec![
            id(),
            json!({
                "name": "token", "in": "query",
                "description": "The token of the job's `events_url`, which replaces the API key for this job for an hour.",
                "schema": {"type": "string", "examples": [
                    "1795438800.3f9c1a5b7d2e4f603f9c1a5b7d2e4f603f9c1a5b7d2e4f603f9c1a5b7d2e4f60.3f9c1a5b7d2e4f60",
                ]},
            }),
            json!({
                "name": "Last-Event-ID", "in": "header",
                "description": "Sent by browsers that reconnect: the id of the last event that the client received. \
                                The value `end` means that the client has received the final event of the job.",
                "schema": {"type": "string", "examples": ["end"]},
            }),
        ])
        .response(
            200,
            "Events with the data `Queued`, `Step` or `Image`",
            Some(("text/event-stream", schema("Event"))),
        )
        .response(204, "The job has ended, and the client has received the last event", None)
        .problems(&["not-found", "too-many-watchers", "shutting-down"])
        .problems(&COMMON_PROBLEMS)
}

fn id() -> Value {
    json!({
        "name": "id", "in": "path", "required": true, "description": "The id of the job.",
        "schema": {"type": "string", "format": "uuid", "examples": ["0199d2a4-7c00-7000-8000-000000000001"]},
    })
}

pub(super) fn idempotency() -> Value {
    json!({
        "name": "Idempotency-Key", "in": "header",
        "description": "Identifies the request for 24 hours: repeated requests with the same key get the \
                        same job. The job continues if the client disconnects.",
        "schema": {
            "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$",
            "examples": ["order-1"],
        },
    })
}
