//! The policy of a form: a signed JSON document with the conditions that the form's fields must meet.

use std::ops::RangeInclusive;

use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::fields::Fields;

/// Maximum length of an object that is uploaded at once, in bytes: 5 GiB, as in S3.
const MAX_FILE_BYTES: u64 = 5 << 30;

/// Fields that need no condition.
const WITHOUT_CONDITION: [&str; 2] = ["policy", "x-amz-signature"];
/// Beginnings of names of fields that need no condition. A checksum changes nothing but can refuse the file.
const PREFIXES_WITHOUT_CONDITION: [&str; 2] = ["x-ignore-", "x-amz-checksum-"];

/// A condition. The names of fields are in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Condition {
    Equals { field: String, value: String },
    StartsWith { field: String, prefix: String },
    FileLength(RangeInclusive<u64>),
}

/// A policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Policy {
    expires_at: OffsetDateTime,
    conditions: Vec<Condition>,
}

fn invalid(message: impl std::fmt::Display) -> S3Error {
    s3_error!(InvalidPolicyDocument, "Invalid Policy: {message}.")
}

fn refused(message: impl std::fmt::Display) -> S3Error {
    s3_error!(AccessDenied, "Invalid according to Policy: {message}.")
}

impl Policy {
    /// Reads the field `policy`.
    ///
    /// # Errors
    /// `InvalidPolicyDocument` if it is not a policy.
    pub(super) fn decode(base64: &str) -> S3Result<Self> {
        let json = base64_simd::forgiving_decode_to_vec(base64.as_bytes());
        let json = json.map_err(|_| invalid("it is not in base64"))?;
        let document: Value = serde_json::from_slice(&json).map_err(|_| invalid("it is not valid JSON"))?;
        let expiration = document.get("expiration").and_then(Value::as_str);
        let expiration = expiration.ok_or_else(|| invalid("it has no expiration"))?;
        let parsed = OffsetDateTime::parse(expiration, &Rfc3339).ok();
        // RFC 3339 allows other separators and time zones, and S3 does not.
        let is_utc = expiration.contains('T') && expiration.ends_with('Z');
        let expires_at = parsed.filter(|_| is_utc).ok_or_else(|| {
            invalid(format!("the expiration is {expiration:?}; it must have the form 2026-01-01T00:00:00Z"))
        })?;
        let conditions = document.get("conditions").and_then(Value::as_array);
        let conditions = conditions.ok_or_else(|| invalid("it has no list of conditions"))?;
        let conditions: Option<_> = conditions.iter().map(condition).collect();
        let conditions = conditions.ok_or_else(|| {
            invalid(
                "a condition is not one of {\"FIELD\": \"VALUE\"}, [\"eq\", \"$FIELD\", \"VALUE\"], [\"starts-with\", \"$FIELD\", \"PREFIX\"] and [\"content-length-range\", MIN, MAX]",
            )
        })?;
        Ok(Self { expires_at, conditions })
    }

    /// Checks everything but the length of the file.
    ///
    /// # Errors
    /// `AccessDenied` if the policy has expired, a condition is not met, or a field has no condition.
    pub(super) fn check(&self, fields: &Fields, now: OffsetDateTime) -> S3Result<()> {
        if now >= self.expires_at {
            return Err(refused("Policy expired"));
        }
        for condition in &self.conditions {
            condition.check(fields)?;
        }
        for name in fields.names() {
            let needs_none = WITHOUT_CONDITION.contains(&name)
                || PREFIXES_WITHOUT_CONDITION.iter().any(|prefix| name.starts_with(prefix));
            if !needs_none && !self.conditions.iter().any(|condition| condition.field() == Some(name)) {
                return Err(refused(format!("Extra input fields: {name}")));
            }
        }
        Ok(())
    }

    /// The lengths in bytes that the file may have.
    pub(super) fn file_length(&self) -> RangeInclusive<u64> {
        let whole = 0..=MAX_FILE_BYTES;
        self.conditions.iter().fold(whole, |range, condition| match condition {
            Condition::FileLength(other) => *range.start().max(other.start())..=*range.end().min(other.end()),
            _ => range,
        })
    }
}

/// Checks the length of a file that is still being received, or is complete.
///
/// # Errors
/// `EntityTooLarge` or `EntityTooSmall`.
pub(super) fn check_length(allowed: &RangeInclusive<u64>, length: u64, is_complete: bool) -> S3Result<()> {
    let (min, max) = (allowed.start(), allowed.end());
    if length > *max {
        let message = format!("The file has more than {max} bytes, the maximum of the policy.");
        return Err(S3Error::with_message(S3ErrorCode::EntityTooLarge, message));
    }
    if is_complete && length < *min {
        let message = format!("The file has {length} bytes; the minimum of the policy is {min}.");
        return Err(S3Error::with_message(S3ErrorCode::EntityTooSmall, message));
    }
    Ok(())
}

fn condition(value: &Value) -> Option<Condition> {
    let list = match value {
        Value::Object(object) => {
            let (field, value) = object.iter().next().filter(|_| object.len() == 1)?;
            return Some(Condition::Equals {
                field: field.to_ascii_lowercase(),
                value: value.as_str()?.to_owned(),
            });
        }
        other => other.as_array().filter(|list| list.len() == 3)?,
    };
    let operator = list[0].as_str()?.to_ascii_lowercase();
    if operator == "content-length-range" {
        let number = |value: &Value| value.as_u64().or_else(|| value.as_str()?.parse().ok());
        return Some(Condition::FileLength(number(&list[1])?..=number(&list[2])?));
    }
    let field = list[1].as_str()?.strip_prefix('$')?.to_ascii_lowercase();
    let text = list[2].as_str()?.to_owned();
    match operator.as_str() {
        "eq" => Some(Condition::Equals { field, value: text }),
        "starts-with" => Some(Condition::StartsWith { field, prefix: text }),
        _ => None,
    }
}

impl Condition {
    fn field(&self) -> Option<&str> {
        match self {
            Self::Equals { field, .. } | Self::StartsWith { field, .. } => Some(field),
            Self::FileLength(_) => None,
        }
    }

    fn check(&self, fields: &Fields) -> S3Result<()> {
        let is_met = match self {
            Self::Equals { field, value } => fields.get(field) == Some(value),
            Self::StartsWith { field, prefix } => {
                let value = fields.get(field).unwrap_or_default();
                let starts = |value: &str| value.trim_start().starts_with(prefix.as_str());
                // S3 reads this field as a list.
                value.starts_with(prefix.as_str())
                    && (field != "content-type" || value.split(',').all(starts))
            }
            Self::FileLength(_) => true,
        };
        if is_met { Ok(()) } else { Err(refused(format!("Policy Condition failed: {}", self.text()))) }
    }

    fn text(&self) -> String {
        match self {
            Self::Equals { field, value } => format!("[\"eq\", \"${field}\", {value:?}]"),
            Self::StartsWith { field, prefix } => format!("[\"starts-with\", \"${field}\", {prefix:?}]"),
            Self::FileLength(range) => {
                format!("[\"content-length-range\", {}, {}]", range.start(), range.end())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(conditions: &str) -> S3Result<Policy> {
        let json = format!("{{\"expiration\": \"2026-01-01T00:00:00.000Z\", \"conditions\": {conditions}}}");
        Policy::decode(&base64_simd::STANDARD.encode_to_string(json))
    }

    fn fields(pairs: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::new("pics");
        for (name, value) in pairs {
            fields.insert(name, (*value).to_owned()).expect("a new field");
        }
        fields
    }

    fn check(conditions: &str, pairs: &[(&str, &str)]) -> Result<(), String> {
        let policy = policy(conditions).expect("a policy");
        let before = policy.expires_at - time::Duration::SECOND;
        policy.check(&fields(pairs), before).map_err(|error| error.message().unwrap_or_default().to_owned())
    }

    #[test]
    fn conditions() {
        let base = r#"{"bucket": "pics"}, ["StArTs-WiTh", "$KeY", "user/"]"#;
        let with = |more: &str| format!("[{base}{more}]");
        let key = ("Key", "user/a");
        assert_eq!(check(&with(""), &[key]), Ok(()));
        assert_eq!(check(&with(r#", {"ACL": "private"}"#), &[key, ("aCl", "private")]), Ok(()));
        for (more, pairs, message) in [
            ("", &[("key", "other/a")][..], "[\"starts-with\", \"$key\", \"user/\"]"),
            ("", &[("key", "User/a")], "starts-with"),
            ("", &[], "starts-with"),
            ("", &[key, ("acl", "private")], "Extra input fields: acl"),
            (r#", {"acl": "private"}"#, &[key], "[\"eq\", \"$acl\", \"private\"]"),
            (r#", ["eq", "$acl", "private"]"#, &[key, ("acl", "Private")], "eq"),
            (r#", {"bucket": "other"}"#, &[key], "\"$bucket\""),
        ] {
            let error = check(&with(more), pairs).expect_err(more);
            assert!(error.contains(message), "{error}");
        }
        let error = check(r#"[["eq", "$key", "a"]]"#, &[("key", "a")]).expect_err("no bucket");
        assert!(error.contains("Extra input fields: bucket"), "{error}");
        let exempt = [key, ("x-ignore-a", "1"), ("policy", "x"), ("X-Amz-Signature", "x")];
        assert_eq!(check(&with(""), &exempt), Ok(()));
    }

    #[test]
    fn lists_of_content_types() {
        let conditions = r#"[{"bucket": "pics"}, ["starts-with", "$Content-Type", "image/"]]"#;
        assert_eq!(check(conditions, &[("content-type", "image/png, image/gif")]), Ok(()));
        assert!(check(conditions, &[("content-type", "image/png, text/html")]).is_err());
    }

    #[test]
    fn expiration() {
        let policy = policy(r#"[{"bucket": "pics"}]"#).expect("a policy");
        assert!(policy.check(&fields(&[]), policy.expires_at - time::Duration::SECOND).is_ok());
        let error = policy.check(&fields(&[]), policy.expires_at).expect_err("expired");
        assert_eq!(error.code(), &S3ErrorCode::AccessDenied);
    }

    #[test]
    fn lengths() {
        let length = |conditions: &str| policy(conditions).expect("a policy").file_length();
        assert_eq!(length("[]"), 0..=MAX_FILE_BYTES);
        assert_eq!(length(r#"[["content-length-range", 1, "20"]]"#), 1..=20);
        assert_eq!(length(r#"[["content-length-range", 1, 20], ["content-length-range", 5, 30]]"#), 5..=20);
        let code = |length, is_complete| {
            check_length(&(5..=20), length, is_complete).map_err(|error| error.code().clone())
        };
        assert_eq!(code(4, false), Ok(()));
        assert_eq!(code(4, true), Err(S3ErrorCode::EntityTooSmall));
        assert_eq!((code(5, true), code(20, true)), (Ok(()), Ok(())));
        assert_eq!(code(21, false), Err(S3ErrorCode::EntityTooLarge));
    }

    #[test]
    fn invalid_policies() {
        for conditions in [
            "null",
            "{}",
            "[{}]",
            r#"[{"a": "1", "b": "2"}]"#,
            r#"[{"a": 1}]"#,
            r#"[["eq", "key", "a"]]"#,
            r#"[["eq", "$key"]]"#,
            r#"[["ends-with", "$key", "a"]]"#,
            r#"[["content-length-range", -1, 0]]"#,
            r#"[["content-length-range", 0]]"#,
            r#"["eq"]"#,
        ] {
            let error = policy(conditions).expect_err(conditions);
            assert_eq!(error.code(), &S3ErrorCode::InvalidPolicyDocument, "{conditions}");
        }
        for text in [
            "%",
            "{",
            "{}",
            r#"{"expiration": "2026-01-01T00:00:00Z", "CONDITIONS": []}"#,
            r#"{"EXPIRATION": "2026-01-01T00:00:00Z", "conditions": []}"#,
            r#"{"expiration": "tomorrow", "conditions": []}"#,
            r#"{"expiration": "2026-01-01 00:00:00Z", "conditions": []}"#,
            r#"{"expiration": "2026-01-01T00:00:00+00:00", "conditions": []}"#,
        ] {
            let encoded = base64_simd::STANDARD.encode_to_string(text);
            assert!(Policy::decode(&encoded).is_err(), "{text}");
            assert!(Policy::decode(text).is_err(), "{text}");
        }
    }
}
