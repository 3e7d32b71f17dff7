//! Asynchronous invocations: accepted immediately; the response is an object in the store.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use tintype_core::causes::causes;
use tintype_core::store::{Key, NewObject, ObjectStore, StoreError};
use tintype_sagemaker::remote::S3Location;
use tintype_sagemaker::wire::{AsyncAccepted, JSON, MAX_BODY, RuntimeApiError, header};
use tintype_service::{Service, ServiceError};
use uuid::Uuid;

use super::invoke::{self, Execution, InvocationBody, MediaTypes, header_text};
use super::pending::PendingInvocation;
use super::runtime::RuntimeApi;
use crate::json::BodyEncoding;
use crate::problem::Problem;

/// The maximum size of a request in the body, in bytes.
const MAX_INLINE_BYTES: usize = 128_000;
/// How long a request may wait.
const REQUEST_TTL: SecondsHeader =
    SecondsHeader { name: header::REQUEST_TTL, min: 60, max: 21_600, default: 21_600 };
/// How long the model may run.
const INVOCATION_TIMEOUT: SecondsHeader =
    SecondsHeader { name: header::INVOCATION_TIMEOUT, min: 1, max: 3_600, default: 900 };
/// The maximum length of a client's inference id.
const MAX_INFERENCE_ID_CHARS: usize = 64;
/// The interval between attempts to store a response.
const STORE_RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// A header with a number of seconds.
struct SecondsHeader {
    name: &'static str,
    min: u64,
    max: u64,
    default: u64,
}

/// Saves an invocation, starts it and returns `202 Accepted`.
pub(super) async fn accept(
    api: &RuntimeApi,
    service: &Arc<Service>,
    headers: &HeaderMap,
    body: Bytes,
) -> Result<Response, RuntimeApiError> {
    // After the acceptance the client would not see this error.
    service.model(None).map_err(|error| Problem::from(error).failure())?;
    let ttl = seconds(headers, &REQUEST_TTL)?;
    let timeout = seconds(headers, &INVOCATION_TIMEOUT)?;
    let id = Uuid::now_v7();
    let inference_id = match header_text(headers, header_name(header::INFERENCE_ID)) {
        Some(id) if id.is_empty() || id.len() > MAX_INFERENCE_ID_CHARS => {
            return Err(RuntimeApiError::Validation(format!(
                "InferenceId must have 1 to {MAX_INFERENCE_ID_CHARS} characters."
            )));
        }
        Some(id) => id.to_owned(),
        None => id.to_string(),
    };
    let body = input(api, headers, body).await?;
    let pending = PendingInvocation {
        id,
        content_type: header_text(headers, header_name(header::ASYNC_CONTENT_TYPE)).map(str::to_owned),
        accept: header_text(headers, header_name(header::ASYNC_ACCEPT)).map(str::to_owned),
        body,
        max_seconds: ttl + timeout,
    };
    pending.save(&*api.store).await.map_err(|error| store_failure(&error))?;
    let location = |key: &Key| format!("s3://{}/{}", api.bucket, key.as_str());
    let response_headers = [
        (CONTENT_TYPE.to_string(), JSON.to_owned()),
        (header::OUTPUT_LOCATION.to_owned(), location(&pending.output())),
        (header::FAILURE_LOCATION.to_owned(), location(&pending.failure())),
    ];
    let accepted = AsyncAccepted { inference_id };
    spawn(api, service, pending);
    let mut response = (StatusCode::ACCEPTED, accepted.body()).into_response();
    for (name, value) in response_headers {
        if let (Ok(name), Ok(value)) = (name.parse::<axum::http::HeaderName>(), value.parse()) {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}

/// Starts the invocations that a previous process accepted and did not finish.
pub(super) async fn resume(api: &RuntimeApi, service: &Arc<Service>) {
    match PendingInvocation::all(&*api.store).await {
        Ok(invocations) => invocations.into_iter().for_each(|pending| spawn(api, service, pending)),
        Err(error) => {
            tracing::error!(error = %causes(&error), "failed to list pending asynchronous invocations");
        }
    }
}

fn spawn(api: &RuntimeApi, service: &Arc<Service>, pending: PendingInvocation) {
    let (store, service) = (api.store.clone(), service.clone());
    tokio::spawn(async move { run(&*store, &service, &pending).await });
}

/// Generates the images and stores the response or the error. The jobs are idempotent, so a restart finds the
/// images that were already created.
async fn run(store: &dyn ObjectStore, service: &Service, pending: &PendingInvocation) {
    let execution = Execution::Detached {
        name: format!("sagemaker-{}", pending.id),
        max_duration: Duration::from_secs(pending.max_seconds),
    };
    let types =
        MediaTypes { content_type: pending.content_type.as_deref(), accept: pending.accept.as_deref() };
    let body = InvocationBody { types, encoding: BodyEncoding::PLAIN, bytes: pending.body.as_bytes() };
    let response = invoke::respond(service, body, execution).await;
    let (key, bytes) = match response {
        Ok(response) => (pending.output(), response),
        // The next process continues the invocation.
        Err(problem) if is_shutdown(&problem) => return,
        Err(problem) => (pending.failure(), problem.failure().body()),
    };
    let object = NewObject { bytes: bytes.into(), content_type: JSON.to_owned() };
    loop {
        let stored = async {
            store.put(&key, object.clone()).await?;
            pending.delete(store).await
        };
        match stored.await {
            Ok(()) => return,
            Err(error) => {
                let id = pending.id;
                tracing::error!(%id, error = %causes(&error), "failed to store asynchronous response");
                tokio::time::sleep(STORE_RETRY_INTERVAL).await;
            }
        }
    }
}

fn is_shutdown(problem: &Problem) -> bool {
    let error = match problem {
        Problem::Service(error) | Problem::Job(_, error) => error,
        _ => return false,
    };
    matches!(error, ServiceError::NotReady | ServiceError::Draining | ServiceError::Abandoned)
}

/// The text of the request: either the body, or the object at `InputLocation`.
async fn input(api: &RuntimeApi, headers: &HeaderMap, body: Bytes) -> Result<String, RuntimeApiError> {
    let Some(location) = header_text(headers, header_name(header::INPUT_LOCATION)) else {
        return match body.len() {
            0 => Err(RuntimeApiError::Validation("Either Body or InputLocation is required.".into())),
            1..=MAX_INLINE_BYTES => {
                let encoding = BodyEncoding::of(headers).map_err(|problem| problem.failure())?;
                decode(encoding, &body)
            }
            _ => Err(RuntimeApiError::Validation(format!(
                "Body exceeds {MAX_INLINE_BYTES} bytes; upload it to S3 and set InputLocation."
            ))),
        };
    };
    if !body.is_empty() {
        return Err(RuntimeApiError::Validation("Body and InputLocation are mutually exclusive.".into()));
    }
    let missing =
        || RuntimeApiError::Validation(format!("The object at InputLocation {location} does not exist."));
    let location: S3Location = location.parse().map_err(|_| {
        RuntimeApiError::Validation("InputLocation must have the form s3://BUCKET/KEY.".into())
    })?;
    let store = (api.buckets)(&location.bucket).ok_or_else(missing)?;
    let key = Key::new(location.key.clone()).map_err(|_| missing())?;
    match store.head(&key).await {
        Ok(meta) if meta.size > MAX_BODY as u64 => {
            Err(RuntimeApiError::Validation(format!("The object at InputLocation exceeds {MAX_BODY} bytes.")))
        }
        Ok(_) => {
            let object = store.get(&key, None).await.map_err(|error| store_failure(&error))?;
            decode(BodyEncoding::PLAIN, &object.bytes)
        }
        Err(StoreError::NotFound) => Err(missing()),
        Err(error) => Err(store_failure(&error)),
    }
}

fn decode(encoding: BodyEncoding, bytes: &[u8]) -> Result<String, RuntimeApiError> {
    let text = encoding.decode(bytes, MAX_BODY).map_err(|problem| problem.failure())?;
    String::from_utf8(text).map_err(|_| RuntimeApiError::Validation("The body is not valid UTF-8.".into()))
}

fn seconds(headers: &HeaderMap, header: &SecondsHeader) -> Result<u64, RuntimeApiError> {
    let SecondsHeader { name, min, max, default } = *header;
    let Some(text) = header_text(headers, header_name(name)) else { return Ok(default) };
    let seconds = text.parse().ok().filter(|seconds| (min..=max).contains(seconds));
    seconds.ok_or_else(|| {
        RuntimeApiError::Validation(format!("{name} must be an integer between {min} and {max} (seconds)."))
    })
}

fn header_name(header: &'static str) -> axum::http::HeaderName {
    axum::http::HeaderName::from_static(header)
}

fn store_failure(error: &StoreError) -> RuntimeApiError {
    tracing::error!(error = %causes(error), "failed to access object store");
    match error {
        StoreError::Full(_) => RuntimeApiError::Unavailable,
        _ => RuntimeApiError::Internal,
    }
}
