//! Version ids. Buckets have no versioning, so every object has exactly one version: `null`, as in a bucket of
//! S3 whose versioning was never enabled.

use s3s::{S3Result, s3_error};

/// The id of an object's only version.
pub(super) const ONLY_VERSION: &str = "null";

/// Checks that a request is for the only version.
///
/// # Errors
/// `NoSuchVersion` for every other version, `InvalidArgument` for an empty id.
pub(super) fn check(version_id: Option<&str>) -> S3Result<()> {
    match version_id {
        None | Some(ONLY_VERSION) => Ok(()),
        Some("") => Err(s3_error!(
            InvalidArgument,
            "The version id is empty. Remove the parameter versionId, or send {ONLY_VERSION}."
        )),
        Some(other) => Err(s3_error!(
            NoSuchVersion,
            "The version {other:?} does not exist. Buckets have no versioning, so an object has only the version {ONLY_VERSION}."
        )),
    }
}

#[cfg(test)]
mod tests {
    use s3s::S3ErrorCode;

    use super::*;

    #[test]
    fn only_the_version_null_exists() {
        let code = |version| check(version).err().map(|error| error.code().clone());
        assert_eq!(code(None), None);
        assert_eq!(code(Some("null")), None);
        assert_eq!(code(Some("")), Some(S3ErrorCode::InvalidArgument));
        for other in ["NULL", "0", "3HL4kqtJvjVBH40Nrjfkd"] {
            assert_eq!(code(Some(other)), Some(S3ErrorCode::NoSuchVersion), "{other}");
        }
    }
}
