//! What can go wrong between us and AWS.

use aws_sdk_cloudformation::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};

/// Why AWS did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum AwsError {
    /// Nothing says which region.
    #[error("no region is known: give --region, or set AWS_REGION, or `region` in ~/.aws/config")]
    NoRegion,
    /// Nothing says who we are, or AWS does not know who that is.
    #[error(
        "no working AWS credentials: run `aws configure` or `aws sso login`, or set AWS_PROFILE or \
         AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY ({0})"
    )]
    Credentials(String),
    /// Whoever we are may not do that.
    #[error("not allowed to {what}: {said}")]
    Denied {
        /// What was asked, as in `create the stack`.
        what: &'static str,
        /// AWS's words, which name the permission.
        said: String,
    },
    /// AWS could not be reached.
    #[error("cannot reach AWS to {what}: {said}")]
    Unreachable {
        /// What was asked.
        what: &'static str,
        /// Why.
        said: String,
    },
    /// AWS refused or failed for another reason.
    #[error("cannot {what}: {said}")]
    Failed {
        /// What was asked.
        what: &'static str,
        /// AWS's code.
        code: Option<String>,
        /// AWS's words.
        said: String,
    },
    /// The stack came out another way than it should have.
    #[error("the stack ended as {status}{}", in_words(reasons))]
    Stack {
        /// Its status.
        status: String,
        /// Which resources failed, and why.
        reasons: Vec<String>,
    },
    /// Somebody, or an earlier run, is changing the stack.
    #[error("the stack is being changed ({0}): try again when that is done")]
    Busy(String),
    /// The stack is in a state that cannot be updated.
    #[error("the stack is {0} and cannot be updated: remove it with `tintype destroy` and deploy again")]
    Stuck(String),
    /// The stack does not say what it should.
    #[error("the stack has no output {0}: it was not made from this template")]
    Output(&'static str),
}

fn in_words(reasons: &[String]) -> String {
    if reasons.is_empty() { String::new() } else { format!(":\n  {}", reasons.join("\n  ")) }
}

impl AwsError {
    /// From AWS's code and words.
    pub(crate) fn said(what: &'static str, code: Option<&str>, said: String) -> Self {
        match code {
            Some(
                "AccessDenied"
                | "AccessDeniedException"
                | "AuthorizationError"
                | "UnauthorizedOperation"
                | "Forbidden",
            ) => Self::Denied { what, said },
            Some(
                "ExpiredToken"
                | "ExpiredTokenException"
                | "InvalidAccessKeyId"
                | "InvalidClientTokenId"
                | "SignatureDoesNotMatch"
                | "UnrecognizedClientException",
            ) => Self::Credentials(said),
            code => Self::Failed { what, code: code.map(str::to_owned), said },
        }
    }

    /// From the SDK's error.
    pub(crate) fn of<E>(what: &'static str) -> impl FnOnce(SdkError<E>) -> Self
    where
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        move |error| match (error.code(), error.message()) {
            (None, None) if error.raw_response().is_none() => {
                Self::Unreachable { what, said: DisplayErrorContext(&error).to_string() }
            }
            (code, message) => {
                let status = error.raw_response().map(|response| response.status().as_u16());
                let said =
                    message.map_or_else(|| format!("status {}", status.unwrap_or_default()), str::to_owned);
                // An answer to HEAD has no body, so its code is all in its status.
                let code = code.or((status == Some(403)).then_some("Forbidden"));
                Self::said(what, code, said)
            }
        }
    }

    /// AWS's code, where it is one without a meaning of its own here.
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
    fn codes_have_meanings() {
        let of = |code| AwsError::said("create the stack", Some(code), "x".into());
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
