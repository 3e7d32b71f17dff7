//! Maps the SDK's errors to [`InvokeError`].

use std::error::Error;
use std::time::Duration;

use aws_sdk_sagemakerruntime::config::http::HttpResponse;
use aws_sdk_sagemakerruntime::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sagemakerruntime::types::error::ModelError;
use http_body_util::LengthLimitError;
use tintype_core::causes;

use super::error::InvokeError;
use super::interceptor::CallMonitor;

/// Delay before the next attempt if the endpoint is busy and sends no `Retry-After`.
const BUSY_RETRY: Duration = Duration::from_secs(5);
/// The same if the endpoint is being provisioned or is loading its model.
const NOT_READY_RETRY: Duration = Duration::from_secs(30);
/// Maximum `Retry-After` in seconds; a longer one is shortened.
const MAX_RETRY_AFTER: u64 = 3_600;
/// Maximum length of a remote message in characters; the rest is dropped.
const MAX_MESSAGE_CHARS: usize = 1_000;

/// Maps a failed call's error. `model` selects the model's own error among the operation's errors.
pub(super) fn map_sdk_error<E>(
    error: SdkError<E, HttpResponse>,
    monitor: &CallMonitor,
    call_timeout: Duration,
    model: impl FnOnce(&E) -> Option<&ModelError>,
) -> InvokeError
where
    E: Error + ProvideErrorMetadata + Send + Sync + 'static,
{
    if let SdkError::ServiceError(service) = &error {
        if let Some(model_error) = model(service.err()) {
            return map_model_error(model_error, service.raw());
        }
        return map_service_error(service.err(), service.raw());
    }
    if causes::find::<LengthLimitError>(&error).is_some() {
        return InvokeError::ResponseTooLong(monitor.limit());
    }
    if !monitor.transmission_started() {
        return match error {
            // The time limit also covers loading the credentials.
            SdkError::TimeoutError(_) => InvokeError::Unreachable(Box::new(error)),
            _ => InvokeError::NotPrepared(Box::new(error)),
        };
    }
    match error {
        SdkError::TimeoutError(_) => InvokeError::TimedOut(call_timeout),
        _ if causes::find::<hyper_util::client::legacy::Error>(&error)
            .is_some_and(|inner| inner.is_connect()) =>
        {
            InvokeError::Unreachable(Box::new(error))
        }
        _ => InvokeError::Interrupted(Box::new(error)),
    }
}

fn map_model_error(error: &ModelError, response: &HttpResponse) -> InvokeError {
    // The log stream is for the endpoint's operator, not for the API's client.
    tracing::warn!(
        status = error.original_status_code(),
        message = error.original_message(),
        log_stream = error.log_stream_arn(),
        "endpoint model returned an error"
    );
    let message = truncate_message(error.original_message().or(error.message()).unwrap_or_default());
    let status = error.original_status_code().and_then(|status| u16::try_from(status).ok()).unwrap_or(0);
    match status {
        429 | 503 => {
            let retry_after = retry_after(response).unwrap_or(BUSY_RETRY);
            InvokeError::Busy { code: format!("the model answered {status}"), message, retry_after }
        }
        400..=599 => InvokeError::Model { status, message },
        // SageMaker reports a container's time-out as status 0.
        _ => InvokeError::ModelTimedOut(message),
    }
}

fn map_service_error<E: ProvideErrorMetadata>(error: &E, response: &HttpResponse) -> InvokeError {
    let status = response.status().as_u16();
    let code = error.code().map_or_else(|| status.to_string(), truncate_message);
    let message = truncate_message(error.message().unwrap_or_default());
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
            let retry_after = retry_after(response).unwrap_or(default);
            InvokeError::Busy { code, message, retry_after }
        }
        None if status < 500 => InvokeError::Denied { status, code, message },
        None => InvokeError::Service { status, code, message },
    }
}

/// The header `Retry-After` in seconds. A date is ignored: SageMaker sends none.
fn retry_after(response: &HttpResponse) -> Option<Duration> {
    let seconds: u64 = response.headers().get("retry-after")?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.min(MAX_RETRY_AFTER)))
}

/// Shortens a remote message to its maximum length.
pub(super) fn truncate_message(text: &str) -> String {
    text.chars().take(MAX_MESSAGE_CHARS).collect()
}
