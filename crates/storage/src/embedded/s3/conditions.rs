//! Conditional requests: on what is there (reads) and on what may be replaced (writes).

use http::header::{ETAG, LAST_MODIFIED};
use http::{HeaderMap, HeaderValue};
use s3s::dto::{ETagCondition, Timestamp, TimestampFormat};
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};
use time::OffsetDateTime;

use super::outputs;
use crate::embedded::bucket::Precondition;
use crate::embedded::file::Record;

/// The four conditions of a read, in RFC 9110's order and meaning.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    pub(super) if_match: Option<ETagCondition>,
    pub(super) if_none_match: Option<ETagCondition>,
    pub(super) if_modified_since: Option<Timestamp>,
    pub(super) if_unmodified_since: Option<Timestamp>,
}

impl Conditions {
    /// For `GET` and `HEAD`: 412 for what is not as expected, 304 for what the client has already.
    pub(super) fn check(self, record: &Record) -> S3Result<()> {
        let since = |time: Timestamp| OffsetDateTime::from(time).unix_timestamp();
        let expected = match (self.if_match, self.if_unmodified_since) {
            (Some(condition), _) => matches(&condition, record),
            (None, Some(time)) => record.modified <= since(time),
            (None, None) => true,
        };
        if !expected {
            return Err(s3_error!(PreconditionFailed));
        }
        let known = match (self.if_none_match, self.if_modified_since) {
            (Some(condition), _) => matches(&condition, record),
            (None, Some(time)) => record.modified <= since(time),
            (None, None) => false,
        };
        if known { Err(not_modified(record)) } else { Ok(()) }
    }

    /// For copies, where both are 412.
    pub(super) fn check_source(self, record: &Record) -> S3Result<()> {
        self.check(record).map_err(|error| match error.code() {
            S3ErrorCode::NotModified => s3_error!(PreconditionFailed),
            _ => error,
        })
    }
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

/// For writes. As with S3, `If-None-Match` knows only `*`.
pub(super) fn precondition(
    if_match: Option<ETagCondition>,
    if_none_match: Option<ETagCondition>,
) -> S3Result<Precondition> {
    match (if_match, if_none_match) {
        (None, None) => Ok(Precondition::Always),
        (None, Some(ETagCondition::Any)) => Ok(Precondition::Absent),
        (Some(ETagCondition::Any), None) => Ok(Precondition::Present),
        (Some(ETagCondition::ETag(etag)), None) => Ok(Precondition::Is(etag.into_value())),
        (None, Some(ETagCondition::ETag(_))) => Err(s3_error!(NotImplemented, "If-None-Match takes * here")),
        (Some(_), Some(_)) => Err(s3_error!(InvalidRequest, "If-Match and If-None-Match exclude each other")),
    }
}

#[cfg(test)]
mod tests {
    use s3s::dto::ETag;

    use super::*;
    use crate::embedded::file::Headers;

    fn verdict(conditions: Conditions) -> Option<S3ErrorCode> {
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
        assert_eq!(verdict(none()), None);
        assert_eq!(verdict(Conditions { if_match: etag("e"), ..none() }), None);
        assert_eq!(verdict(Conditions { if_match: etag("x"), ..none() }), failed);
        assert_eq!(verdict(Conditions { if_none_match: etag("e"), ..none() }), known);
        assert_eq!(verdict(Conditions { if_none_match: Some(ETagCondition::Any), ..none() }), known);
        assert_eq!(verdict(Conditions { if_none_match: etag("x"), ..none() }), None);
        assert_eq!(verdict(Conditions { if_modified_since: at(1_000), ..none() }), known);
        assert_eq!(verdict(Conditions { if_modified_since: at(999), ..none() }), None);
        assert_eq!(verdict(Conditions { if_unmodified_since: at(999), ..none() }), failed);
        assert_eq!(verdict(Conditions { if_unmodified_since: at(1_000), ..none() }), None);
        // An ETag is more than a time.
        assert_eq!(verdict(Conditions { if_match: etag("e"), if_unmodified_since: at(1), ..none() }), None);
        assert_eq!(
            verdict(Conditions { if_none_match: etag("x"), if_modified_since: at(2_000), ..none() }),
            None
        );
    }

    #[test]
    fn writes() {
        let any = || Some(ETagCondition::Any);
        assert_eq!(precondition(None, None).ok(), Some(Precondition::Always));
        assert_eq!(precondition(None, any()).ok(), Some(Precondition::Absent));
        assert_eq!(precondition(any(), None).ok(), Some(Precondition::Present));
        assert_eq!(precondition(etag("e"), None).ok(), Some(Precondition::Is("e".into())));
        assert!(precondition(None, etag("e")).is_err() && precondition(any(), any()).is_err());
    }
}
