//! The status, name and title of each problem.

use axum::http::StatusCode as S;
use tintype_ledger as ledger;
use tintype_ledger::job::Reason;
use tintype_ledger::limits::Limit;
use tintype_sagemaker::wire::InvocationError;
use tintype_service::{KeyError, ServiceError as E};

use super::{CredentialsError, Problem};
use crate::connection::ConnectionProblem;

/// The status, name and title of a problem.
pub(super) struct ProblemKind {
    pub(super) status: S,
    /// The last part of the problem's URN.
    pub(super) name: &'static str,
    /// A noun phrase.
    pub(super) title: &'static str,
}

const fn kind(status: S, name: &'static str, title: &'static str) -> ProblemKind {
    ProblemKind { status, name, title }
}

const INTERNAL: ProblemKind = kind(S::INTERNAL_SERVER_ERROR, "internal", "Internal error");
const NOT_FOUND: ProblemKind = kind(S::NOT_FOUND, "not-found", "Not found");
const UNKNOWN_MODEL: ProblemKind = kind(S::NOT_FOUND, "unknown-model", "Unknown model");
const NO_PICTURES: ProblemKind = kind(S::CONFLICT, "no-pictures", "No image available");
const UNAUTHENTICATED: &str = "unauthenticated";
const NO_KEY: ProblemKind = kind(S::UNAUTHORIZED, UNAUTHENTICATED, "Authentication required");
const INVALID_KEY: ProblemKind = kind(S::UNAUTHORIZED, UNAUTHENTICATED, "Invalid API key");
const MALFORMED_JSON: ProblemKind = kind(S::BAD_REQUEST, "malformed-json", "Malformed JSON body");

impl Problem {
    pub(super) fn kind(&self) -> ProblemKind {
        match self {
            Self::Service(error) | Self::Job(_, error) => service_kind(error),
            Self::Credentials(CredentialsError::Forwarded) => NO_KEY,
            Self::Credentials(_) => INVALID_KEY,
            Self::NotFound | Self::UnknownPath(_) => NOT_FOUND,
            Self::MethodNotAllowed(_) => {
                kind(S::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed")
            }
            Self::GetDisabled => kind(S::NOT_FOUND, "get-turned-off", "Generation by GET disabled"),
            Self::Prefetch => kind(S::FORBIDDEN, "prefetch", "Prefetch refused"),
            Self::CrossSite => kind(S::FORBIDDEN, "cross-site", "Cross-site request refused"),
            Self::WrongHost => kind(S::MISDIRECTED_REQUEST, "wrong-host", "Wrong host"),
            Self::NotJson(_) => kind(S::UNSUPPORTED_MEDIA_TYPE, "not-json", "Unsupported content type"),
            Self::UnsupportedContentEncoding(_) => kind(
                S::UNSUPPORTED_MEDIA_TYPE,
                "unsupported-content-encoding",
                "Unsupported content encoding",
            ),
            Self::BodyTimeout => kind(S::REQUEST_TIMEOUT, "too-slow", "Request body timeout"),
            Self::BodyTooLarge(_) => kind(S::PAYLOAD_TOO_LARGE, "too-large", "Request body too large"),
            Self::ResponseTooLarge => kind(S::PAYLOAD_TOO_LARGE, "answer-too-large", "Response too large"),
            Self::MalformedJson(_) | Self::BodyEncoding(_) | Self::IncompleteBody => MALFORMED_JSON,
            Self::Invocation(InvocationError::UnsupportedContentType) => {
                kind(S::UNSUPPORTED_MEDIA_TYPE, "unsupported-content-type", "Unsupported content type")
            }
            Self::Invocation(InvocationError::NotAcceptable) => {
                kind(S::NOT_ACCEPTABLE, "not-acceptable", "Unsupported response type")
            }
            Self::Invocation(_) => kind(S::BAD_REQUEST, "malformed-invocation", "Malformed invocation"),
            Self::InvalidIdempotencyKey => {
                kind(S::BAD_REQUEST, "invalid-idempotency-key", "Invalid idempotency key")
            }
            Self::ImagesPending(_) => NO_PICTURES,
            Self::StillGenerating(_) => kind(S::SERVICE_UNAVAILABLE, "on-its-way", "Generation in progress"),
            Self::UnknownModel(_) => UNKNOWN_MODEL,
            Self::Connection(problem) => connection_kind(*problem),
            Self::Internal => INTERNAL,
        }
    }
}

fn connection_kind(problem: ConnectionProblem) -> ProblemKind {
    match problem {
        ConnectionProblem::InvalidUrlByte(_) | ConnectionProblem::MalformedRequest => {
            kind(S::BAD_REQUEST, "malformed-request", "Malformed request")
        }
        ConnectionProblem::UrlTooLong => kind(S::URI_TOO_LONG, "url-too-long", "URL too long"),
        ConnectionProblem::HeadersTooLarge => {
            kind(S::REQUEST_HEADER_FIELDS_TOO_LARGE, "headers-too-large", "Request headers too large")
        }
        ConnectionProblem::HeaderTimeout(_) => {
            kind(S::REQUEST_TIMEOUT, "header-timeout", "Request header timeout")
        }
        ConnectionProblem::TooManyConnections => {
            kind(S::SERVICE_UNAVAILABLE, "too-many-connections", "Too many connections")
        }
    }
}

fn service_kind(error: &E) -> ProblemKind {
    match error {
        E::Invalid(_) => kind(S::BAD_REQUEST, "invalid-request", "Invalid request"),
        E::Unauthenticated(KeyError::Missing) => NO_KEY,
        E::Unauthenticated(KeyError::InvalidToken | KeyError::ExpiredToken) => {
            kind(S::UNAUTHORIZED, UNAUTHENTICATED, "Invalid event token")
        }
        E::Unauthenticated(_) => INVALID_KEY,
        E::NotAdmin => kind(S::FORBIDDEN, "not-admin", "Admin key required"),
        E::LimitExceeded(refusal) => match refusal.exceeded.limit {
            Limit::Rate(_) => kind(S::TOO_MANY_REQUESTS, "rate-limited", "Rate limit exceeded"),
            Limit::Concurrency(_) => {
                kind(S::TOO_MANY_REQUESTS, "too-many-jobs", "Concurrency limit exceeded")
            }
            Limit::Budget(_) => kind(S::PAYMENT_REQUIRED, "budget-spent", "Budget exhausted"),
        },
        // 402 like an exhausted budget, although the operator made the mistake: this key cannot pay for the
        // request.
        E::Unpriced(_) => kind(S::PAYMENT_REQUIRED, "budget-unpriced", "No price in the budget currency"),
        E::QueueFull { .. } => kind(S::TOO_MANY_REQUESTS, "queue-full", "Queue full"),
        E::TooManyWatchers { .. } => {
            kind(S::TOO_MANY_REQUESTS, "too-many-watchers", "Too many event streams")
        }
        E::IdempotencyConflict => {
            kind(S::UNPROCESSABLE_ENTITY, "idempotency-conflict", "Idempotency key conflict")
        }
        E::NotFound(_) => NOT_FOUND,
        E::NoPictures => NO_PICTURES,
        E::Canceled => kind(S::CONFLICT, "canceled", "Job canceled"),
        E::NotReady => kind(S::SERVICE_UNAVAILABLE, "loading", "Model loading"),
        E::UnknownModel(_) => UNKNOWN_MODEL,
        E::ModelNotAllowed(_) => kind(S::FORBIDDEN, "model-not-allowed", "Model not allowed"),
        E::NoEngine => kind(S::SERVICE_UNAVAILABLE, "no-model", "Model unavailable"),
        E::Draining => kind(S::SERVICE_UNAVAILABLE, "shutting-down", "Server shutting down"),
        E::Abandoned => kind(S::SERVICE_UNAVAILABLE, "abandoned", "Job abandoned"),
        E::Failed(failure) => failure_kind(failure.reason),
        E::Ledger(error) if matches!(**error, ledger::Error::StorageFull(_)) => {
            kind(S::SERVICE_UNAVAILABLE, "unavailable", "Ledger unavailable: disk full")
        }
        E::Ledger(error) if error.is_transient() => {
            kind(S::SERVICE_UNAVAILABLE, "unavailable", "Ledger unavailable")
        }
        E::Ledger(_) | E::Store(_) | E::Panicked(_) => INTERNAL,
    }
}

fn failure_kind(reason: Reason) -> ProblemKind {
    match reason {
        Reason::Engine | Reason::Store | Reason::Crashed | Reason::UnreadableRecord => INTERNAL,
        Reason::StoreFull => kind(S::SERVICE_UNAVAILABLE, "store-full", "Image store full"),
        Reason::EngineUnavailable => kind(S::SERVICE_UNAVAILABLE, "engine-unavailable", "Engine unavailable"),
        Reason::NotFinite => kind(S::INTERNAL_SERVER_ERROR, "not-finite", "Image not finite"),
        Reason::Deadline => kind(S::GATEWAY_TIMEOUT, "deadline", "Deadline exceeded"),
        // Not 402: the key may have no budget, or one that is not exhausted. The server set the time limit
        // and estimated the reservation.
        Reason::Overrun => kind(S::GATEWAY_TIMEOUT, "overrun", "Job time limit exceeded"),
        Reason::OutcomeUnknown => kind(S::BAD_GATEWAY, "outcome-unknown", "Unknown outcome"),
        Reason::Busy => kind(S::SERVICE_UNAVAILABLE, "engine-busy", "Engine busy"),
        Reason::Model => kind(S::FAILED_DEPENDENCY, "model-error", "Model error"),
    }
}
