//! Verifies the checksums that clients send, in headers or in trailers.

use http::{HeaderMap, HeaderName, HeaderValue};
use md5::Md5;
use s3s::checksum::ChecksumHasher;
use s3s::dto::{Checksum, ChecksumAlgorithm};
use s3s::{S3Result, TrailingHeaders, s3_error};

use crate::embedded::object_file::Checksums;

/// The names of the checksum headers, in the order of [`values`].
pub(super) const HEADERS: [&str; 5] = [
    "x-amz-checksum-crc32",
    "x-amz-checksum-crc32c",
    "x-amz-checksum-crc64nvme",
    "x-amz-checksum-sha1",
    "x-amz-checksum-sha256",
];

fn values(sums: Checksum) -> [Option<String>; 5] {
    [
        sums.checksum_crc32,
        sums.checksum_crc32c,
        sums.checksum_crc64nvme,
        sums.checksum_sha1,
        sums.checksum_sha256,
    ]
}

/// Computes the checksums of a body, and compares them with the client's.
pub(super) struct ChecksumVerifier {
    /// The client's MD5 in base64.
    md5: Option<String>,
    expected: [Option<String>; 5],
    trailer: Option<TrailingHeaders>,
    hasher: ChecksumHasher,
}

impl ChecksumVerifier {
    /// Verifies the checksums in the headers, and those that `x-amz-trailer` announces for the trailers.
    pub(super) fn new(
        md5: Option<String>,
        expected: Checksum,
        headers: &HeaderMap,
        trailer: Option<TrailingHeaders>,
    ) -> Self {
        let expected = values(expected);
        let announced =
            headers.get("x-amz-trailer").and_then(|names| names.to_str().ok()).unwrap_or_default();
        let is_needed = |at: usize| {
            expected[at].is_some()
                || announced.split(',').any(|name| name.trim().eq_ignore_ascii_case(HEADERS[at]))
        };
        let hasher = ChecksumHasher {
            crc32: is_needed(0).then(Default::default),
            crc32c: is_needed(1).then(Default::default),
            crc64nvme: is_needed(2).then(Default::default),
            sha1: is_needed(3).then(Default::default),
            sha256: is_needed(4).then(Default::default),
        };
        Self { md5, expected, trailer, hasher }
    }

    /// Verifies nothing, and computes the checksum of this algorithm.
    pub(super) fn computing(algorithm: &ChecksumAlgorithm) -> Self {
        let name = format!("x-amz-checksum-{}", algorithm.as_str().to_ascii_lowercase());
        let announced =
            HeaderValue::try_from(name).map(|name| (HeaderName::from_static("x-amz-trailer"), name));
        Self::new(None, Checksum::default(), &announced.into_iter().collect(), None)
    }

    /// Verifies nothing.
    pub(super) fn without_checksums() -> Self {
        Self::new(None, Checksum::default(), &HeaderMap::new(), None)
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    /// Compares the checksums, and returns the computed ones.
    ///
    /// # Errors
    /// `BadDigest` if a checksum differs.
    pub(super) fn finish(self, md5: [u8; 16]) -> S3Result<Checksums> {
        if self.md5.is_some_and(|expected| expected != base64_simd::STANDARD.encode_to_string(md5)) {
            return Err(s3_error!(BadDigest, "The MD5 of the content differs from Content-MD5."));
        }
        let mut found = Checksums::new();
        let computed = values(self.hasher.finalize());
        for ((name, computed), expected) in HEADERS.iter().zip(computed).zip(self.expected) {
            let Some(computed) = computed else { continue };
            let in_trailer = || {
                let trailer = self.trailer.as_ref()?;
                trailer.read(|headers| Some(headers.get(*name)?.to_str().ok()?.to_owned())).flatten()
            };
            if expected.or_else(in_trailer).is_some_and(|expected| expected != computed) {
                return Err(s3_error!(BadDigest, "The checksum of the content differs from {name}."));
            }
            found.insert((*name).to_owned(), computed);
        }
        Ok(found)
    }
}

/// The MD5 of the parts' concatenated MD5s, which is the first half of the ETag of a multipart object.
pub(super) fn md5_of_parts(parts: &[u8]) -> [u8; 16] {
    use md5::Digest;
    Md5::digest(parts).into()
}
