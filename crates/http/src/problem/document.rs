//! The problem document.

use axum::body::Body;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;
use tintype_core::violation::{Violation, ViolationKind};
use tintype_service::ServiceError;
use tintype_service::ledger::limits::RetryTime;

use super::Problem;
use super::status::Kind;
use crate::image_resource;
use crate::openapi::types::Timestamp;
use crate::request_id::RequestId;

/// The problem document, in the order in which it is written.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub(crate) struct Document<'a> {
    /// `urn:tintype:problem:` and the name of the problem.
    r#type: String,
    /// What kind of problem it is.
    title: &'a str,
    /// The HTTP status.
    status: u16,
    /// What happened, and what to do.
    detail: String,
    /// The job that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
    /// The name under which the log has it; `x-request-id` too.
    request_id: &'a str,
    /// The limit of the key that does not let the request in.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<String>,
    /// When the same request may do better.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Timestamp>")]
    retry_at: Option<OffsetDateTime>,
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
    /// The status that a remote model answered with.
    #[serde(skip_serializing_if = "Option::is_none")]
    model_status: Option<u16>,
    /// Everything that is wrong with the parameters.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<ParameterError>,
}

/// One thing wrong with one parameter.
#[derive(Serialize, JsonSchema)]
struct ParameterError {
    /// Which one.
    parameter: String,
    /// What it must be.
    detail: String,
    /// The bound that it broke.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<Bound>,
}

/// The bound that a value broke.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
enum Bound {
    One(u64),
    Range {
        #[schemars(with = "f64")]
        min: Value,
        #[schemars(with = "f64")]
        max: Value,
    },
}

impl Problem {
    /// The document for the request with this id.
    pub(crate) fn body(&self, id: &RequestId) -> Body {
        let Kind { status, name, title } = self.kind();
        let errors = match self.error() {
            Some(ServiceError::Invalid(violations)) => violations.iter().map(ParameterError::from).collect(),
            _ => Vec::new(),
        };
        let refused = self.refused();
        let retry_at = refused.and_then(|refused| match refused.retry {
            RetryTime::At(at) => Some(image_resource::moment(at)),
            RetryTime::WhenJobEnds | RetryTime::Never => None,
        });
        let document = Document {
            r#type: format!("urn:tintype:problem:{name}"),
            title,
            status: status.as_u16(),
            detail: self.detail(),
            instance: match self {
                Self::Job(id, _) | Self::NotYet(id) => Some(image_resource::path(id)),
                _ => None,
            },
            request_id: id.as_str(),
            limit: refused.map(|refused| refused.limit.to_string()),
            retry_at,
            retry_after: self.retry_after(),
            model_status: match self.error() {
                Some(ServiceError::Failed(failure)) => {
                    failure.upstream_error.as_ref().and_then(|upstream_error| upstream_error.status)
                }
                _ => None,
            },
            errors,
        };
        serde_json::to_vec(&document).expect("only strings, numbers and arrays of them").into()
    }
}

impl From<&Violation> for ParameterError {
    fn from(violation: &Violation) -> Self {
        Self {
            parameter: violation.parameter.clone(),
            detail: violation.kind.to_string(),
            limit: bound(&violation.kind),
        }
    }
}

fn bound(kind: &ViolationKind) -> Option<Bound> {
    // Bounds are numbers written out; should one ever be something else, its text is the next best.
    let number = |text: &String| serde_json::from_str(text).unwrap_or_else(|_| Value::from(text.as_str()));
    match kind {
        ViolationKind::OutOfRange { min, max } => Some(Bound::Range { min: number(min), max: number(max) }),
        ViolationKind::TooLong { limit, .. } => Some(Bound::One(*limit as u64)),
        ViolationKind::NotMultipleOf(unit) => Some(Bound::One((*unit).into())),
        ViolationKind::TooManyPixels { limit, .. }
        | ViolationKind::TooMuchWork { limit, .. }
        | ViolationKind::TooMuchMemory { limit, .. } => Some(Bound::One(*limit)),
        ViolationKind::Missing
        | ViolationKind::Empty
        | ViolationKind::Malformed { .. }
        | ViolationKind::Unknown { .. }
        | ViolationKind::Repeated
        | ViolationKind::NotUtf8 => None,
    }
}
