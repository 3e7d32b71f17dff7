//! Errors as HTTP responses. `status` chooses the status and title of an error and `messages` its detail;
//! `document`, `openai` and `sagemaker` write them in the format of each dialect.
//!
//! The detail of a client's error says how to fix it. The detail of a server error names no cause: the log
//! has it under the request id.

mod document;
mod messages;
mod openai;
mod sagemaker;
mod status;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::BytesRejection;
use axum::http::header::{ACCEPT_ENCODING, ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use time::OffsetDateTime;
use tintype_core::violation::Violation;
use tintype_ledger::id::JobId;
use tintype_ledger::limits::{Limit, LimitExceeded};
use tintype_sagemaker::wire::InvocationError;
use tintype_service::ServiceError;

use crate::connection::ConnectionProblem;
use crate::json::BodyEncodingError;
use crate::ratelimit;
use crate::unknown_path::UnknownPath;

pub(crate) use document::Document;
pub(crate) use messages::failure_detail;
pub(crate) use openai::OpenAiError;

/// The retry interval for a server that is loading its model or shutting down, in seconds.
pub(crate) const SERVER_RETRY_AFTER_S: u64 = 5;
/// The polling interval for a job that has not ended, in seconds.
pub(crate) const JOB_POLL_AFTER_S: u64 = 2;

/// Why a request failed. As a response it has the status and headers only: the middleware adds the body,
/// which needs the request id.
#[derive(Clone, Debug)]
pub(crate) enum Problem {
    /// The service's error.
    Service(ServiceError),
    /// The error of this accepted job.
    Job(JobId, ServiceError),
    /// The credentials are rejected before a key is looked up.
    Credentials(CredentialsError),
    /// The path does not exist.
    NotFound,
    /// The path is not one of the API's.
    UnknownPath(UnknownPath),
    /// The path supports only these methods.
    MethodNotAllowed(&'static str),
    /// The operator disabled image generation by `GET`.
    GetDisabled,
    /// The request is a browser's prefetch.
    Prefetch,
    /// A page of another site made the browser send the request.
    CrossSite,
    /// The `Host` header names another host.
    WrongHost,
    /// The content type, if there is one, is not JSON.
    NotJson(Option<String>),
    /// The body has this content encoding, which is not supported.
    UnsupportedContentEncoding(String),
    /// The body did not arrive in time.
    BodyTimeout,
    /// The body is larger than this number of bytes.
    BodyTooLarge(usize),
    /// The response exceeds the size limit of the deployment.
    ResponseTooLarge,
    /// The body is not a JSON object, for this reason.
    MalformedJson(String),
    /// The body is not text in UTF-8.
    BodyEncoding(BodyEncodingError),
    /// The connection broke before the end of the body.
    IncompleteBody,
    /// The error of a SageMaker dialect.
    Invocation(InvocationError),
    /// The idempotency key is malformed or repeated.
    InvalidIdempotencyKey,
    /// The job has no images yet.
    ImagesPending(JobId),
    /// The time budget ended before the job did, in a dialect without `202 Accepted`.
    StillGenerating(JobId),
    /// The model does not exist.
    UnknownModel(String),
    /// No handler received the request.
    Connection(ConnectionProblem),
    /// A handler panicked or met an impossible state.
    Internal,
}

/// Why credentials are rejected before a key is looked up.
#[derive(Clone, Copy, Debug)]
pub(crate) enum CredentialsError {
    /// No key, and a proxy on this machine forwarded the request.
    Forwarded,
    /// Two different keys.
    Conflicting,
    /// Another scheme than `Bearer`.
    UnsupportedScheme,
    /// Characters outside visible ASCII.
    InvalidCharacters,
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
    /// The problem of a body that could not be read; `limit` is the maximum size in bytes.
    pub(crate) fn from_body_rejection(error: &BytesRejection, limit: usize) -> Self {
        match error.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Self::BodyTooLarge(limit),
            _ => Self::IncompleteBody,
        }
    }

    /// The service's error, if it is one.
    fn service_error(&self) -> Option<&ServiceError> {
        match self {
            Self::Service(error) | Self::Job(_, error) => Some(error),
            _ => None,
        }
    }

    fn limit_exceeded(&self) -> Option<&LimitExceeded> {
        match self.service_error() {
            Some(ServiceError::LimitExceeded(refusal)) => Some(&refusal.exceeded),
            _ => None,
        }
    }

    /// The error to log, if its cause is not for the client.
    pub(crate) fn cause(&self) -> Option<&(dyn Error + 'static)> {
        match self.service_error() {
            Some(error @ (ServiceError::Store(_) | ServiceError::Ledger(_) | ServiceError::Panicked(_))) => {
                Some(error)
            }
            _ => None,
        }
    }

    /// In how many seconds to retry the request.
    fn retry_after(&self) -> Option<u64> {
        if let Some(exceeded) = self.limit_exceeded() {
            return match exceeded.limit {
                // The end of a running job cannot be predicted.
                Limit::Concurrency(_) => Some(1),
                _ => exceeded.retry_after(OffsetDateTime::now_utc()),
            };
        }
        if let Self::Connection(ConnectionProblem::TooManyConnections) = self {
            return Some(SERVER_RETRY_AFTER_S);
        }
        match self.service_error() {
            Some(ServiceError::QueueFull { retry_after }) => Some(whole_seconds(*retry_after)),
            Some(ServiceError::TooManyWatchers { .. }) => Some(JOB_POLL_AFTER_S),
            Some(ServiceError::Failed(failure)) => failure.upstream_error.as_ref()?.retry_after,
            Some(ServiceError::NotReady | ServiceError::Draining | ServiceError::Abandoned) => {
                Some(SERVER_RETRY_AFTER_S)
            }
            Some(ServiceError::Ledger(error)) => error.is_transient().then_some(SERVER_RETRY_AFTER_S),
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
        if let Self::UnsupportedContentEncoding(_) = self {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
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

/// Sets the header with the supported authentication scheme.
fn set_challenge(headers: &mut axum::http::HeaderMap) {
    headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"tintype\""));
}

/// Seconds, rounded up.
fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}
