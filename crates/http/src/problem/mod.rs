//! Errors as RFC 9457 problem documents: the one place in which an error is given its status (`kinds`) and its words
//! (`words`); `document` writes it down.
//!
//! What the client did wrong is told with everything it needs to mend it. What broke here is told as that much only,
//! with the request id under which the log has the cause.

mod document;
mod messages;
mod openai;
mod sagemaker;
mod status;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::BytesRejection;
use axum::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use time::OffsetDateTime;
use tintype_core::violation::Violation;
use tintype_sagemaker::wire::InvocationError;
use tintype_service::ServiceError;
use tintype_service::ledger::id::JobId;
use tintype_service::ledger::limits::{Limit, LimitExceeded};

use crate::ratelimit;

pub(crate) use document::Document;
pub(crate) use messages::failure_detail;
pub(crate) use openai::OpenAiError;

/// When to look again for a server that loads its model or is being replaced, in seconds.
pub(crate) const SERVER_RETRY_AFTER_S: u64 = 5;
/// When to look again for a picture that is being made, in seconds.
pub(crate) const JOB_POLL_AFTER_S: u64 = 2;

/// Why a request got no answer of the kind it asked for. As a response it is only the status and its headers: the body
/// needs the request's id and is written by [`Problem::body`] where that is known.
#[derive(Clone, Debug)]
pub(crate) enum Problem {
    Service(ServiceError),
    /// What became of this job.
    Job(JobId, ServiceError),
    /// A key was presented in a way in which none can be.
    Credentials(&'static str),
    /// No such path.
    NotFound,
    /// The path has other methods: these.
    MethodNotAllowed(&'static str),
    /// The operator turned `GET` off.
    GetDisabled,
    /// A browser guessed that this might be wanted.
    Prefetch,
    /// Another site's page made the browser send it.
    CrossSite,
    /// For a host that this server is not.
    WrongHost,
    /// The body is not said to be JSON.
    NotJson,
    /// The body takes too long to come.
    BodyTimeout,
    /// The body is larger than so many bytes, which no request needs.
    BodyTooLarge(usize),
    /// The answer is larger than whatever runs this server can hand over.
    ResponseTooLarge,
    /// The body is no JSON object, for this reason.
    MalformedJson(String),
    /// What SageMaker's dialects have against it.
    Invocation(InvocationError),
    /// The idempotency key is none.
    InvalidIdempotencyKey,
    /// The job has no pictures yet.
    ImagesPending(JobId),
    /// The job has no pictures yet, and its client cannot be told to come for them otherwise.
    StillGenerating(JobId),
    /// There is no model of this name.
    UnknownModel(String),
    /// A handler panicked, or came upon what cannot be.
    Internal,
}

impl From<ServiceError> for Problem {
    fn from(error: ServiceError) -> Self {
        Self::Service(error)
    }
}

impl From<Vec<Violation>> for Problem {
    fn from(violations: Vec<Violation>) -> Self {
        Self::Service(ServiceError::Invalid(violations))
    }
}

impl From<InvocationError> for Problem {
    fn from(error: InvocationError) -> Self {
        match error {
            InvocationError::Field(violation) => vec![violation].into(),
            other => Self::Invocation(other),
        }
    }
}

impl Problem {
    /// The body did not arrive whole.
    pub(crate) fn from_body_rejection(error: &BytesRejection, limit: usize) -> Self {
        match error.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Self::BodyTooLarge(limit),
            _ => Self::MalformedJson("it broke off before its end".into()),
        }
    }

    /// What the service said, if it was the service.
    fn service_error(&self) -> Option<&ServiceError> {
        match self {
            Self::Service(error) | Self::Job(_, error) => Some(error),
            _ => None,
        }
    }

    fn limit_exceeded(&self) -> Option<&LimitExceeded> {
        match self.service_error() {
            Some(ServiceError::LimitExceeded(refusal)) => Some(&refusal.refused),
            _ => None,
        }
    }

    /// The cause, if it is nothing that a client shall read.
    pub(crate) fn cause(&self) -> Option<&(dyn Error + 'static)> {
        match self.service_error() {
            Some(error @ (ServiceError::Store(_) | ServiceError::Ledger(_) | ServiceError::Panicked(_))) => {
                Some(error)
            }
            _ => None,
        }
    }

    /// In how many seconds the same request may do better.
    fn retry_after(&self) -> Option<u64> {
        if let Some(refused) = self.limit_exceeded() {
            return match refused.limit {
                // When one of the key's jobs ends nobody knows; it can be any time.
                Limit::Concurrency(_) => Some(1),
                _ => refused.retry_after(OffsetDateTime::now_utc()),
            };
        }
        match self.service_error() {
            Some(ServiceError::QueueFull { retry_after }) => Some(whole_seconds(*retry_after)),
            Some(ServiceError::Failed(failure)) => failure.upstream_error.as_ref()?.retry_after,
            Some(ServiceError::NotReady | ServiceError::Draining | ServiceError::Abandoned) => {
                Some(SERVER_RETRY_AFTER_S)
            }
            Some(ServiceError::Ledger(error)) => status::is_transient(error).then_some(SERVER_RETRY_AFTER_S),
            _ => {
                matches!(self, Self::ImagesPending(_) | Self::StillGenerating(_)).then_some(JOB_POLL_AFTER_S)
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.kind().status.into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Self::MethodNotAllowed(allowed) = self {
            headers.insert(ALLOW, HeaderValue::from_static(allowed));
        }
        if let Some(seconds) = self.retry_after() {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        match self.service_error() {
            Some(ServiceError::LimitExceeded(refusal)) => headers.extend(ratelimit::headers(&refusal.quotas)),
            Some(ServiceError::Unauthenticated(_)) => set_challenge(headers),
            _ if matches!(self, Self::Credentials(_)) => set_challenge(headers),
            _ => {}
        }
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

/// Says how to present a key.
fn set_challenge(headers: &mut axum::http::HeaderMap) {
    headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"tintype\""));
}

/// Whole seconds, up.
fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}
