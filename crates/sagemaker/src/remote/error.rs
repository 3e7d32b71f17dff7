//! Why a call has no pictures, and which engine error that is.

use std::error::Error;
use std::time::Duration;

use tintype_core::engine::{CallObstacle, EngineError, RemoteModelError};

use super::availability::{cause, obstacle};
use super::location::FetchError;
use crate::wire::ResponseError;

/// Delay before the next attempt if the endpoint cannot be reached.
const UNREACHABLE_RETRY: Duration = Duration::from_secs(5);

/// Why a call has no pictures.
#[derive(Debug, thiserror::Error)]
pub enum InvokeError {
    /// The request could not be built, for example without credentials. Nothing was sent.
    #[error("failed to prepare the call")]
    NotPrepared(#[source] Box<dyn Error + Send + Sync>),
    /// No connection could be opened. Nothing was sent.
    #[error("failed to connect to the endpoint's service")]
    Unreachable(#[source] Box<dyn Error + Send + Sync>),
    /// The service or its model accepts no requests now: it is throttled, loading or scaling. No pictures
    /// were made.
    #[error("the endpoint is busy ({code}): {message}")]
    Busy {
        /// AWS's error code, or the status.
        code: String,
        /// AWS's or the model's message.
        message: String,
        /// Delay before the next attempt.
        retry_after: Duration,
    },
    /// The service rejected the call: no permission, no such endpoint, or a parameter out of range. The
    /// settings are wrong, not the client's request, which the service does not read.
    #[error("the service rejected the call with status {status} ({code}): {message}")]
    Denied {
        /// The HTTP status.
        status: u16,
        /// AWS's error code.
        code: String,
        /// AWS's message. It may name the account, so it is for the log only.
        message: String,
    },
    /// The model answered with an error.
    #[error("the model answered with status {status}: {message}")]
    Model {
        /// The status that the model answered with, 400 to 599.
        status: u16,
        /// The model's message.
        message: String,
    },
    /// The model did not answer within SageMaker's time limit. The text is the model's message.
    #[error("the model timed out: {0}")]
    ModelTimedOut(String),
    /// The service had an internal failure.
    #[error("the service failed with status {status} ({code}): {message}")]
    Service {
        /// The HTTP status.
        status: u16,
        /// AWS's error code.
        code: String,
        /// AWS's message.
        message: String,
    },
    /// The call took longer than its time limit.
    #[error("no response within {} s", .0.as_secs_f64())]
    TimedOut(Duration),
    /// The connection broke after the request was sent and before the response was complete.
    #[error("the connection broke after the request was sent")]
    Interrupted(#[source] Box<dyn Error + Send + Sync>),
    /// The response is longer than the limit in bytes.
    #[error("the response is longer than {0} bytes")]
    ResponseTooLong(usize),
    /// The response has no usable pictures.
    #[error("invalid response from the model")]
    Response(#[from] ResponseError),
    /// The asynchronous model failed. The text is what it wrote to the failure location.
    #[error("the asynchronous model failed: {0}")]
    AsyncFailed(String),
    /// The service accepted the work without an output location.
    #[error("the service's response has no valid output location")]
    NoOutputLocation,
    /// The asynchronous model's result cannot be read.
    #[error("failed to read the result")]
    Fetch(#[from] FetchError),
}

impl From<InvokeError> for EngineError {
    fn from(error: InvokeError) -> Self {
        let obstacle = obstacle(&error);
        match error {
            InvokeError::Unreachable(_) => {
                Self::Busy { retry_after: UNREACHABLE_RETRY, source: Box::new(error) }
            }
            InvokeError::Busy { retry_after, .. } => Self::Busy { retry_after, source: Box::new(error) },
            InvokeError::Model { status, message } => Self::Model(RemoteModelError { status, message }),
            InvokeError::ModelTimedOut(_)
            | InvokeError::Service { .. }
            | InvokeError::TimedOut(_)
            | InvokeError::NoOutputLocation
            | InvokeError::Interrupted(_) => Self::OutcomeUnknown(Box::new(error)),
            InvokeError::Response(ResponseError::Withheld { reason, .. }) => Self::Withheld(reason),
            InvokeError::ResponseTooLong(_)
            | InvokeError::Response(_)
            | InvokeError::AsyncFailed(_)
            | InvokeError::Fetch(_) => Self::UnusableResult(Box::new(error)),
            InvokeError::Denied { .. } => Self::Unavailable {
                obstacle: obstacle.unwrap_or(CallObstacle::Rejected),
                source: Box::new(error),
            },
            InvokeError::NotPrepared(_) => match obstacle {
                Some(obstacle) => Self::Unavailable { obstacle, source: cause(obstacle, error) },
                None => Self::Failed(Box::new(error)),
            },
        }
    }
}
