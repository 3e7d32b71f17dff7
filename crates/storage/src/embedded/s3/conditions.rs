//! The conditions of reads and writes.

use http::header::{ETAG, LAST_MODIFIED};
use http::{HeaderMap, HeaderName, HeaderValue};
use s3s::dto::{ETagCondition, Timestamp, TimestampFormat};
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};

use super::conditional_reads::http_date;
use super::outputs;
use super::ranges::ByteRange;
use crate::embedded::bucket::Precondition;
use crate::embedded::object_file::Record;

/// The value of `If-Match` or `If-None-Match`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ETagList {
    /// `*`: every version.
    Any,
    /// Versions, without quotes.
    Tags(Vec<Tag>),
}

/// An entity tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tag {
    value: String,
    /// Weak tags begin with `W/`.
    is_weak: bool,
}

impl ETagList {
    /// Reads a list of tags. As in S3, tags may lack their quotes.
    pub(super) fn parse(text: &str) -> Self {
        let mut tags = Vec::new();
        let mut rest = text.trim_start_matches([' ', '\t', ',']);
        while !rest.is_empty() {
            let (tag, is_weak) = match rest.strip_prefix("W/") {
                Some(tag) => (tag, true),
                None => (rest, false),
            };
            let (value, after) = match tag.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
                None => tag.split_at(tag.find(',').unwrap_or(tag.len())),
            };
            if value.trim() == "*" && !tag.starts_with('"') {
                return Self::Any;
            }
            let value = if tag.starts_with('"') { value } else { value.trim() };
            tags.push(Tag { value: value.to_owned(), is_weak });
            rest = after.trim_start_matches([' ', '\t', ',']);
        }
        Self::Tags(tags)
    }

    fn any(&self, matches: impl Fn(&Tag) -> bool) -> bool {
        match self {
            Self::Any => true,
            Self::Tags(tags) => tags.iter().any(matches),
        }
    }

    /// The strong comparison, which no weak tag passes.
    fn matches_strongly(&self, record: &Record) -> bool {
        self.any(|tag| !tag.is_weak && tag.value == record.etag)
    }

    fn matches_weakly(&self, record: &Record) -> bool {
        self.any(|tag| tag.value == record.etag)
    }
}

impl From<ETagCondition> for ETagList {
    fn from(condition: ETagCondition) -> Self {
        let text = condition.to_http_header().ok();
        Self::parse(&text.as_ref().map(|text| String::from_utf8_lossy(text.as_bytes())).unwrap_or_default())
    }
}

/// The conditions and the range of a read, with the order and meaning of RFC 9110, sections 13 and 14.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ReadConditions {
    pub(super) if_match: Option<ETagList>,
    pub(super) if_none_match: Option<ETagList>,
    /// Seconds since 1970.
    pub(super) if_modified_since: Option<i64>,
    /// Seconds since 1970.
    pub(super) if_unmodified_since: Option<i64>,
    /// An ETag or a date: the range applies only to this version.
    pub(super) if_range: Option<String>,
    pub(super) range: Option<ByteRange>,
}

impl ReadConditions {
    /// The conditions on the source of a copy.
    pub(super) fn of_source(
        (if_match, if_none_match): (Option<ETagCondition>, Option<ETagCondition>),
        (if_modified_since, if_unmodified_since): (Option<Timestamp>, Option<Timestamp>),
    ) -> Self {
        Self {
            if_match: if_match.map(Into::into),
            if_none_match: if_none_match.map(Into::into),
            if_modified_since: if_modified_since.map(outputs::seconds),
            if_unmodified_since: if_unmodified_since.map(outputs::seconds),
            ..Self::default()
        }
    }

    /// Checks the conditions of `GET` and `HEAD`.
    ///
    /// # Errors
    /// Status 412 if a condition for the expected version fails, 304 if the client has the current version.
    pub(super) fn check(&self, record: &Record) -> S3Result<()> {
        let expected = match (&self.if_match, self.if_unmodified_since) {
            (Some(list), _) => list.matches_strongly(record),
            (None, Some(time)) => record.modified <= time,
            (None, None) => true,
        };
        if !expected {
            return Err(precondition_failed());
        }
        let known = match (&self.if_none_match, self.if_modified_since) {
            (Some(list), _) => list.matches_weakly(record),
            (None, Some(time)) => record.modified <= time,
            (None, None) => false,
        };
        if known { Err(not_modified(record)) } else { Ok(()) }
    }

    /// Checks the conditions of a copy's source, where both errors are 412.
    pub(super) fn check_source(&self, record: &Record) -> S3Result<()> {
        self.check(record).map_err(|error| match error.code() {
            S3ErrorCode::NotModified => precondition_failed(),
            _ => error,
        })
    }

    /// The range, unless it is for another version.
    pub(super) fn range(&self, record: &Record) -> Option<ByteRange> {
        let is_current = match &self.if_range {
            None => true,
            Some(text) => match http_date(text) {
                Some(time) => time == record.modified,
                None => ETagList::parse(text).matches_strongly(record) && text.trim() != "*",
            },
        };
        self.range.filter(|_| is_current)
    }
}

fn precondition_failed() -> S3Error {
    s3_error!(PreconditionFailed, "At least one of the request's preconditions does not hold.")
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

/// A condition's header. `s3s` does not read the conditions of all writes.
pub(super) fn condition_header(headers: &HeaderMap, name: HeaderName) -> S3Result<Option<ETagCondition>> {
    let Some(value) = headers.get(&name).filter(|value| !value.is_empty()) else { return Ok(None) };
    ETagCondition::parse_http_header(value.as_bytes())
        .map(Some)
        .map_err(|_| s3_error!(InvalidArgument, "The header {name} must be an ETag or *."))
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

    fn record() -> Record {
        Record {
            key: "k".into(),
            size: 1,
            etag: "e".into(),
            modified: 784_111_777,
            headers: Headers::default(),
            checksums: Default::default(),
            multipart: None,
        }
    }

    fn check(conditions: ReadConditions) -> Option<S3ErrorCode> {
        conditions.check(&record()).err().map(|error| error.code().clone())
    }

    fn list(text: &str) -> Option<ETagList> {
        Some(ETagList::parse(text))
    }

    fn etag(value: &str) -> Option<ETagCondition> {
        Some(ETagCondition::ETag(ETag::Strong(value.into())))
    }

    #[test]
    fn reads() {
        let none = ReadConditions::default;
        let (failed, known) = (Some(S3ErrorCode::PreconditionFailed), Some(S3ErrorCode::NotModified));
        let at = |seconds: i64| Some(784_111_777 + seconds);
        assert_eq!(check(none()), None);
        assert_eq!(check(ReadConditions { if_modified_since: at(0), ..none() }), known);
        assert_eq!(check(ReadConditions { if_modified_since: at(-1), ..none() }), None);
        assert_eq!(check(ReadConditions { if_unmodified_since: at(-1), ..none() }), failed);
        assert_eq!(check(ReadConditions { if_unmodified_since: at(0), ..none() }), None);
        // The conditions on the ETag take precedence over those on the time.
        assert_eq!(
            check(ReadConditions { if_match: list("\"e\""), if_unmodified_since: Some(1), ..none() }),
            None
        );
        assert_eq!(
            check(ReadConditions { if_none_match: list("\"x\""), if_modified_since: at(9), ..none() }),
            None
        );
    }

    #[test]
    fn lists_of_etags() {
        for (text, strong, weak) in [
            ("\"e\"", true, true),
            ("e", true, true),
            ("*", true, true),
            ("\"x\", \"e\"", true, true),
            ("x,e", true, true),
            ("\"a,b\" , \"e\"", true, true),
            ("W/\"e\"", false, true),
            ("\"x\", W/\"e\"", false, true),
            ("\"x\"", false, false),
            ("\"*\"", false, false),
            ("\"e", true, true),
            ("", false, false),
            (",, ,", false, false),
        ] {
            let is = |conditions| check(conditions).is_some();
            let none = ReadConditions::default;
            assert_eq!(!is(ReadConditions { if_match: list(text), ..none() }), strong, "{text}");
            assert_eq!(is(ReadConditions { if_none_match: list(text), ..none() }), weak, "{text}");
        }
        assert_eq!(ETagList::from(ETagCondition::Any), ETagList::Any);
        assert_eq!(Some(ETagList::from(etag("e").expect("set"))), list("\"e\""));
    }

    #[test]
    fn a_range_for_another_version_is_ignored() {
        let range = ByteRange::parse("bytes=0-1");
        for (if_range, applies) in [
            (None, true),
            (Some("\"e\""), true),
            (Some("\"x\""), false),
            (Some("W/\"e\""), false),
            (Some("*"), false),
            (Some("Sun, 06 Nov 1994 08:49:37 GMT"), true),
            (Some("Sun, 06 Nov 1994 08:49:38 GMT"), false),
            (Some("unreadable"), false),
        ] {
            let conditions =
                ReadConditions { range, if_range: if_range.map(str::to_owned), ..Default::default() };
            assert_eq!(conditions.range(&record()), range.filter(|_| applies), "{if_range:?}");
        }
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
