//! The problem document (RFC 9457).

use axum::body::Body;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;
use tintype_core::violation::{Violation, ViolationKind};
use tintype_ledger::limits::RetryTime;
use tintype_service::ServiceError;

use super::Problem;
use super::status::ProblemKind;
use crate::image_resource;
use crate::openapi::types::Timestamp;
use crate::request_id::RequestId;

/// A problem (RFC 9457).
// The fields are in the order of the JSON members.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub(crate) struct Document<'a> {
    /// The problem type: `urn:tintype:problem:` and its name.
    r#type: String,
    /// A short summary of the problem type.
    title: &'a str,
    /// The HTTP status.
    status: u16,
    /// What is wrong and how to fix it.
    detail: String,
    /// The path of the job, if the problem concerns one.
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
    /// The request id, also in the header `x-request-id` and in the server log.
    request_id: &'a str,
    /// The exceeded limit of the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<String>,
    /// When to retry the request.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Timestamp>")]
    retry_at: Option<OffsetDateTime>,
    /// In how many seconds to retry the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
    /// The HTTP status of the remote model's error.
    #[serde(skip_serializing_if = "Option::is_none")]
    model_status: Option<u16>,
    /// The invalid parameters.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<ParameterError>,
}

/// A violation of a parameter.
#[derive(Serialize, JsonSchema)]
struct ParameterError {
    /// The parameter's name.
    parameter: String,
    /// What is wrong with the value; follows the parameter's name in a sentence.
    detail: String,
    /// The violated limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<Bound>,
}

/// A violated limit: a maximum or unit, or a range.
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
    /// The problem document of the request with this id.
    pub(crate) fn body(&self, id: &RequestId) -> Body {
        let ProblemKind { status, name, title } = self.kind();
        let errors = match self.service_error() {
            Some(ServiceError::Invalid(violations)) => violations.iter().map(ParameterError::from).collect(),
            _ => Vec::new(),
        };
        let exceeded = self.limit_exceeded();
        let retry_at = exceeded.and_then(|exceeded| match exceeded.retry {
            RetryTime::At(at) => Some(image_resource::to_millisecond(at)),
            RetryTime::WhenJobEnds | RetryTime::Never => None,
        });
        let document = Document {
            r#type: format!("urn:tintype:problem:{name}"),
            title,
            status: status.as_u16(),
            detail: self.detail(),
            instance: match self {
                Self::Job(id, _) | Self::ImagesPending(id) => Some(image_resource::job_path(id)),
                _ => None,
            },
            request_id: id.as_str(),
            limit: exceeded.map(|exceeded| exceeded.limit.to_string()),
            retry_at,
            retry_after: self.retry_after(),
            model_status: match self.service_error() {
                Some(ServiceError::Failed(failure)) => {
                    failure.upstream_error.as_ref().and_then(|upstream_error| upstream_error.status)
                }
                _ => None,
            },
            errors,
        };
        serde_json::to_vec(&document).expect("strings and numbers serialize").into()
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
    // The bounds are written numbers. One that is not a number is passed on as text.
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
