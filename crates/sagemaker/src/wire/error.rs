//! The Runtime API's errors as a server writes them. This file chooses their statuses.

use serde_json::json;

use crate::sigv4::SignatureError;

/// Response header with the error's code, from which AWS's SDKs choose the exception's class.
pub const ERROR_TYPE: &str = "x-amzn-errortype";

/// Why an invocation has no result. `Display` is the message that SageMaker's clients show.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuntimeApiError {
    /// The service rejects the request.
    #[error("{0}")]
    Validation(String),
    /// The model answered with an error.
    #[error("Received error {status} from the model: {message}")]
    Model {
        /// The status that the model's container answered with; 0 if the container timed out.
        status: u16,
        /// The container's message.
        message: String,
    },
    /// The model is not loaded yet, or has no room for the request now.
    #[error("{0}")]
    NotReady(String),
    /// The server failed. The cause is in the server's log.
    #[error("Internal failure. The server's log has the cause.")]
    Internal,
    /// The service accepts no requests now.
    #[error("The service is unavailable. Retry the call later.")]
    Unavailable,
    /// The request's signature is missing or invalid.
    #[error(transparent)]
    Signature(#[from] SignatureError),
}

impl RuntimeApiError {
    /// The HTTP status.
    pub fn status(&self) -> u16 {
        match self {
            Self::Validation(_) => 400,
            Self::Model { .. } => 424,
            Self::NotReady(_) => 429,
            Self::Internal => 500,
            Self::Unavailable => 503,
            Self::Signature(SignatureError::Incomplete(_)) => 400,
            Self::Signature(_) => 403,
        }
    }

    /// The error's code, for the header [`ERROR_TYPE`].
    pub fn code(&self) -> &'static str {
        match self {
            Self::Validation(_) => "ValidationError",
            Self::Model { .. } => "ModelError",
            Self::NotReady(_) => "ModelNotReadyException",
            Self::Internal => "InternalFailure",
            Self::Unavailable => "ServiceUnavailable",
            Self::Signature(error) => error.code(),
        }
    }

    /// The response's body, of type [`JSON`](super::JSON).
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
