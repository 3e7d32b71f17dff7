//! Verifies the checksums that clients send, in headers or in trailers.

use http::HeaderMap;
use md5::Md5;
use s3s::checksum::ChecksumHasher;
use s3s::crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Sha1, Sha256};
use s3s::dto::Checksum;
use s3s::{S3Result, TrailingHeaders, s3_error};
use serde::{Deserialize, Serialize};

use crate::embedded::object_file::Checksums;

/// A checksum's algorithm, by its name in S3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Algorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
}

impl Algorithm {
    /// All algorithms, in the order of [`values`].
    pub(super) const ALL: [Self; 5] = [Self::Crc32, Self::Crc32c, Self::Crc64Nvme, Self::Sha1, Self::Sha256];

    /// The algorithm with this name, in upper or lower case.
    pub(super) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    /// The name in S3.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    /// The header that contains the checksum in base64.
    pub(super) fn header(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Sha1 => "x-amz-checksum-sha1",
            Self::Sha256 => "x-amz-checksum-sha256",
        }
    }

    /// The checksum of these bytes.
    pub(super) fn digest(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Crc32 => Crc32::checksum(bytes).to_vec(),
            Self::Crc32c => Crc32c::checksum(bytes).to_vec(),
            Self::Crc64Nvme => Crc64Nvme::checksum(bytes).to_vec(),
            Self::Sha1 => Sha1::checksum(bytes).to_vec(),
            Self::Sha256 => Sha256::checksum(bytes).to_vec(),
        }
    }
}

fn values(sums: Checksum) -> [Option<String>; 5] {
    [
        sums.checksum_crc32,
        sums.checksum_crc32c,
        sums.checksum_crc64nvme,
        sums.checksum_sha1,
        sums.checksum_sha256,
    ]
}

/// A client's checksums, by the names of their headers.
pub(super) fn by_header(sums: Checksum) -> Checksums {
    let pairs = Algorithm::ALL.into_iter().zip(values(sums));
    pairs.filter_map(|(algorithm, value)| Some((algorithm.header().to_owned(), value?))).collect()
}

/// Computes the checksums of a body, and compares them with the client's.
#[derive(Default)]
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
        // `s3s` omits an empty header, which is invalid.
        let in_header = || Some(headers.get("content-md5")?.to_str().unwrap_or_default().to_owned());
        let mut verifier = Self { md5: md5.or_else(in_header), trailer, ..Self::default() };
        for (algorithm, expected) in Algorithm::ALL.into_iter().zip(&expected) {
            let is_announced =
                || announced.split(',').any(|name| name.trim().eq_ignore_ascii_case(algorithm.header()));
            if expected.is_some() || is_announced() {
                verifier.compute(algorithm);
            }
        }
        Self { expected, ..verifier }
    }

    /// Computes the checksum of this algorithm, also if the client has not sent it.
    pub(super) fn compute(&mut self, algorithm: Algorithm) {
        let hasher = &mut self.hasher;
        match algorithm {
            Algorithm::Crc32 => hasher.crc32 = Some(Crc32::default()),
            Algorithm::Crc32c => hasher.crc32c = Some(Crc32c::default()),
            Algorithm::Crc64Nvme => hasher.crc64nvme = Some(Crc64Nvme::default()),
            Algorithm::Sha1 => hasher.sha1 = Some(Sha1::default()),
            Algorithm::Sha256 => hasher.sha256 = Some(Sha256::default()),
        }
    }

    /// The algorithms of the computed checksums.
    pub(super) fn algorithms(&self) -> Vec<Algorithm> {
        let hasher = &self.hasher;
        let is_computed = [
            hasher.crc32.is_some(),
            hasher.crc32c.is_some(),
            hasher.crc64nvme.is_some(),
            hasher.sha1.is_some(),
            hasher.sha256.is_some(),
        ];
        Algorithm::ALL
            .into_iter()
            .zip(is_computed)
            .filter(|(_, is)| *is)
            .map(|(algorithm, _)| algorithm)
            .collect()
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    /// Compares the checksums, and returns the computed ones.
    ///
    /// # Errors
    /// `BadDigest` if a checksum differs, `InvalidDigest` if `Content-MD5` is not an MD5 in base64.
    pub(super) fn finish(self, md5: [u8; 16]) -> S3Result<Checksums> {
        if let Some(expected) = &self.md5 {
            let digest = base64_simd::STANDARD.decode_to_vec(expected).ok();
            let digest = digest.filter(|digest| digest.len() == md5.len()).ok_or_else(|| {
                s3_error!(InvalidDigest, "Content-MD5 is {expected:?}; it must be 16 bytes in base64.")
            })?;
            if digest != md5 {
                return Err(s3_error!(BadDigest, "The MD5 of the content differs from Content-MD5."));
            }
        }
        let mut found = Checksums::new();
        let computed = values(self.hasher.finalize());
        for ((algorithm, computed), expected) in Algorithm::ALL.into_iter().zip(computed).zip(self.expected) {
            let Some(computed) = computed else { continue };
            let name = algorithm.header();
            let in_trailer = || {
                let trailer = self.trailer.as_ref()?;
                trailer.read(|headers| Some(headers.get(name)?.to_str().ok()?.to_owned())).flatten()
            };
            if expected.or_else(in_trailer).is_some_and(|expected| expected != computed) {
                return Err(s3_error!(BadDigest, "The checksum of the content differs from {name}."));
            }
            found.insert(name.to_owned(), computed);
        }
        Ok(found)
    }
}

/// The MD5 of the parts' concatenated MD5s, which is the first half of the ETag of a multipart object.
pub(super) fn md5_of_parts(parts: &[u8]) -> [u8; 16] {
    use md5::Digest;
    Md5::digest(parts).into()
}

#[cfg(test)]
mod tests {
    use md5::Digest;
    use s3s::S3ErrorCode;

    use super::*;

    #[test]
    fn content_md5() {
        let code = |header: Option<&str>| {
            let headers = header.map(|value| (http::HeaderName::from_static("content-md5"), value));
            let headers = headers.map(|(name, value)| (name, value.parse().expect("a value")));
            let verifier =
                ChecksumVerifier::new(None, Checksum::default(), &headers.into_iter().collect(), None);
            verifier.finish(Md5::digest(b"hello").into()).err().map(|error| error.code().clone())
        };
        assert_eq!(code(None), None);
        assert_eq!(code(Some("XUFAKrxLKna5cZ2REBfFkg==")), None);
        assert_eq!(code(Some("XUFAKrxLKna5cZ2REBfFkQ==")), Some(S3ErrorCode::BadDigest));
        for invalid in ["", "YWJyYWNhZGFicmE=", "5d41402abc4b2a76b9719d911017c592", "%"] {
            assert_eq!(code(Some(invalid)), Some(S3ErrorCode::InvalidDigest), "{invalid}");
        }
    }
}
