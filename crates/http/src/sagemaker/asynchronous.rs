//! Asynchronous invocations: accepted at once, answered by an object in the store.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use tintype_core::causes::causes;
use tintype_core::store::{Key, NewObject, ObjectStore, StoreError};
use tintype_sagemaker::remote::S3Location;
use tintype_sagemaker::wire::{AsyncAccepted, Failure, JSON, MAX_BODY, header};
use tintype_service::{Service, ServiceError};
use uuid::Uuid;

use super::invoke::{self, Execution, header_text};
use super::pending::PendingInvocation;
use super::runtime::RuntimeApi;
use crate::problem::Problem;

/// Longest request that travels inline, in bytes.
const MAX_INLINE_BYTES: usize = 128_000;
/// How long a request may wait, and the model may take, in seconds: the least, the most, and what holds if nothing is said.
const REQUEST_TTL: (u64, u64, u64) = (60, 21_600, 21_600);
const INVOCATION_TIMEOUT: (u64, u64, u64) = (1, 3_600, 900);
/// Longest name that a client may give.
const MAX_INFERENCE_ID_CHARS: usize = 64;
/// How long a store that cannot be written is left alone.
const STORE_RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// Writes a request down, and answers that its result will come.
pub(super) async fn accept(
    api: &RuntimeApi,
    service: &Arc<Service>,
    headers: &HeaderMap,
    body: Bytes,
) -> Result<Response, Failure> {
    // Afterwards nobody would be there to be told.
    service.model().map_err(|error| Problem::from(error).failure())?;
    let ttl = seconds(headers, header::REQUEST_TTL, REQUEST_TTL)?;
    let timeout = seconds(headers, header::INVOCATION_TIMEOUT, INVOCATION_TIMEOUT)?;
    let id = Uuid::now_v7();
    let inference_id = match header_text(headers, header_name(header::INFERENCE_ID)) {
        Some(given) if given.is_empty() || given.len() > MAX_INFERENCE_ID_CHARS => {
            return Err(Failure::Validation(format!(
                "InferenceId must have 1 to {MAX_INFERENCE_ID_CHARS} characters."
            )));
        }
        Some(given) => given.to_owned(),
        None => id.to_string(),
    };
    let body = input(api, headers, body).await?;
    let pending = PendingInvocation {
        id,
        content_type: header_text(headers, header_name(header::ASYNC_CONTENT_TYPE)).map(str::to_owned),
        accept: header_text(headers, header_name(header::ASYNC_ACCEPT)).map(str::to_owned),
        body: String::from_utf8(body.into())
            .map_err(|_| Failure::Validation("The body is not valid UTF-8.".into()))?,
        within: ttl + timeout,
    };
    pending.save(&*api.store).await.map_err(|error| store_failure(&error))?;
    let location = |key: &Key| format!("s3://{}/{}", api.bucket, key.as_str());
    let answer_headers = [
        (CONTENT_TYPE.to_string(), JSON.to_owned()),
        (header::OUTPUT_LOCATION.to_owned(), location(&pending.output())),
        (header::FAILURE_LOCATION.to_owned(), location(&pending.failure())),
    ];
    let answer = AsyncAccepted { inference_id };
    spawn(api, service, pending);
    let mut response = (StatusCode::ACCEPTED, answer.body()).into_response();
    for (name, value) in answer_headers {
        if let (Ok(name), Ok(value)) = (name.parse::<axum::http::HeaderName>(), value.parse()) {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}

/// Takes up what was accepted before this start. What cannot be listed stays where it is.
pub(super) async fn resume(api: &RuntimeApi, service: &Arc<Service>) {
    match PendingInvocation::all(&*api.store).await {
        Ok(found) => found.into_iter().for_each(|pending| spawn(api, service, pending)),
        Err(error) => {
            tracing::error!(error = %causes(&error), "asynchronous requests that wait could not be listed");
        }
    }
}

fn spawn(api: &RuntimeApi, service: &Arc<Service>, pending: PendingInvocation) {
    let (store, service) = (api.store.clone(), service.clone());
    tokio::spawn(async move { run(&*store, &service, &pending).await });
}

/// Makes the pictures, and leaves the answer or the error where the client looks for it. Under its own name in the ledger: a
/// second start finds what the first has made.
async fn run(store: &dyn ObjectStore, service: &Service, pending: &PendingInvocation) {
    let execution = Execution::Detached {
        name: format!("sagemaker-{}", pending.id),
        within: Duration::from_secs(pending.within),
    };
    let types = (pending.content_type.as_deref(), pending.accept.as_deref());
    let answer = invoke::respond(service, types, pending.body.as_bytes(), execution).await;
    let (key, bytes) = match answer {
        Ok(answer) => (pending.output(), answer),
        // The next start goes on with it.
        Err(problem) if is_shutdown(&problem) => return,
        Err(problem) => (pending.failure(), problem.failure().body()),
    };
    let result = NewObject { bytes: bytes.into(), content_type: JSON.to_owned() };
    loop {
        let left = async {
            store.put(&key, result.clone()).await?;
            pending.delete(store).await
        };
        match left.await {
            Ok(()) => return,
            Err(error) => {
                tracing::error!(id = %pending.id, error = %causes(&error), "an asynchronous result could not be stored");
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

/// The request itself: inline, or where the client has put it. Never both.
async fn input(api: &RuntimeApi, headers: &HeaderMap, body: Bytes) -> Result<Bytes, Failure> {
    let Some(location) = header_text(headers, header_name(header::INPUT_LOCATION)) else {
        return match body.len() {
            0 => Err(Failure::Validation("Either Body or InputLocation must be given.".into())),
            1..=MAX_INLINE_BYTES => Ok(body),
            _ => Err(Failure::Validation(format!(
                "Body must have at most {MAX_INLINE_BYTES} bytes; put it into S3 and give InputLocation."
            ))),
        };
    };
    if !body.is_empty() {
        return Err(Failure::Validation("Body and InputLocation must not both be given.".into()));
    }
    let missing = || Failure::Validation(format!("InputLocation {location} cannot be read."));
    let location: S3Location =
        location.parse().map_err(|_| Failure::Validation("InputLocation must be s3://BUCKET/KEY.".into()))?;
    let store = (api.buckets)(&location.bucket).ok_or_else(missing)?;
    let key = Key::new(location.key.clone()).map_err(|_| missing())?;
    match store.head(&key).await {
        Ok(meta) if meta.size > MAX_BODY as u64 => {
            Err(Failure::Validation(format!("InputLocation must have at most {MAX_BODY} bytes.")))
        }
        Ok(_) => {
            store.get(&key, None).await.map(|object| object.bytes).map_err(|error| store_failure(&error))
        }
        Err(StoreError::NotFound) => Err(missing()),
        Err(error) => Err(store_failure(&error)),
    }
}

fn seconds(
    headers: &HeaderMap,
    header: &'static str,
    (least, most, usual): (u64, u64, u64),
) -> Result<u64, Failure> {
    let Some(given) = header_text(headers, header_name(header)) else { return Ok(usual) };
    let known = given.parse().ok().filter(|seconds| (least..=most).contains(seconds));
    known.ok_or_else(|| Failure::Validation(format!("{header} must be {least} to {most} seconds.")))
}

fn header_name(header: &'static str) -> axum::http::HeaderName {
    axum::http::HeaderName::from_static(header)
}

fn store_failure(error: &StoreError) -> Failure {
    tracing::error!(error = %causes(error), "the object store cannot be used");
    Failure::Internal
}
