//! Problems in the format of OpenAI's API: the body, the codes, and the retry headers.

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode as S};
use schemars::JsonSchema;
use serde::Serialize;
use tintype_core::violation::ViolationKind;
use tintype_ledger::job::Reason;
use tintype_ledger::limits::Limit;
use tintype_service::{KeyError, ServiceError as E};

use super::Problem;
use crate::connection::ConnectionProblem;

/// OpenAI's SDKs follow this header before all other rules of their retries.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
/// As `RetryTime-After`, in milliseconds; read first.
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
/// The longest delay that OpenAI's SDKs accept, in seconds; they do not retry after a longer one.
const MAX_RETRY_AFTER_S: u64 = 60;
/// The delay before the retry of a job that is still running: the retry waits for the job on the server.
const IMMEDIATE_RETRY_MS: u64 = 100;

/// The error body of OpenAI's API.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "OpenAiError")]
pub(crate) struct OpenAiError {
    error: ErrorBody,
}

impl From<OpenAiError> for Body {
    fn from(error: OpenAiError) -> Self {
        serde_json::to_vec(&error).expect("strings serialize").into()
    }
}

/// All members are always present.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "OpenAiErrorBody")]
struct ErrorBody {
    /// What is wrong and how to fix it.
    message: String,
    /// The class of the error.
    r#type: &'static str,
    /// The first invalid parameter.
    param: Option<String>,
    /// The error, for programs.
    code: Option<String>,
}

impl Problem {
    /// The status for OpenAI's clients, which do not know 402.
    pub(crate) fn openai_status(&self) -> S {
        match self.kind().status {
            S::PAYMENT_REQUIRED => S::TOO_MANY_REQUESTS,
            status => status,
        }
    }

    /// Sets the headers for OpenAI's clients.
    pub(crate) fn openai_headers(&self, headers: &mut HeaderMap) {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let retry = self.is_retryable();
        headers.insert(SHOULD_RETRY, HeaderValue::from_static(if retry { "true" } else { "false" }));
        if let Self::StillGenerating(_) = self {
            headers.insert(RETRY_AFTER_MS, IMMEDIATE_RETRY_MS.into());
        }
    }

    /// The body for OpenAI's clients.
    pub(crate) fn openai_body(&self) -> OpenAiError {
        let (r#type, code) = self.openai_code();
        let violations = match self.service_error() {
            Some(E::Invalid(violations)) => violations.as_slice(),
            _ => &[],
        };
        let message = match violations {
            // OpenAI's format has one message for all violations.
            [_, _, ..] => {
                violations.iter().map(|violation| format!("{violation}.")).collect::<Vec<_>>().join(" ")
            }
            _ => self.detail(),
        };
        let param = match self {
            Self::UnknownModel(_) | Self::Service(E::UnknownModel(_) | E::ModelNotAllowed(_)) => {
                Some("model".to_owned())
            }
            _ => violations.first().map(|violation| violation.parameter.clone()),
        };
        OpenAiError { error: ErrorBody { message, r#type, param, code } }
    }

    /// Whether an automatic retry may succeed and is not charged twice.
    fn is_retryable(&self) -> bool {
        let is_short = || self.retry_after().is_some_and(|seconds| seconds <= MAX_RETRY_AFTER_S);
        match self {
            Self::StillGenerating(_) | Self::BodyTimeout => true,
            Self::Connection(problem) => *problem == ConnectionProblem::TooManyConnections,
            Self::Service(error) | Self::Job(_, error) => match error {
                E::LimitExceeded(refusal) => {
                    !matches!(refusal.exceeded.limit, Limit::Budget(_)) && is_short()
                }
                E::QueueFull { .. } | E::NotReady | E::Draining | E::Abandoned => is_short(),
                E::Ledger(error) => error.is_transient(),
                E::Failed(failure) => failure.reason == Reason::Busy,
                _ => false,
            },
            _ => false,
        }
    }

    /// The type and the code. Where OpenAI has no code, it is the native name of the problem.
    fn openai_code(&self) -> (&'static str, Option<String>) {
        let kind = self.kind();
        let r#type = match self.openai_status() {
            S::TOO_MANY_REQUESTS => "rate_limit_error",
            S::FORBIDDEN => "permission_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        };
        let (r#type, code) = match self {
            Self::UnknownModel(_) => (r#type, "model_not_found"),
            Self::Credentials(_) => (r#type, "invalid_api_key"),
            Self::Service(error) | Self::Job(_, error) => match error {
                E::UnknownModel(_) => (r#type, "model_not_found"),
                E::Unauthenticated(KeyError::Missing) => (r#type, ""),
                E::Unauthenticated(_) => (r#type, "invalid_api_key"),
                E::LimitExceeded(refusal) => match refusal.exceeded.limit {
                    Limit::Budget(_) => ("insufficient_quota", "insufficient_quota"),
                    Limit::Rate(_) | Limit::Concurrency(_) => (r#type, "rate_limit_exceeded"),
                },
                E::Unpriced(_) => ("insufficient_quota", "insufficient_quota"),
                E::Invalid(violations) => {
                    (r#type, violations.first().map_or("", |first| violation_code(&first.kind)))
                }
                _ => (r#type, kind.name),
            },
            _ => (r#type, kind.name),
        };
        (r#type, (!code.is_empty()).then(|| code.replace('-', "_")))
    }
}

fn violation_code(kind: &ViolationKind) -> &'static str {
    match kind {
        ViolationKind::Missing => "missing_required_parameter",
        ViolationKind::Unknown { .. } => "unknown_parameter",
        _ => "invalid_value",
    }
}
