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
use tintype_sagemaker::wire::{AsyncAccepted, JSON, MAX_BODY, RuntimeApiError, header};
use tintype_service::{Service, ServiceError};
use uuid::Uuid;

use super::invoke::{self, Manner, text};
use super::pending::Pending;
use super::runtime::RuntimeApi;
use crate::problem::Problem;

/// Longest request that travels inline, in bytes.
const MAX_INLINE: usize = 128_000;
/// How long a request may wait, and the model may take, in seconds: the least, the most, and what holds if nothing is said.
const REQUEST_TTL: (u64, u64, u64) = (60, 21_600, 21_600);
const INVOCATION_TIMEOUT: (u64, u64, u64) = (1, 3_600, 900);
/// Longest name that a client may give.
const MAX_INFERENCE_ID: usize = 64;
/// How long a store that cannot be written is left alone.
const PAUSE: Duration = Duration::from_secs(5);

/// Writes a request down, and answers that its result will come.
pub(super) async fn accept(
    api: &RuntimeApi,
    service: &Arc<Service>,
    headers: &HeaderMap,
    body: Bytes,
) -> Result<Response, RuntimeApiError> {
    // Afterwards nobody would be there to be told.
    service.model().map_err(|error| Problem::from(error).failure())?;
    let ttl = seconds(headers, header::REQUEST_TTL, REQUEST_TTL)?;
    let timeout = seconds(headers, header::INVOCATION_TIMEOUT, INVOCATION_TIMEOUT)?;
    let id = Uuid::now_v7();
    let inference_id = match text(headers, name(header::INFERENCE_ID)) {
        Some(given) if given.is_empty() || given.len() > MAX_INFERENCE_ID => {
            return Err(RuntimeApiError::Validation(format!(
                "InferenceId must have 1 to {MAX_INFERENCE_ID} characters."
            )));
        }
        Some(given) => given.to_owned(),
        None => id.to_string(),
    };
    let body = input(api, headers, body).await?;
    let pending = Pending {
        id,
        content_type: text(headers, name(header::ASYNC_CONTENT_TYPE)).map(str::to_owned),
        accept: text(headers, name(header::ASYNC_ACCEPT)).map(str::to_owned),
        body: String::from_utf8(body.into())
            .map_err(|_| RuntimeApiError::Validation("The body is not valid UTF-8.".into()))?,
        within: ttl + timeout,
    };
    pending.save(&*api.store).await.map_err(|error| failed(&error))?;
    let location = |key: &Key| format!("s3://{}/{}", api.bucket, key.as_str());
    let answer_headers = [
        (CONTENT_TYPE.to_string(), JSON.to_owned()),
        (header::OUTPUT_LOCATION.to_owned(), location(&pending.output())),
        (header::FAILURE_LOCATION.to_owned(), location(&pending.failure())),
    ];
    let answer = AsyncAccepted { inference_id };
    begin(api, service, pending);
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
    match Pending::all(&*api.store).await {
        Ok(found) => found.into_iter().for_each(|pending| begin(api, service, pending)),
        Err(error) => {
            tracing::error!(error = %causes(&error), "asynchronous requests that wait could not be listed");
        }
    }
}

fn begin(api: &RuntimeApi, service: &Arc<Service>, pending: Pending) {
    let (store, service) = (api.store.clone(), service.clone());
    tokio::spawn(async move { carry_out(&*store, &service, &pending).await });
}

/// Makes the pictures, and leaves the answer or the error where the client looks for it. Under its own name in the ledger: a
/// second start finds what the first has made.
async fn carry_out(store: &dyn ObjectStore, service: &Service, pending: &Pending) {
    let manner = Manner::Kept {
        name: format!("sagemaker-{}", pending.id),
        within: Duration::from_secs(pending.within),
    };
    let types = (pending.content_type.as_deref(), pending.accept.as_deref());
    let answer = invoke::answer(service, types, pending.body.as_bytes(), manner).await;
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
            pending.forget(store).await
        };
        match left.await {
            Ok(()) => return,
            Err(error) => {
                tracing::error!(id = %pending.id, error = %causes(&error), "an asynchronous result could not be stored");
                tokio::time::sleep(PAUSE).await;
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
async fn input(api: &RuntimeApi, headers: &HeaderMap, body: Bytes) -> Result<Bytes, RuntimeApiError> {
    let Some(location) = text(headers, name(header::INPUT_LOCATION)) else {
        return match body.len() {
            0 => Err(RuntimeApiError::Validation("Either Body or InputLocation must be given.".into())),
            1..=MAX_INLINE => Ok(body),
            _ => Err(RuntimeApiError::Validation(format!(
                "Body must have at most {MAX_INLINE} bytes; put it into S3 and give InputLocation."
            ))),
        };
    };
    if !body.is_empty() {
        return Err(RuntimeApiError::Validation("Body and InputLocation must not both be given.".into()));
    }
    let missing = || RuntimeApiError::Validation(format!("InputLocation {location} cannot be read."));
    let location: S3Location = location
        .parse()
        .map_err(|_| RuntimeApiError::Validation("InputLocation must be s3://BUCKET/KEY.".into()))?;
    let store = (api.buckets)(&location.bucket).ok_or_else(missing)?;
    let key = Key::new(location.key.clone()).map_err(|_| missing())?;
    match store.head(&key).await {
        Ok(meta) if meta.size > MAX_BODY as u64 => {
            Err(RuntimeApiError::Validation(format!("InputLocation must have at most {MAX_BODY} bytes.")))
        }
        Ok(_) => store.get(&key, None).await.map(|object| object.bytes).map_err(|error| failed(&error)),
        Err(StoreError::NotFound) => Err(missing()),
        Err(error) => Err(failed(&error)),
    }
}

fn seconds(
    headers: &HeaderMap,
    header: &'static str,
    (least, most, usual): (u64, u64, u64),
) -> Result<u64, RuntimeApiError> {
    let Some(given) = text(headers, name(header)) else { return Ok(usual) };
    let known = given.parse().ok().filter(|seconds| (least..=most).contains(seconds));
    known.ok_or_else(|| RuntimeApiError::Validation(format!("{header} must be {least} to {most} seconds.")))
}

fn name(header: &'static str) -> axum::http::HeaderName {
    axum::http::HeaderName::from_static(header)
}

fn failed(error: &StoreError) -> RuntimeApiError {
    tracing::error!(error = %causes(error), "the object store cannot be used");
    RuntimeApiError::Internal
}
