//! What can come of a call other than pictures, and what that means to whoever waits for them.

use std::error::Error;
use std::time::Duration;

use tintype_core::engine::{EngineError, RemoteModelError};

use super::location::FetchError;
use crate::wire::ReplyError;

/// When an endpoint that cannot be reached is worth another try.
const UNREACHABLE_RETRY: Duration = Duration::from_secs(5);

/// Why a call gave no pictures.
#[derive(Debug, thiserror::Error)]
pub enum InvokeError {
    /// The request could not be made: no credentials, for example. Nothing was sent.
    #[error("the call could not be prepared")]
    Unprepared(#[source] Box<dyn Error + Send + Sync>),
    /// There was no connection: nothing was sent.
    #[error("the endpoint's service cannot be reached")]
    Unreachable(#[source] Box<dyn Error + Send + Sync>),
    /// The service, or the model behind it, takes nothing now: throttled, loading, scaling. Nothing was made.
    #[error("the endpoint is busy ({code}): {message}")]
    Busy {
        /// AWS's name for it, or the status.
        code: String,
        /// AWS's or the model's words.
        message: String,
        /// When it is worth another try.
        retry_after: Duration,
    },
    /// The service would not pass the request on: no permission, no such endpoint, nothing that it allows. The
    /// settings are wrong, not the client's request, of which the service reads nothing.
    #[error("the service refused the call with status {status} ({code}): {message}")]
    Denied {
        /// The HTTP status.
        status: u16,
        /// AWS's name for it.
        code: String,
        /// AWS's words, which may name the account: for the log.
        message: String,
    },
    /// The model answered with an error.
    #[error("the model answered with status {status}: {message}")]
    Model {
        /// The status that the model answered with, 400 to 599.
        status: u16,
        /// Its own words.
        message: String,
    },
    /// The model did not answer within SageMaker's own limit.
    #[error("the model did not answer in time: {0}")]
    ModelTimedOut(String),
    /// Something broke inside the service.
    #[error("the service failed with status {status} ({code}): {message}")]
    Service {
        /// The HTTP status.
        status: u16,
        /// AWS's name for it.
        code: String,
        /// AWS's words.
        message: String,
    },
    /// The call took longer than its budget.
    #[error("no answer within {} s", .0.as_secs_f64())]
    TimedOut(Duration),
    /// The request was sent, and the connection broke before the answer was complete.
    #[error("the connection broke after the request was sent")]
    Interrupted(#[source] Box<dyn Error + Send + Sync>),
    /// The answer is longer than may be read.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    /// The answer holds no pictures.
    #[error("the model's answer cannot be used")]
    Reply(#[from] ReplyError),
    /// The asynchronous model failed, and said this where its errors go.
    #[error("the asynchronous model failed: {0}")]
    AsyncFailed(String),
    /// The service accepted the work and did not say where its result will be.
    #[error("the service did not say where the result will be")]
    NoLocation,
    /// The asynchronous model's result is where we cannot read it.
    #[error("the result cannot be read")]
    Fetch(#[from] FetchError),
}

impl From<InvokeError> for EngineError {
    fn from(error: InvokeError) -> Self {
        match error {
            InvokeError::Unreachable(_) => {
                Self::Busy { retry_after: UNREACHABLE_RETRY, source: Box::new(error) }
            }
            InvokeError::Busy { retry_after, .. } => Self::Busy { retry_after, source: Box::new(error) },
            InvokeError::Model { status, message } => Self::Model(RemoteModelError { status, message }),
            InvokeError::ModelTimedOut(_)
            | InvokeError::Service { .. }
            | InvokeError::TimedOut(_)
            | InvokeError::NoLocation
            | InvokeError::Interrupted(_) => Self::OutcomeUnknown(Box::new(error)),
            InvokeError::Reply(ReplyError::Withheld { reason, .. }) => Self::Withheld(reason),
            InvokeError::TooLong(_)
            | InvokeError::Reply(_)
            | InvokeError::AsyncFailed(_)
            | InvokeError::Fetch(_) => Self::UnusableResult(Box::new(error)),
            InvokeError::Unprepared(_) | InvokeError::Denied { .. } => Self::Failed(Box::new(error)),
        }
    }
}
