//! The Runtime API's errors, as a server writes them. This is where their statuses are chosen.

use serde_json::json;

use crate::sigv4::SignatureError;

/// The answer's header with the error's name, from which AWS's SDKs tell what it is.
pub const ERROR_TYPE: &str = "x-amzn-errortype";

/// Why an invocation is answered without a result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The request makes no sense to the service.
    #[error("{0}")]
    Validation(String),
    /// The model was reached and answered with an error.
    #[error("received an error ({status}) from the model: {message}")]
    Model {
        /// The status that the model's container answered with; 0 if it did not in time.
        status: u16,
        /// What it said.
        message: String,
    },
    /// The model is not loaded yet, or has no room for the request now.
    #[error("{0}")]
    NotReady(String),
    /// Something broke; the cause is in the log.
    #[error("an internal failure occurred")]
    Internal,
    /// The service takes no requests now.
    #[error("the service is unavailable, try your call again")]
    Unavailable,
    /// The request is not signed as it must be.
    #[error(transparent)]
    Unsigned(#[from] SignatureError),
}

impl Failure {
    /// The HTTP status.
    pub fn status(&self) -> u16 {
        match self {
            Self::Validation(_) => 400,
            Self::Model { .. } => 424,
            Self::NotReady(_) => 429,
            Self::Internal => 500,
            Self::Unavailable => 503,
            Self::Unsigned(SignatureError::Incomplete(_)) => 400,
            Self::Unsigned(_) => 403,
        }
    }

    /// The error's name, for the header [`ERROR_TYPE`].
    pub fn code(&self) -> &'static str {
        match self {
            Self::Validation(_) => "ValidationError",
            Self::Model { .. } => "ModelError",
            Self::NotReady(_) => "ModelNotReadyException",
            Self::Internal => "InternalFailure",
            Self::Unavailable => "ServiceUnavailable",
            Self::Unsigned(refusal) => refusal.code(),
        }
    }

    /// The body, of type [`JSON`](super::JSON).
    pub fn body(&self) -> Vec<u8> {
        let message = self.to_string();
        let body = match self {
            Self::Model { status, message: original } => json!({
                "Message": message,
                "OriginalStatusCode": status,
                "OriginalMessage": original,
            }),
            _ => json!({ "Message": message }),
        };
        body.to_string().into_bytes()
    }
}
