//! Which status an error has.

use axum::http::StatusCode as S;
use tintype_sagemaker::wire::InvocationError;
use tintype_service::ServiceError as E;
use tintype_service::ledger;
use tintype_service::ledger::job::Reason;
use tintype_service::ledger::limits::Limit;

use super::Problem;

/// What a kind of problem is called, and its status.
pub(super) struct ProblemKind {
    pub(super) status: S,
    /// The end of its URN.
    pub(super) name: &'static str,
    pub(super) title: &'static str,
}

const fn kind(status: S, name: &'static str, title: &'static str) -> ProblemKind {
    ProblemKind { status, name, title }
}

const INTERNAL: ProblemKind = kind(S::INTERNAL_SERVER_ERROR, "internal", "Something broke on this server");
const NOT_FOUND: ProblemKind = kind(S::NOT_FOUND, "not-found", "There is nothing here");
const NO_PICTURES: ProblemKind = kind(S::CONFLICT, "no-pictures", "There is no picture");
const UNAUTHENTICATED: ProblemKind = kind(S::UNAUTHORIZED, "unauthenticated", "This takes a good key");

impl Problem {
    pub(super) fn kind(&self) -> ProblemKind {
        match self {
            Self::Service(error) | Self::Job(_, error) => service_kind(error),
            Self::Credentials(_) => UNAUTHENTICATED,
            Self::NotFound => NOT_FOUND,
            Self::MethodNotAllowed(_) => {
                kind(S::METHOD_NOT_ALLOWED, "method-not-allowed", "This method is not allowed here")
            }
            Self::GetDisabled => {
                kind(S::NOT_FOUND, "get-turned-off", "Making pictures by GET is turned off on this server")
            }
            Self::Prefetch => kind(S::FORBIDDEN, "prefetch", "Pictures are not made ahead"),
            Self::CrossSite => kind(S::FORBIDDEN, "cross-site", "Other sites may not make pictures here"),
            Self::WrongHost => kind(S::MISDIRECTED_REQUEST, "wrong-host", "This server is not that host"),
            Self::NotJson => kind(S::UNSUPPORTED_MEDIA_TYPE, "not-json", "This takes JSON"),
            Self::BodyTimeout => kind(S::REQUEST_TIMEOUT, "too-slow", "The body did not come in time"),
            Self::BodyTooLarge(_) => kind(S::PAYLOAD_TOO_LARGE, "too-large", "The body is too large"),
            Self::ResponseTooLarge => {
                kind(S::PAYLOAD_TOO_LARGE, "answer-too-large", "The answer is too large to be handed over")
            }
            Self::MalformedJson(_) => kind(S::BAD_REQUEST, "malformed-json", "The body is no JSON object"),
            Self::Invocation(InvocationError::UnsupportedContentType) => kind(
                S::UNSUPPORTED_MEDIA_TYPE,
                "unsupported-content-type",
                "This takes JSON or a prompt as text",
            ),
            Self::Invocation(InvocationError::NotAcceptable) => {
                kind(S::NOT_ACCEPTABLE, "not-acceptable", "The answer is JSON")
            }
            Self::Invocation(_) => kind(S::BAD_REQUEST, "malformed-invocation", "The body cannot be read"),
            Self::InvalidIdempotencyKey => {
                kind(S::BAD_REQUEST, "invalid-idempotency-key", "The idempotency key is not valid")
            }
            Self::ImagesPending(_) => NO_PICTURES,
            Self::StillGenerating(_) => {
                kind(S::SERVICE_UNAVAILABLE, "on-its-way", "The pictures are being made")
            }
            Self::UnknownModel(_) => kind(S::NOT_FOUND, "unknown-model", "There is no such model"),
            Self::Internal => INTERNAL,
        }
    }
}

fn service_kind(error: &E) -> ProblemKind {
    match error {
        E::Invalid(_) => kind(S::BAD_REQUEST, "invalid-request", "The request is not valid"),
        E::Unauthenticated(_) => UNAUTHENTICATED,
        E::NotAdmin => kind(S::FORBIDDEN, "not-admin", "This takes an admin key"),
        E::LimitExceeded(refusal) => match refusal.refused.limit {
            Limit::Rate(_) => kind(S::TOO_MANY_REQUESTS, "rate-limited", "Too many requests"),
            Limit::Concurrency(_) => kind(S::TOO_MANY_REQUESTS, "too-many-jobs", "Too many jobs at once"),
            Limit::Budget(_) => kind(S::PAYMENT_REQUIRED, "budget-spent", "The budget does not cover it"),
        },
        // Of the budgets' family, though the operator made the mistake: what is asked for cannot be paid from this key.
        E::Unpriced(_) => kind(S::PAYMENT_REQUIRED, "budget-unpriced", "The budget cannot be drawn on"),
        E::QueueFull { .. } => kind(S::TOO_MANY_REQUESTS, "queue-full", "The queue is full"),
        E::IdempotencyConflict => {
            kind(S::UNPROCESSABLE_ENTITY, "idempotency-conflict", "The idempotency key is taken")
        }
        E::NotFound(_) => NOT_FOUND,
        E::NoPictures => NO_PICTURES,
        E::Canceled => kind(S::CONFLICT, "canceled", "It was canceled"),
        E::NotReady => kind(S::SERVICE_UNAVAILABLE, "loading", "The model is still being loaded"),
        E::NoEngine => kind(S::SERVICE_UNAVAILABLE, "no-model", "This server has no model"),
        E::Draining | E::Abandoned => {
            kind(S::SERVICE_UNAVAILABLE, "shutting-down", "This server is shutting down")
        }
        E::Failed(failure) => failure_kind(failure.reason),
        E::Ledger(error) if is_transient(error) => {
            kind(S::SERVICE_UNAVAILABLE, "unavailable", "The books cannot be reached")
        }
        E::Ledger(_) | E::Store(_) | E::Panicked(_) => INTERNAL,
    }
}

fn failure_kind(reason: Reason) -> ProblemKind {
    match reason {
        Reason::Engine | Reason::Store | Reason::Crashed => INTERNAL,
        Reason::Deadline => kind(S::GATEWAY_TIMEOUT, "deadline", "It was not finished by its deadline"),
        // Not 402: there may be no budget at all, and where there is one it may well have something left. Ours is the
        // time that it may take, and ours the estimate that was wrong.
        Reason::Overrun => kind(S::GATEWAY_TIMEOUT, "overrun", "It took longer than it may"),
        Reason::OutcomeUnknown => kind(S::BAD_GATEWAY, "outcome-unknown", "What became of it is not known"),
        Reason::Busy => kind(S::SERVICE_UNAVAILABLE, "engine-busy", "The engine takes no work now"),
        Reason::Model => kind(S::FAILED_DEPENDENCY, "model-error", "The model answered with an error"),
    }
}

/// Whether it is worth coming back for a ledger that said this.
pub(super) fn is_transient(error: &ledger::Error) -> bool {
    matches!(error, ledger::Error::Unavailable(_) | ledger::Error::Contended { .. })
}
