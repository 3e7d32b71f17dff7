//! The checksum of an object that is uploaded in parts.
//!
//! A client selects the algorithm and the type when it creates the upload. A checksum of type `COMPOSITE` is
//! the checksum of the parts' checksums, followed by a hyphen and the number of parts. A checksum of type
//! `FULL_OBJECT` is that of the content.

use s3s::dto::{ChecksumAlgorithm, ChecksumType};
use s3s::{S3Result, s3_error};
use serde::{Deserialize, Serialize};

use super::checksums::Algorithm;
use crate::embedded::object_file::Checksums;

/// The type of a checksum, by its name in S3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Kind {
    Composite,
    FullObject,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Composite => ChecksumType::COMPOSITE,
            Self::FullObject => ChecksumType::FULL_OBJECT,
        }
    }

    fn parse(kind: &ChecksumType) -> S3Result<Self> {
        match kind.as_str() {
            ChecksumType::COMPOSITE => Ok(Self::Composite),
            ChecksumType::FULL_OBJECT => Ok(Self::FullObject),
            other => Err(s3_error!(
                InvalidRequest,
                "x-amz-checksum-type is {other:?}; it must be COMPOSITE or FULL_OBJECT."
            )),
        }
    }
}

/// The type of an object's checksums, if it has any.
pub(super) fn kind_of(checksums: &Checksums) -> Option<ChecksumType> {
    // The alphabet of base64 has no hyphen.
    let kind = |value: &String| if value.contains('-') { Kind::Composite } else { Kind::FullObject };
    checksums.values().next().map(|value| ChecksumType::from_static(kind(value).name()))
}

/// The checksum that a multipart upload requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct UploadChecksum {
    pub(super) algorithm: Algorithm,
    pub(super) kind: Kind,
}

impl UploadChecksum {
    /// Reads the headers of a request to create an upload.
    ///
    /// # Errors
    /// `InvalidRequest` if S3 does not combine the algorithm with the type.
    pub(super) fn requested(
        algorithm: Option<&ChecksumAlgorithm>,
        kind: Option<&ChecksumType>,
    ) -> S3Result<Option<Self>> {
        let Some(algorithm) = algorithm else {
            return match kind {
                Some(_) => Err(s3_error!(
                    InvalidRequest,
                    "x-amz-checksum-type requires x-amz-checksum-algorithm. Send both."
                )),
                None => Ok(None),
            };
        };
        let name = algorithm.as_str();
        let algorithm = Algorithm::parse(name)
            .ok_or_else(|| s3_error!(InvalidRequest, "The checksum algorithm {name:?} is unknown."))?;
        let only = match algorithm {
            Algorithm::Crc64Nvme => Some(Kind::FullObject),
            Algorithm::Sha1 | Algorithm::Sha256 => Some(Kind::Composite),
            Algorithm::Crc32 | Algorithm::Crc32c => None,
        };
        let kind = kind.map(Kind::parse).transpose()?.or(only).unwrap_or(Kind::Composite);
        if only.is_some_and(|only| only != kind) {
            return Err(s3_error!(
                InvalidRequest,
                "The {} checksum type cannot be used with the {} checksum algorithm.",
                kind.name(),
                algorithm.name()
            ));
        }
        Ok(Some(Self { algorithm, kind }))
    }

    pub(super) fn algorithm_name(self) -> ChecksumAlgorithm {
        ChecksumAlgorithm::from_static(self.algorithm.name())
    }

    pub(super) fn kind_name(self) -> ChecksumType {
        ChecksumType::from_static(self.kind.name())
    }

    /// Checks which checksums a client sends with a part.
    ///
    /// # Errors
    /// `InvalidRequest` if they have another algorithm, or if a composite checksum has none to begin with.
    pub(super) fn check_part(self, sent: &[Algorithm]) -> S3Result<()> {
        let is_missing = sent.is_empty() && self.kind == Kind::Composite;
        let other = sent.iter().find(|algorithm| **algorithm != self.algorithm);
        if other.is_none() && !is_missing {
            return Ok(());
        }
        Err(s3_error!(
            InvalidRequest,
            "Checksum Type mismatch occurred, expected checksum Type: {}, actual checksum Type: {}",
            self.algorithm.name().to_ascii_lowercase(),
            other.map_or("null".to_owned(), |other| other.name().to_ascii_lowercase())
        ))
    }

    /// The checksum of the object that a request completes, with the headers of this request. An upload without
    /// a checksum gets the one that the request contains.
    ///
    /// # Errors
    /// `InvalidRequest` if the request has another algorithm or type than the upload.
    pub(super) fn of_completion(
        upload: Option<Self>,
        sent: &Checksums,
        kind: Option<&ChecksumType>,
    ) -> S3Result<Option<Self>> {
        let mut algorithms =
            Algorithm::ALL.into_iter().filter(|algorithm| sent.contains_key(algorithm.header()));
        let Some(upload) = upload else {
            let algorithm = algorithms.next().map(|first| ChecksumAlgorithm::from_static(first.name()));
            // A type without a checksum has no effect.
            return Self::requested(algorithm.as_ref(), kind.filter(|_| algorithm.is_some()));
        };
        if algorithms.any(|algorithm| algorithm != upload.algorithm) {
            return Err(s3_error!(
                InvalidRequest,
                "The upload was created using the {} checksum algorithm. The complete request must use the same algorithm.",
                upload.algorithm.name()
            ));
        }
        match kind {
            Some(kind) if Kind::parse(kind)? != upload.kind => Err(s3_error!(
                InvalidRequest,
                "The upload was created using the {} checksum mode. The complete request must use the same checksum mode.",
                upload.kind.name()
            )),
            _ => Ok(Some(upload)),
        }
    }

    /// Compares the object's checksum with the client's. The number of parts at its end may be missing.
    ///
    /// # Errors
    /// `BadDigest` if they differ.
    pub(super) fn verify(self, computed: &str, sent: &Checksums) -> S3Result<()> {
        let without_count = computed.split('-').next();
        match sent.get(self.algorithm.header()) {
            Some(sent) if sent != computed && Some(sent.as_str()) != without_count => Err(s3_error!(
                BadDigest,
                "The {} checksum of the object is {computed:?}, and the request has {sent:?}.",
                self.algorithm.name()
            )),
            _ => Ok(()),
        }
    }

    /// The parts' checksums, or nothing if a part has none of the algorithm.
    pub(super) fn of_parts<'a>(self, parts: impl Iterator<Item = &'a Checksums>) -> Vec<String> {
        let values: Option<_> = parts.map(|part| part.get(self.algorithm.header()).cloned()).collect();
        values.unwrap_or_default()
    }

    /// The checksum of type `COMPOSITE` of parts with these checksums.
    ///
    /// # Errors
    /// `InvalidRequest` if the parts have no checksums.
    pub(super) fn composite(self, parts: &[String]) -> S3Result<String> {
        let digests: Result<Vec<_>, _> =
            parts.iter().map(|value| base64_simd::STANDARD.decode_to_vec(value)).collect();
        let digests = digests.ok().filter(|digests| !digests.is_empty()).ok_or_else(|| {
            s3_error!(
                InvalidRequest,
                "A part of the upload has no {} checksum. Upload every part with one.",
                self.algorithm.name()
            )
        })?;
        let digest = base64_simd::STANDARD.encode_to_string(self.algorithm.digest(&digests.concat()));
        Ok(format!("{digest}-{}", parts.len()))
    }
}

#[cfg(test)]
mod tests {
    use s3s::S3ErrorCode;

    use super::*;

    fn requested(algorithm: Option<&'static str>, kind: Option<&'static str>) -> Result<String, S3ErrorCode> {
        let (algorithm, kind) =
            (algorithm.map(ChecksumAlgorithm::from_static), kind.map(ChecksumType::from_static));
        let checksum = UploadChecksum::requested(algorithm.as_ref(), kind.as_ref());
        let checksum = checksum.map_err(|error| error.code().clone())?;
        Ok(checksum.map_or("none".into(), |checksum| checksum.kind_name().as_str().to_owned()))
    }

    #[test]
    fn algorithms_and_types() {
        let (composite, full) = (ChecksumType::COMPOSITE, ChecksumType::FULL_OBJECT);
        for (algorithm, default, other) in [
            ("CRC32", composite, Some(full)),
            ("CRC32C", composite, Some(full)),
            ("CRC64NVME", full, None),
            ("SHA1", composite, None),
            ("SHA256", composite, None),
        ] {
            assert_eq!(requested(Some(algorithm), None), Ok(default.into()), "{algorithm}");
            assert_eq!(requested(Some(algorithm), Some(default)), Ok(default.into()), "{algorithm}");
            let unusual = if default == full { composite } else { full };
            let expected = other.map(str::to_owned).ok_or(S3ErrorCode::InvalidRequest);
            assert_eq!(requested(Some(algorithm), Some(unusual)), expected, "{algorithm}");
        }
        assert_eq!(requested(None, None), Ok("none".into()));
        assert_eq!(requested(None, Some(full)), Err(S3ErrorCode::InvalidRequest));
        assert_eq!(requested(Some("SHA256"), Some("ANY")), Err(S3ErrorCode::InvalidRequest));
        assert_eq!(requested(Some("XXHASH"), None), Err(S3ErrorCode::InvalidRequest));
    }

    #[test]
    fn parts_have_the_algorithm_of_the_upload() {
        let upload = |algorithm, kind| UploadChecksum { algorithm, kind };
        let sha256 = upload(Algorithm::Sha256, Kind::Composite);
        assert!(sha256.check_part(&[Algorithm::Sha256]).is_ok());
        let error = sha256.check_part(&[Algorithm::Crc32]).expect_err("another algorithm");
        assert!(error.message().expect("a message").ends_with("sha256, actual checksum Type: crc32"));
        let error = sha256.check_part(&[]).expect_err("none");
        assert!(error.message().expect("a message").ends_with("actual checksum Type: null"));
        assert!(upload(Algorithm::Crc64Nvme, Kind::FullObject).check_part(&[]).is_ok());
    }

    #[test]
    fn composites() {
        // The values are from ceph's s3-tests: one part of 1,024 letters A.
        let sha256 = UploadChecksum { algorithm: Algorithm::Sha256, kind: Kind::Composite };
        let sums = |value: &str| Checksums::from([("x-amz-checksum-sha256".to_owned(), value.to_owned())]);
        let part = sums("arcu6553sHVAiX4MjW0j7I7vD4w6R+Gz9Ok0Q9lTa+0=");
        let composite = sha256.composite(&sha256.of_parts([&part].into_iter())).expect("a checksum");
        assert_eq!(composite, "Ok6Cs5b96ux6+MWQkJO7UBT5sKPBeXBLwvj/hK89smg=-1");
        assert_eq!(kind_of(&sums(&composite)).expect("a type").as_str(), ChecksumType::COMPOSITE);
        assert_eq!(kind_of(&part).expect("a type").as_str(), ChecksumType::FULL_OBJECT);
        assert!(sha256.composite(&sha256.of_parts([&part, &Checksums::new()].into_iter())).is_err());
        for (sent, is_right) in [
            (composite.as_str(), true),
            (&composite[..44], true),
            (&composite[..43], false),
            ("", false),
            ("bad", false),
            ("Ok6Cs5b96ux6+MWQkJO7UBT5sKPBeXBLwvj/hK89smg=-2", false),
        ] {
            assert_eq!(sha256.verify(&composite, &sums(sent)).is_ok(), is_right, "{sent}");
        }
        assert!(sha256.verify(&composite, &Checksums::new()).is_ok());
    }

    #[test]
    fn completions_have_the_checksum_of_the_upload() {
        let sha256 = Some(UploadChecksum { algorithm: Algorithm::Sha256, kind: Kind::Composite });
        let sent = |algorithm: Algorithm| Checksums::from([(algorithm.header().to_owned(), "x".to_owned())]);
        let none = Checksums::new();
        let (composite, full) = (
            ChecksumType::from_static(ChecksumType::COMPOSITE),
            ChecksumType::from_static(ChecksumType::FULL_OBJECT),
        );
        let of = |upload, sent: &Checksums, kind: Option<&ChecksumType>| {
            UploadChecksum::of_completion(upload, sent, kind).map_err(|error| error.code().clone())
        };
        assert_eq!(of(sha256, &sent(Algorithm::Sha256), Some(&composite)), Ok(sha256));
        assert_eq!(of(sha256, &none, None), Ok(sha256));
        assert_eq!(of(sha256, &none, Some(&full)), Err(S3ErrorCode::InvalidRequest));
        assert_eq!(of(sha256, &sent(Algorithm::Crc32), None), Err(S3ErrorCode::InvalidRequest));
        assert_eq!(of(None, &none, Some(&full)), Ok(None));
        let crc32 = Some(UploadChecksum { algorithm: Algorithm::Crc32, kind: Kind::FullObject });
        assert_eq!(of(None, &sent(Algorithm::Crc32), Some(&full)), Ok(crc32));
    }
}
