//! Conversions between an object's record and S3's inputs and outputs.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::dto::{ETag, EncodingType, Initiator, Owner, Timestamp};
use s3s::{S3Result, s3_error};
use time::OffsetDateTime;

use super::OWNER;

/// The characters that S3 does not encode in a listing.
const UNENCODED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/').remove(b'*');

/// The account that owns every bucket and object.
pub(super) fn owner() -> Owner {
    Owner { id: Some(OWNER.to_owned()), display_name: Some(OWNER.to_owned()) }
}

/// The account that starts every upload.
pub(super) fn initiator() -> Initiator {
    Initiator { id: Some(OWNER.to_owned()), display_name: Some(OWNER.to_owned()) }
}

pub(super) fn etag(value: &str) -> ETag {
    ETag::Strong(value.to_owned())
}

pub(super) fn timestamp(seconds: i64) -> Timestamp {
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH).into()
}

pub(super) fn seconds(time: Timestamp) -> i64 {
    OffsetDateTime::from(time).unix_timestamp()
}

/// S3's sizes are signed.
pub(super) fn size(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// Whether XML 1.0 cannot contain the character, or its parsers change it.
fn is_changed_by_xml(character: char) -> bool {
    matches!(character, '\0'..='\u{8}' | '\u{b}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}')
}

/// The encoding of a listing: percent-encoding if the client requests it, or if the listing has a character
/// that XML cannot contain. The response names its encoding.
pub(super) fn encoding<'a>(
    requested: Option<EncodingType>,
    texts: impl IntoIterator<Item = &'a String>,
) -> Option<EncodingType> {
    let needs_encoding = || texts.into_iter().any(|text| text.contains(is_changed_by_xml));
    requested.or_else(|| needs_encoding().then(|| EncodingType::from_static(EncodingType::URL)))
}

/// A text in a response without an encoding. Characters that XML cannot contain are replaced.
pub(in crate::embedded) fn xml_text(text: &str) -> String {
    text.replace(is_changed_by_xml, "\u{fffd}")
}

/// A key as written in a listing. XML cannot contain every character, so clients can request
/// percent-encoding.
pub(super) fn encode_key(text: &str, encoding: Option<&EncodingType>) -> String {
    if encoding.is_some_and(|encoding| encoding.as_str() == EncodingType::URL) {
        utf8_percent_encode(text, UNENCODED).to_string()
    } else {
        text.to_owned()
    }
}

/// Decodes a continuation token: the last name of the previous page, in hexadecimal because XML cannot contain
/// every character.
pub(super) fn read_token(token: &str) -> S3Result<String> {
    let invalid = || {
        s3_error!(
            InvalidArgument,
            "The continuation token is invalid. Use the NextContinuationToken of the previous response."
        )
    };
    String::from_utf8(hex::decode(token).map_err(|_| invalid())?).map_err(|_| invalid())
}

/// The encoding of an object without `aws-chunked`, which is the encoding of an upload. Objects of earlier
/// versions can have it.
pub(super) fn content_encoding(value: Option<String>) -> Option<String> {
    let value = value?;
    let codings = value.split(',').map(str::trim);
    let kept: Vec<_> =
        codings.filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("aws-chunked")).collect();
    (!kept.is_empty()).then(|| kept.join(", "))
}

/// Copies checksums into the five fields of an output.
macro_rules! set_checksums {
    ($output:expr, $checksums:expr) => {{
        let (output, checksums) = (&mut $output, $checksums);
        output.checksum_crc32 = checksums.get("x-amz-checksum-crc32").cloned();
        output.checksum_crc32c = checksums.get("x-amz-checksum-crc32c").cloned();
        output.checksum_crc64nvme = checksums.get("x-amz-checksum-crc64nvme").cloned();
        output.checksum_sha1 = checksums.get("x-amz-checksum-sha1").cloned();
        output.checksum_sha256 = checksums.get("x-amz-checksum-sha256").cloned();
    }};
}
pub(super) use set_checksums;

/// Copies an object's checksums and their type into an output.
macro_rules! set_object_checksums {
    ($output:expr, $checksums:expr) => {{
        crate::embedded::s3::outputs::set_checksums!($output, $checksums);
        $output.checksum_type = crate::embedded::s3::upload_checksum::kind_of($checksums);
    }};
}
pub(super) use set_object_checksums;

/// Takes the five checksums from an operation's input.
macro_rules! take_checksums {
    ($input:expr) => {
        s3s::dto::Checksum {
            checksum_crc32: $input.checksum_crc32.take(),
            checksum_crc32c: $input.checksum_crc32c.take(),
            checksum_crc64nvme: $input.checksum_crc64nvme.take(),
            checksum_sha1: $input.checksum_sha1.take(),
            checksum_sha256: $input.checksum_sha256.take(),
            checksum_type: None,
        }
    };
}
pub(super) use take_checksums;

/// Takes an object's headers from the input of an operation that creates one.
macro_rules! take_object_headers {
    ($input:expr) => {
        crate::embedded::object_file::Headers {
            // The default in S3.
            content_type: Some(
                $input.content_type.take().unwrap_or_else(|| "binary/octet-stream".to_owned()),
            ),
            cache_control: $input.cache_control.take(),
            content_disposition: $input.content_disposition.take(),
            content_encoding: crate::embedded::s3::outputs::content_encoding($input.content_encoding.take()),
            content_language: $input.content_language.take(),
            expires: $input.expires.take().map(crate::embedded::s3::outputs::seconds),
            user: $input.metadata.take().unwrap_or_default().into_iter().collect(),
        }
    };
}
pub(super) use take_object_headers;

/// Copies an object's headers into the output of `GET` or `HEAD`.
macro_rules! set_object_headers {
    ($output:expr, $record:expr) => {{
        let (output, record) = (&mut $output, $record);
        let headers = record.headers.clone();
        output.accept_ranges = Some("bytes".to_owned());
        output.content_type = headers.content_type;
        output.cache_control = headers.cache_control;
        output.content_disposition = headers.content_disposition;
        output.content_encoding = crate::embedded::s3::outputs::content_encoding(headers.content_encoding);
        output.content_language = headers.content_language;
        output.expires = headers.expires.map(crate::embedded::s3::outputs::timestamp);
        output.e_tag = Some(crate::embedded::s3::outputs::etag(&record.etag));
        output.last_modified = Some(crate::embedded::s3::outputs::timestamp(record.modified));
        output.metadata = Some(headers.user.into_iter().collect());
    }};
}
pub(super) use set_object_headers;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_of_an_upload_is_not_stored() {
        let stored = |value: &str| content_encoding(Some(value.to_owned()));
        for value in ["aws-chunked", "AWS-Chunked", "aws-chunked,", " , aws-chunked", ""] {
            assert_eq!(stored(value), None, "{value:?}");
        }
        for value in ["gzip", "gzip,aws-chunked", "aws-chunked, gzip", "Aws-chunked,gzip"] {
            assert_eq!(stored(value).as_deref(), Some("gzip"), "{value:?}");
        }
        assert_eq!(stored("br,aws-chunked,gzip").as_deref(), Some("br, gzip"));
        assert_eq!(content_encoding(None), None);
    }

    #[test]
    fn listings_with_control_characters_are_encoded() {
        let encoded = |text: &str| encoding(None, [&text.to_owned()]).is_some();
        for text in ["a\u{1}", "\r", "\u{b}", "\u{ffff}"] {
            assert!(encoded(text), "{text:?}");
            assert!(!xml_text(text).contains(is_changed_by_xml), "{text:?}");
        }
        for text in ["", "a/b c", "虎\t\n", "&<>\"'"] {
            assert!(!encoded(text), "{text:?}");
            assert_eq!(xml_text(text), text);
        }
        let requested = Some(EncodingType::from_static(EncodingType::URL));
        assert_eq!(encoding(requested.clone(), []), requested);
    }
}
