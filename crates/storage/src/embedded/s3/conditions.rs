//! The conditions of reads and writes.

use http::header::{ETAG, LAST_MODIFIED};
use http::{HeaderMap, HeaderValue};
use s3s::dto::{ETagCondition, Timestamp, TimestampFormat};
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};
use time::OffsetDateTime;

use super::outputs;
use crate::embedded::bucket::Precondition;
use crate::embedded::object_file::Record;

/// The conditions of a read, with the order and meaning of RFC 9110, section 13.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    pub(super) if_match: Option<ETagCondition>,
    pub(super) if_none_match: Option<ETagCondition>,
    pub(super) if_modified_since: Option<Timestamp>,
    pub(super) if_unmodified_since: Option<Timestamp>,
}

impl Conditions {
    /// Checks the conditions of `GET` and `HEAD`.
    ///
    /// # Errors
    /// Status 412 if a condition for the expected version fails, 304 if the client has the current version.
    pub(super) fn check(self, record: &Record) -> S3Result<()> {
        let since = |time: Timestamp| OffsetDateTime::from(time).unix_timestamp();
        let expected = match (self.if_match, self.if_unmodified_since) {
            (Some(condition), _) => matches(&condition, record),
            (None, Some(time)) => record.modified <= since(time),
            (None, None) => true,
        };
        if !expected {
            return Err(precondition_failed());
        }
        let known = match (self.if_none_match, self.if_modified_since) {
            (Some(condition), _) => matches(&condition, record),
            (None, Some(time)) => record.modified <= since(time),
            (None, None) => false,
        };
        if known { Err(not_modified(record)) } else { Ok(()) }
    }

    /// Checks the conditions of a copy's source, where both errors are 412.
    pub(super) fn check_source(self, record: &Record) -> S3Result<()> {
        self.check(record).map_err(|error| match error.code() {
            S3ErrorCode::NotModified => precondition_failed(),
            _ => error,
        })
    }
}

fn precondition_failed() -> S3Error {
    s3_error!(PreconditionFailed, "At least one of the request's preconditions does not hold.")
}

fn matches(condition: &ETagCondition, record: &Record) -> bool {
    condition.as_etag().is_none_or(|etag| etag.value() == record.etag)
}

fn not_modified(record: &Record) -> S3Error {
    let mut headers = HeaderMap::new();
    if let Ok(etag) = HeaderValue::try_from(format!("\"{}\"", record.etag)) {
        headers.insert(ETAG, etag);
    }
    let mut modified = Vec::new();
    if outputs::timestamp(record.modified).format(TimestampFormat::HttpDate, &mut modified).is_ok()
        && let Ok(modified) = HeaderValue::from_bytes(&modified)
    {
        headers.insert(LAST_MODIFIED, modified);
    }
    let mut error = s3_error!(NotModified);
    error.set_headers(headers);
    error
}

/// The condition of a write. As in S3, `If-None-Match` supports only `*`.
pub(super) fn precondition(
    if_match: Option<ETagCondition>,
    if_none_match: Option<ETagCondition>,
) -> S3Result<Precondition> {
    match (if_match, if_none_match) {
        (None, None) => Ok(Precondition::Always),
        (None, Some(ETagCondition::Any)) => Ok(Precondition::Absent),
        (Some(ETagCondition::Any), None) => Ok(Precondition::Present),
        (Some(ETagCondition::ETag(etag)), None) => Ok(Precondition::Matches(etag.into_value())),
        (None, Some(ETagCondition::ETag(_))) => {
            Err(s3_error!(NotImplemented, "If-None-Match supports only the value *."))
        }
        (Some(_), Some(_)) => Err(s3_error!(
            InvalidRequest,
            "If-Match and If-None-Match cannot be combined. Send only one of them."
        )),
    }
}

#[cfg(test)]
mod tests {
    use s3s::dto::ETag;

    use super::*;
    use crate::embedded::object_file::Headers;

    fn check(conditions: Conditions) -> Option<S3ErrorCode> {
        let record = Record {
            key: "k".into(),
            size: 1,
            etag: "e".into(),
            modified: 1_000,
            headers: Headers::default(),
            checksums: Default::default(),
        };
        conditions.check(&record).err().map(|error| error.code().clone())
    }

    fn etag(value: &str) -> Option<ETagCondition> {
        Some(ETagCondition::ETag(ETag::Strong(value.into())))
    }

    #[test]
    fn reads() {
        let at = |seconds| Some(outputs::timestamp(seconds));
        let none = Conditions::default;
        let (failed, known) = (Some(S3ErrorCode::PreconditionFailed), Some(S3ErrorCode::NotModified));
        assert_eq!(check(none()), None);
        assert_eq!(check(Conditions { if_match: etag("e"), ..none() }), None);
        assert_eq!(check(Conditions { if_match: etag("x"), ..none() }), failed);
        assert_eq!(check(Conditions { if_none_match: etag("e"), ..none() }), known);
        assert_eq!(check(Conditions { if_none_match: Some(ETagCondition::Any), ..none() }), known);
        assert_eq!(check(Conditions { if_none_match: etag("x"), ..none() }), None);
        assert_eq!(check(Conditions { if_modified_since: at(1_000), ..none() }), known);
        assert_eq!(check(Conditions { if_modified_since: at(999), ..none() }), None);
        assert_eq!(check(Conditions { if_unmodified_since: at(999), ..none() }), failed);
        assert_eq!(check(Conditions { if_unmodified_since: at(1_000), ..none() }), None);
        // The conditions on the ETag take precedence over those on the time.
        assert_eq!(check(Conditions { if_match: etag("e"), if_unmodified_since: at(1), ..none() }), None);
        assert_eq!(
            check(Conditions { if_none_match: etag("x"), if_modified_since: at(2_000), ..none() }),
            None
        );
    }

    #[test]
    fn writes() {
        let any = || Some(ETagCondition::Any);
        assert_eq!(precondition(None, None).ok(), Some(Precondition::Always));
        assert_eq!(precondition(None, any()).ok(), Some(Precondition::Absent));
        assert_eq!(precondition(any(), None).ok(), Some(Precondition::Present));
        assert_eq!(precondition(etag("e"), None).ok(), Some(Precondition::Matches("e".into())));
        assert!(precondition(None, etag("e")).is_err() && precondition(any(), any()).is_err());
    }
}
