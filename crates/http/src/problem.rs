//! Errors as RFC 9457 problem documents: the one file in which an error is given its status.
//!
//! What the client did wrong is told with everything it needs to mend it. What broke here is told as that much only,
//! with the request id under which the log has the cause.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;
use tintype_core::violation::{Violation, ViolationKind};
use tintype_service::ServiceError;

use crate::request_id::RequestId;

/// When to look again for a server that loads its model or is being replaced, in seconds.
pub(crate) const SOON: u64 = 5;

/// Why a request got no answer of the kind it asked for. As a response it is only the status and its headers: the body
/// needs the request's id and is written by [`Problem::body`] where that is known.
#[derive(Clone, Debug)]
pub(crate) enum Problem {
    Service(ServiceError),
    /// No such path.
    NotFound,
    /// The path has other methods: these.
    MethodNotAllowed(&'static str),
    /// The operator turned `GET` off.
    GetTurnedOff,
    /// A browser guessed that this might be wanted.
    Prefetch,
    /// Another site's page made the browser send it.
    CrossSite,
    /// For a host that this server is not.
    WrongHost,
    /// A handler panicked.
    Panicked,
}

impl From<ServiceError> for Problem {
    fn from(error: ServiceError) -> Self {
        Self::Service(error)
    }
}

/// What a kind of problem is called, and its status.
struct Kind {
    status: StatusCode,
    name: &'static str,
    title: &'static str,
}

/// The problem document, in the order in which it is written.
#[derive(Serialize)]
struct Document<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: String,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<ParameterError>,
}

/// One thing wrong with one parameter.
#[derive(Serialize)]
struct ParameterError {
    parameter: String,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<Limit>,
}

/// The bound that a value broke.
#[derive(Serialize)]
#[serde(untagged)]
enum Limit {
    One(u64),
    Range { min: Value, max: Value },
}

impl Problem {
    fn kind(&self) -> Kind {
        use StatusCode as S;
        let (status, name, title) = match self {
            Self::Service(ServiceError::Invalid(_)) => {
                (S::BAD_REQUEST, "invalid-request", "The request is not valid")
            }
            Self::Service(ServiceError::QueueFull { .. }) => {
                (S::TOO_MANY_REQUESTS, "queue-full", "The queue is full")
            }
            Self::Service(ServiceError::NotReady) => {
                (S::SERVICE_UNAVAILABLE, "loading", "The model is still being loaded")
            }
            Self::Service(ServiceError::NoEngine) => {
                (S::SERVICE_UNAVAILABLE, "no-model", "This server has no model")
            }
            Self::Service(ServiceError::Draining | ServiceError::Abandoned) => {
                (S::SERVICE_UNAVAILABLE, "shutting-down", "This server is shutting down")
            }
            Self::Service(
                ServiceError::Engine(_)
                | ServiceError::Encode(_)
                | ServiceError::Store(_)
                | ServiceError::Panicked(_),
            )
            | Self::Panicked => (S::INTERNAL_SERVER_ERROR, "internal", "Something broke on this server"),
            Self::NotFound => (S::NOT_FOUND, "not-found", "There is nothing here"),
            Self::MethodNotAllowed(_) => {
                (S::METHOD_NOT_ALLOWED, "method-not-allowed", "This method is not allowed here")
            }
            Self::GetTurnedOff => {
                (S::NOT_FOUND, "get-turned-off", "Making pictures by GET is turned off on this server")
            }
            Self::Prefetch => (S::FORBIDDEN, "prefetch", "Pictures are not made ahead"),
            Self::CrossSite => (S::FORBIDDEN, "cross-site", "Other sites may not make pictures here"),
            Self::WrongHost => (S::MISDIRECTED_REQUEST, "wrong-host", "This server is not that host"),
        };
        Kind { status, name, title }
    }

    fn detail(&self) -> String {
        match self {
            Self::Service(ServiceError::Invalid(violations)) => match violations.as_slice() {
                [only] => format!("{only}."),
                several => format!("{} parameters are not as they must be; see errors.", several.len()),
            },
            Self::Service(ServiceError::QueueFull { retry_after }) => format!(
                "As many requests wait as may. A place is likely to be free in {} s.",
                seconds(*retry_after)
            ),
            Self::Service(ServiceError::NotReady) => "Try again in a few seconds.".into(),
            Self::Service(ServiceError::Draining | ServiceError::Abandoned) => {
                "The picture was not made. Try again: another server may be there by then.".into()
            }
            Self::Service(_) | Self::Panicked => {
                "The server's log has the cause under this request_id.".into()
            }
            Self::NotFound => "No such path. A picture is made by GET /generate?prompt=….".into(),
            Self::MethodNotAllowed(allowed) => format!("This path takes {allowed}."),
            Self::GetTurnedOff => "The operator of this server decided so.".into(),
            Self::Prefetch => {
                "A GET here costs computing time, so browsers' prefetching is refused. Open the link to make it."
                    .into()
            }
            Self::CrossSite => "A GET here costs computing time, so it is refused when another site's page \
                                causes it. Open the link in a tab of its own, or call it from your server."
                .into(),
            Self::WrongHost => "The Host header names neither this machine's loopback address with this \
                                server's port nor its configured public URL."
                .into(),
        }
    }

    /// The cause, if it is nothing that a client shall read.
    pub(crate) fn cause(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Service(
                error @ (ServiceError::Engine(_)
                | ServiceError::Encode(_)
                | ServiceError::Store(_)
                | ServiceError::Panicked(_)),
            ) => Some(error),
            _ => None,
        }
    }

    /// The document for the request with this id.
    pub(crate) fn body(&self, id: &RequestId) -> Body {
        let Kind { status, name, title } = self.kind();
        let errors = match self {
            Self::Service(ServiceError::Invalid(violations)) => {
                violations.iter().map(ParameterError::from).collect()
            }
            _ => Vec::new(),
        };
        let document = Document {
            r#type: format!("urn:tintype:problem:{name}"),
            title,
            status: status.as_u16(),
            detail: self.detail(),
            request_id: id.as_str(),
            errors,
        };
        serde_json::to_vec(&document).expect("only strings, numbers and arrays of them").into()
    }

    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Service(ServiceError::QueueFull { retry_after }) => Some(seconds(*retry_after)),
            Self::Service(ServiceError::NotReady | ServiceError::Draining | ServiceError::Abandoned) => {
                Some(SOON)
            }
            _ => None,
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
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

impl From<&Violation> for ParameterError {
    fn from(violation: &Violation) -> Self {
        Self {
            parameter: violation.parameter.clone(),
            detail: violation.kind.to_string(),
            limit: limit(&violation.kind),
        }
    }
}

fn limit(kind: &ViolationKind) -> Option<Limit> {
    // Bounds are numbers written out; should one ever be something else, its text is the next best.
    let number = |text: &String| serde_json::from_str(text).unwrap_or_else(|_| Value::from(text.as_str()));
    match kind {
        ViolationKind::OutOfRange { min, max } => Some(Limit::Range { min: number(min), max: number(max) }),
        ViolationKind::TooLong { limit, .. } => Some(Limit::One(*limit as u64)),
        ViolationKind::NotMultipleOf(unit) => Some(Limit::One((*unit).into())),
        ViolationKind::TooManyPixels { limit, .. }
        | ViolationKind::TooMuchWork { limit, .. }
        | ViolationKind::TooMuchMemory { limit, .. } => Some(Limit::One(*limit)),
        ViolationKind::Missing
        | ViolationKind::Empty
        | ViolationKind::Malformed { .. }
        | ViolationKind::Unknown { .. }
        | ViolationKind::Repeated
        | ViolationKind::NotUtf8 => None,
    }
}

/// Whole seconds, up.
fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}
