//! From the SDK's errors to ours.

use std::error::Error;
use std::time::Duration;

use aws_sdk_sagemakerruntime::config::http::HttpResponse;
use aws_sdk_sagemakerruntime::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sagemakerruntime::types::error::ModelError;
use http_body_util::LengthLimitError;

use super::error::InvokeError;
use super::interceptor::Watch;

/// When an endpoint that is busy is worth another try, if it does not say so itself.
const BUSY_RETRY: Duration = Duration::from_secs(5);
/// The same for one that is being provisioned or is loading its model.
const NOT_READY_RETRY: Duration = Duration::from_secs(30);
const LONGEST_RETRY: u64 = 3_600;
/// Longest part of a remote message that we repeat, in characters.
const MESSAGE_CHARS: usize = 1_000;

/// What a failed call means. `model` finds the model's own error among the operation's.
pub(super) fn meaning<E>(
    error: SdkError<E, HttpResponse>,
    watch: &Watch,
    budget: Duration,
    model: impl FnOnce(&E) -> Option<&ModelError>,
) -> InvokeError
where
    E: Error + ProvideErrorMetadata + Send + Sync + 'static,
{
    if let SdkError::ServiceError(service) = &error {
        if let Some(failure) = model(service.err()) {
            return of_model(failure, service.raw());
        }
        return of_service(service.err(), service.raw());
    }
    if find::<LengthLimitError>(&error).is_some() {
        return InvokeError::TooLong(watch.limit());
    }
    if !watch.handed_over() {
        return match error {
            // Looking for credentials may take long, too.
            SdkError::TimeoutError(_) => InvokeError::Unreachable(Box::new(error)),
            _ => InvokeError::Unprepared(Box::new(error)),
        };
    }
    match error {
        SdkError::TimeoutError(_) => InvokeError::TimedOut(budget),
        _ if find::<hyper_util::client::legacy::Error>(&error).is_some_and(|inner| inner.is_connect()) => {
            InvokeError::Unreachable(Box::new(error))
        }
        _ => InvokeError::Interrupted(Box::new(error)),
    }
}

fn of_model(failure: &ModelError, answer: &HttpResponse) -> InvokeError {
    // The log stream is for whoever runs the endpoint, not for who asked for a picture.
    tracing::warn!(
        status = failure.original_status_code(),
        message = failure.original_message(),
        log_stream = failure.log_stream_arn(),
        "the endpoint's model answered with an error"
    );
    let message = bounded(failure.original_message().or(failure.message()).unwrap_or_default());
    let status = failure.original_status_code().and_then(|status| u16::try_from(status).ok()).unwrap_or(0);
    match status {
        429 | 503 => {
            let retry_after = retry_after(answer).unwrap_or(BUSY_RETRY);
            InvokeError::Busy { code: format!("the model answered {status}"), message, retry_after }
        }
        400..=599 => InvokeError::Model { status, message },
        // A container that timed out is told as status 0.
        _ => InvokeError::ModelTimedOut(message),
    }
}

fn of_service<E: ProvideErrorMetadata>(failure: &E, answer: &HttpResponse) -> InvokeError {
    let status = answer.status().as_u16();
    let code = failure.code().map_or_else(|| status.to_string(), bounded);
    let message = bounded(failure.message().unwrap_or_default());
    let default = match (code.as_str(), status) {
        ("ModelNotReadyException", _) => Some(NOT_READY_RETRY),
        ("ThrottlingException" | "Throttling" | "ServiceUnavailable" | "TooManyRequestsException", _) => {
            Some(BUSY_RETRY)
        }
        (_, 429 | 503) => Some(BUSY_RETRY),
        _ => None,
    };
    match default {
        Some(default) => {
            let retry_after = retry_after(answer).unwrap_or(default);
            InvokeError::Busy { code, message, retry_after }
        }
        None if status < 500 => InvokeError::Denied { status, code, message },
        None => InvokeError::Service { status, code, message },
    }
}

/// The header in seconds; a date, which nothing here sends, is as if there was none.
fn retry_after(answer: &HttpResponse) -> Option<Duration> {
    let seconds: u64 = answer.headers().get("retry-after")?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.min(LONGEST_RETRY)))
}

pub(super) fn bounded(text: &str) -> String {
    text.chars().take(MESSAGE_CHARS).collect()
}

/// The first error of this type in a chain of causes.
fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}
