//! The part of an object that a read requests: the header `Range` (RFC 9110, section 14), or a part of a
//! multipart object.

use std::ops::Range;

use http::header::CONTENT_RANGE;
use http::{HeaderMap, HeaderValue};
use s3s::{S3Result, s3_error};

use crate::embedded::object_file::Record;

/// A range of bytes in the header `Range`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ByteRange {
    /// From the first position to the last one, or to the end of the object.
    From { first: u64, last: Option<u64> },
    /// The last bytes of the object.
    Suffix { length: u64 },
}

impl ByteRange {
    /// Reads the header. `None` means that the header is ignored: it has another unit, several ranges (which
    /// S3 does not support) or an invalid range.
    pub(super) fn parse(header: &str) -> Option<Self> {
        let (first, last) = header.trim().strip_prefix("bytes=")?.trim().split_once('-')?;
        match (first, last) {
            ("", length) => Some(Self::Suffix { length: position(length)? }),
            (first, "") => Some(Self::From { first: position(first)?, last: None }),
            (first, last) => {
                let (first, last) = (position(first)?, position(last)?);
                (first <= last).then_some(Self::From { first, last: Some(last) })
            }
        }
    }

    /// The range's bytes in an object of this size, if there are any.
    fn within(self, size: u64) -> Option<Range<u64>> {
        let range = match self {
            Self::From { first, last } => first..last.map_or(size, |last| last.saturating_add(1).min(size)),
            Self::Suffix { length } => size.saturating_sub(length)..size,
        };
        (!range.is_empty()).then_some(range)
    }
}

/// A number of any length: a position beyond the largest integer is beyond the end of every object.
fn position(digits: &str) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}

/// The bytes that a response contains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Selection {
    pub(super) bytes: Range<u64>,
    /// The value of `Content-Range`; none for a whole object.
    pub(super) content_range: Option<String>,
    /// The number of the object's parts, if a part was requested.
    pub(super) parts_count: Option<i32>,
}

impl Selection {
    fn part(bytes: Range<u64>, size: u64) -> Self {
        let content_range = (!bytes.is_empty())
            .then(|| format!("bytes {}-{}/{size}", bytes.start, bytes.end.saturating_sub(1)));
        Self { bytes, content_range, parts_count: None }
    }
}

/// The bytes of a range, or of the whole object.
///
/// # Errors
/// `InvalidRange` if the object has no byte of the range.
pub(super) fn select_range(range: Option<ByteRange>, size: u64) -> S3Result<Selection> {
    let Some(range) = range else {
        return Ok(Selection { bytes: 0..size, content_range: None, parts_count: None });
    };
    range.within(size).map(|bytes| Selection::part(bytes, size)).ok_or_else(|| {
        let mut error = s3_error!(InvalidRange, "The range is not satisfiable: the object has {size} bytes.");
        if let Ok(content_range) = HeaderValue::try_from(format!("bytes */{size}")) {
            error.set_headers(HeaderMap::from_iter([(CONTENT_RANGE, content_range)]));
        }
        error
    })
}

/// The bytes of a part. An object that was not uploaded in parts has one part.
///
/// # Errors
/// `InvalidPart` if the object has no such part.
pub(super) fn select_part(number: i32, record: &Record) -> S3Result<Selection> {
    let sizes = record.multipart.as_ref().map(|multipart| multipart.part_sizes.as_slice());
    let count = sizes.map_or(1, <[u64]>::len);
    let index = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
    let index = index.filter(|index| *index < count).ok_or_else(|| {
        s3_error!(InvalidPart, "The part number is {number}, and the object has {count} parts.")
    })?;
    let bytes = match sizes {
        Some(sizes) => {
            let start: u64 = sizes[..index].iter().sum();
            start..start + sizes[index]
        }
        None => 0..record.size,
    };
    let parts_count = sizes.and_then(|sizes| i32::try_from(sizes.len()).ok());
    Ok(Selection { parts_count, ..Selection::part(bytes, record.size) })
}

#[cfg(test)]
mod tests {
    use s3s::S3ErrorCode;

    use super::*;
    use crate::embedded::object_file::{Headers, Multipart};

    /// The bytes and `Content-Range` of a response to this header, or the error's code.
    fn select(header: &str, size: u64) -> Result<(Range<u64>, Option<String>), S3ErrorCode> {
        select_range(ByteRange::parse(header), size)
            .map(|selection| (selection.bytes, selection.content_range))
            .map_err(|error| error.code().clone())
    }

    #[test]
    fn valid_ranges() {
        for (header, bytes) in [
            ("bytes=2-4", 2..5),
            ("bytes=8-99", 8..10),
            ("bytes=9-", 9..10),
            ("bytes=-3", 7..10),
            ("bytes=-99", 0..10),
            ("bytes=0-99999999999999999999999", 0..10),
            ("bytes= 2-4 ", 2..5),
        ] {
            let content_range = format!("bytes {}-{}/10", bytes.start, bytes.end - 1);
            assert_eq!(select(header, 10), Ok((bytes, Some(content_range))), "{header}");
        }
    }

    #[test]
    fn other_ranges_are_ignored() {
        for header in [
            "items=0-1",
            "Bytes=0-5",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=5-2",
            "bytes=a-b",
            "bytes=0-1,3-4",
            "bytes=0-1, ",
            "bytes=+1-2",
            "bytes=1 - 2",
            "bytes=--1",
            "",
            "bytes=1",
        ] {
            assert_eq!(select(header, 10), Ok((0..10, None)), "{header:?}");
        }
    }

    #[test]
    fn ranges_without_a_byte_are_errors() {
        for (header, size) in
            [("bytes=10-", 10), ("bytes=10-12", 10), ("bytes=-0", 10), ("bytes=0-", 0), ("bytes=-5", 0)]
        {
            assert_eq!(select(header, size), Err(S3ErrorCode::InvalidRange), "{header}");
        }
        let error = select_range(ByteRange::parse("bytes=10-"), 10).expect_err("beyond the end");
        assert_eq!(error.headers().expect("headers").get(CONTENT_RANGE).expect("size"), "bytes */10");
    }

    #[test]
    fn parts() {
        let mut record = Record {
            key: "k".into(),
            size: 12,
            etag: "e".into(),
            modified: 0,
            headers: Headers::default(),
            checksums: Default::default(),
            multipart: Some(Multipart {
                upload: "u".into(),
                part_sizes: vec![5, 5, 2],
                ..Multipart::default()
            }),
        };
        let part = |number, record: &Record| {
            let selection = select_part(number, record).map_err(|error| error.code().clone())?;
            Ok((selection.bytes, selection.content_range, selection.parts_count))
        };
        assert_eq!(part(2, &record), Ok((5..10, Some("bytes 5-9/12".into()), Some(3))));
        assert_eq!(part(3, &record), Ok((10..12, Some("bytes 10-11/12".into()), Some(3))));
        for number in [-1, 0, 4, i32::MAX] {
            assert_eq!(part(number, &record), Err(S3ErrorCode::InvalidPart), "{number}");
        }
        record.multipart = None;
        assert_eq!(part(1, &record), Ok((0..12, Some("bytes 0-11/12".into()), None)));
        assert_eq!(part(2, &record), Err(S3ErrorCode::InvalidPart));
        record.size = 0;
        assert_eq!(part(1, &record), Ok((0..0, None, None)));
    }
}
