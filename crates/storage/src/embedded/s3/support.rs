//! The operations, headers and query parameters of S3 that the service understands.
//!
//! A client must not believe that an object is encrypted, locked or public when it is not. The service
//! therefore refuses a request with `NotImplemented` if it has a header or parameter that the table of its
//! operation does not list. `docs/s3.md` contains the table, and a test compares the two.

mod table;
#[cfg(test)]
mod tests;

use http::header::{CONTENT_RANGE, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use s3s::{S3Result, s3_error};

use self::table::{ANY_OPERATION, OPERATIONS, SIGNATURE_PARAMETERS, WRITE_PARAMETERS_WITHOUT_EFFECT};
use super::OWNER;
use crate::embedded::query_string::QueryString;

/// What the service does with a header or a query parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Handling {
    /// The operation applies every value.
    Applied,
    /// The operation applies these values, and no other value is accepted.
    AppliedOneOf(&'static [&'static str]),
    /// Only these values are accepted. They are S3's defaults, so that the operation has nothing to apply.
    Default(&'static [&'static str]),
    /// Every value is accepted, because no value changes what the service does.
    NoEffect,
    /// The value must be the id of the service's only account, as in S3.
    Owner,
}

/// A header or a query parameter.
#[derive(Clone, Copy, Debug)]
struct Field {
    /// The name in lower case (headers), or as S3 has it (parameters). A `*` at the end stands for any text.
    name: &'static str,
    handling: Handling,
}

/// An operation that the service implements.
#[derive(Debug)]
struct Operation {
    /// The name in S3's API.
    name: &'static str,
    /// Headers in addition to [`ANY_OPERATION`], in groups.
    headers: &'static [&'static [Field]],
    query: &'static [Field],
}

/// Headers without the prefix `x-amz-` that change the meaning of a write.
const WRITE_CONDITIONS: [HeaderName; 5] =
    [IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE, CONTENT_RANGE];

impl Operation {
    fn header(&self, name: &str) -> Option<Handling> {
        find(self.headers.iter().copied().flatten(), name).or_else(|| find(ANY_OPERATION, name))
    }
}

fn find<'a>(fields: impl IntoIterator<Item = &'a Field>, name: &str) -> Option<Handling> {
    let matches = |field: &&Field| match field.name.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => field.name == name,
    };
    fields.into_iter().find(matches).map(|field| field.handling)
}

/// A request whose signature is valid.
#[derive(Clone, Copy, Debug)]
pub(super) struct SignedRequest<'a> {
    /// The operation's name in S3's API.
    pub(super) operation: &'a str,
    pub(super) method: &'a Method,
    pub(super) uri: &'a Uri,
    pub(super) headers: &'a HeaderMap,
}

/// Checks that the service understands the request.
///
/// # Errors
/// `NotImplemented` with the name of the operation, header or parameter; `AccessDenied` if the client expects
/// another owner of the bucket.
pub(super) fn check(request: SignedRequest<'_>) -> S3Result<()> {
    let name = request.operation;
    let operation = OPERATIONS.iter().find(|operation| operation.name == name);
    let operation =
        operation.ok_or_else(|| s3_error!(NotImplemented, "The operation {name} is not supported."))?;
    check_headers(operation, request)?;
    check_query(operation, request)
}

fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

fn check_headers(operation: &Operation, request: SignedRequest<'_>) -> S3Result<()> {
    for (name, value) in request.headers {
        let is_condition = !is_read(request.method) && WRITE_CONDITIONS.contains(name);
        if !is_condition && !name.as_str().starts_with("x-amz-") {
            continue;
        }
        // As in S3, an empty header has no meaning.
        let value = value_text(value);
        if value.is_empty() {
            continue;
        }
        match operation.header(name.as_str()) {
            Some(handling) => check_value(&format!("header {name}"), handling, &value)?,
            None => {
                return Err(s3_error!(
                    NotImplemented,
                    "The header {name} is not supported for {}. Remove it from the request.",
                    operation.name
                ));
            }
        }
    }
    Ok(())
}

fn value_text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).trim().to_owned()
}

fn check_value(what: &str, handling: Handling, value: &str) -> S3Result<()> {
    let is_one_of = |accepted: &[&str]| {
        value
            .split(',')
            .all(|part| accepted.iter().any(|accepted| accepted.eq_ignore_ascii_case(part.trim())))
    };
    match handling {
        Handling::Applied | Handling::NoEffect => Ok(()),
        Handling::AppliedOneOf(accepted) | Handling::Default(accepted) if is_one_of(accepted) => Ok(()),
        Handling::AppliedOneOf(accepted) | Handling::Default(accepted) => Err(s3_error!(
            NotImplemented,
            "The {what} is {value:?}; this server supports only {}.",
            accepted.join(", ")
        )),
        Handling::Owner if value == OWNER => Ok(()),
        Handling::Owner => Err(s3_error!(
            AccessDenied,
            "The {what} is {value:?}, and the owner of every bucket is {OWNER:?}. Remove the header."
        )),
    }
}

fn check_query(operation: &Operation, request: SignedRequest<'_>) -> S3Result<()> {
    for (name, value) in QueryString::of(request.uri).pairs() {
        if SIGNATURE_PARAMETERS.iter().any(|known| known.eq_ignore_ascii_case(&name)) {
            continue;
        }
        let lower = name.to_ascii_lowercase();
        if lower.starts_with("x-amz-") {
            check_header_in_query(operation, request, &lower, &value)?;
            continue;
        }
        match find(operation.query, &name) {
            Some(handling) => check_value(&format!("parameter {name}"), handling, &value)?,
            // S3 ignores unknown parameters. For a write, an unknown parameter may be an operation that this
            // server would take for another one. S3 reserves `x-` for the clients' own parameters.
            None if is_read(request.method) || lower.starts_with("x-") => {}
            None if WRITE_PARAMETERS_WITHOUT_EFFECT.contains(&lower.as_str()) => {}
            None => {
                return Err(s3_error!(
                    NotImplemented,
                    "The query parameter {name} is not supported for {}. Remove it from the request.",
                    operation.name
                ));
            }
        }
    }
    Ok(())
}

/// Checks a header that a presigned URL has as a parameter. Only headers apply, so a parameter must not be
/// necessary: the request also has the header, or the value has no effect.
fn check_header_in_query(
    operation: &Operation,
    request: SignedRequest<'_>,
    name: &str,
    value: &str,
) -> S3Result<()> {
    let is_checksum = name.starts_with("x-amz-checksum-");
    if value.is_empty() || is_checksum || request.headers.contains_key(name) {
        return Ok(());
    }
    match operation.header(name) {
        Some(Handling::Applied | Handling::AppliedOneOf(_)) | None => Err(s3_error!(
            NotImplemented,
            "The query parameter {name} is not supported for {}. Sign and send it as a header.",
            operation.name
        )),
        Some(handling) => check_value(&format!("parameter {name}"), handling, value),
    }
}
