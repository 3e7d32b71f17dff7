//! Errors of AWS calls.

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use tintype_core::causes::causes;

/// Why an AWS operation failed.
#[derive(Debug, thiserror::Error)]
pub enum AwsError {
    /// No region is configured.
    #[error("no AWS region: pass `--region`, or set `AWS_REGION`, or set `region` in `~/.aws/config`")]
    NoRegion,
    /// No credentials, or AWS rejected them.
    #[error(
        "no valid AWS credentials: run `aws configure` or `aws sso login`, or set `AWS_PROFILE`, or set \
         `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` ({0})"
    )]
    Credentials(String),
    /// The identity lacks a permission.
    #[error("not allowed to {what}: {message}")]
    Denied {
        /// The operation, for example `create the stack`.
        what: &'static str,
        /// AWS's message, which names the permission.
        message: String,
    },
    /// AWS could not be reached.
    #[error("failed to reach AWS to {what}: {message}")]
    Unreachable {
        /// The operation.
        what: &'static str,
        /// The cause.
        message: String,
    },
    /// AWS rejected the request for another reason.
    #[error("failed to {what}: {message}")]
    Failed {
        /// The operation.
        what: &'static str,
        /// AWS's error code.
        code: Option<String>,
        /// AWS's message.
        message: String,
    },
    /// The operation on the stack failed.
    #[error("the stack ended as {status}{}", list(reasons))]
    Stack {
        /// The stack's status.
        status: String,
        /// The failed resources with AWS's reasons.
        reasons: Vec<String>,
    },
    /// Another operation on the stack is in progress.
    #[error("another operation on the stack is in progress ({0}); try again when it has ended")]
    InProgress(String),
    /// The stack is in a state that cannot be updated.
    #[error("the stack is {0} and cannot be updated; run `tintype destroy` and deploy again")]
    NotUpdatable(String),
    /// An output is missing.
    #[error("the stack has no output {0}; it was not created from tintype's template")]
    MissingOutput(&'static str),
}

fn list(reasons: &[String]) -> String {
    if reasons.is_empty() { String::new() } else { format!(":\n  {}", reasons.join("\n  ")) }
}

impl AwsError {
    /// Classifies an error by AWS's code.
    pub(crate) fn from_code(what: &'static str, code: Option<&str>, message: String) -> Self {
        match code {
            Some(
                "AccessDenied"
                | "AccessDeniedException"
                | "AuthorizationError"
                | "UnauthorizedOperation"
                | "Forbidden",
            ) => Self::Denied { what, message },
            Some(
                "ExpiredToken"
                | "ExpiredTokenException"
                | "InvalidAccessKeyId"
                | "InvalidClientTokenId"
                | "SignatureDoesNotMatch"
                | "UnrecognizedClientException",
            ) => Self::Credentials(message),
            code => Self::Failed { what, code: code.map(str::to_owned), message },
        }
    }

    /// Converts an SDK error of the operation `what`.
    pub(crate) fn of<E>(what: &'static str) -> impl FnOnce(SdkError<E>) -> Self
    where
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        move |error| match (error.code(), error.message()) {
            (None, None) if error.raw_response().is_none() => {
                Self::Unreachable { what, message: causes(&error).to_string() }
            }
            (code, message) => {
                let status = error.raw_response().map(|response| response.status().as_u16());
                let message =
                    message.map_or_else(|| format!("status {}", status.unwrap_or_default()), str::to_owned);
                // A response to HEAD has no body, so the status is the only code.
                let code = code.or((status == Some(403)).then_some("Forbidden"));
                Self::from_code(what, code, message)
            }
        }
    }

    /// AWS's error code, if the error has no variant of its own.
    pub(crate) fn code(&self) -> Option<&str> {
        match self {
            Self::Failed { code, .. } => code.as_deref(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_classified() {
        let of = |code| AwsError::from_code("create the stack", Some(code), "x".into());
        assert!(matches!(of("AccessDenied"), AwsError::Denied { .. }));
        assert!(matches!(of("ExpiredToken"), AwsError::Credentials(_)));
        assert_eq!(of("ValidationError").code(), Some("ValidationError"));
    }

    #[test]
    fn a_failed_stack_lists_the_reasons() {
        let reasons = vec!["Function: no quota".to_owned(), "Api: canceled".to_owned()];
        let error = AwsError::Stack { status: "ROLLBACK_COMPLETE".into(), reasons };
        assert_eq!(
            error.to_string(),
            "the stack ended as ROLLBACK_COMPLETE:\n  Function: no quota\n  Api: canceled"
        );
    }
}
