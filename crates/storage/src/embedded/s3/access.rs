//! The check between the verification of a request's signature and its operation.

use async_trait::async_trait;
use http::header::CONTENT_LENGTH;
use http::{Extensions, HeaderMap};
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::Credentials;
use s3s::{S3Result, s3_error};

use super::MAX_XML_BYTES;
use super::support::{self, SignedRequest};

/// Operations whose body is XML.
const WITH_XML: [&str; 3] = ["CompleteMultipartUpload", "CreateBucket", "DeleteObjects"];

/// Rejects XML that is too long. `s3s` would report it as an internal error.
fn check_length(operation: &str, headers: &HeaderMap) -> S3Result<()> {
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    match length {
        Some(length) if length > MAX_XML_BYTES && WITH_XML.contains(&operation) => Err(s3_error!(
            MaxMessageLengthExceeded,
            "The XML of the request has {length} bytes; the maximum is {MAX_XML_BYTES}."
        )),
        _ => Ok(()),
    }
}

/// Marks a request whose signature was verified. A client cannot send it.
#[derive(Clone, Copy, Debug)]
struct Verified;

/// Marks a request whose signature was verified, so that the service requires no other one.
pub(in crate::embedded) fn mark_as_verified(extensions: &mut Extensions) {
    extensions.insert(Verified);
}

/// Requires a valid signature.
///
/// # Errors
/// `AccessDenied` if the request has none.
pub(super) fn require_signature(credentials: Option<&Credentials>, extensions: &Extensions) -> S3Result<()> {
    if credentials.is_some() || extensions.get::<Verified>().is_some() {
        return Ok(());
    }
    Err(s3_error!(
        AccessDenied,
        "The request has no signature. Sign it with the access key, or use a presigned URL."
    ))
}

/// Requires a valid signature, and that the service understands the request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Access;

#[async_trait]
impl S3Access for Access {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        let extensions = std::mem::take(context.extensions_mut());
        let signed = require_signature(context.credentials(), &extensions);
        *context.extensions_mut() = extensions;
        signed?;
        check_length(context.s3_op().name(), context.headers())?;
        support::check(SignedRequest {
            operation: context.s3_op().name(),
            method: context.method(),
            uri: context.uri(),
            headers: context.headers(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xml_has_a_maximum_length() {
        let check = |operation, length: usize| {
            check_length(operation, &HeaderMap::from_iter([(CONTENT_LENGTH, length.into())])).is_ok()
        };
        assert!(check("DeleteObjects", MAX_XML_BYTES) && check("PutObject", MAX_XML_BYTES + 1));
        assert!(!check("DeleteObjects", MAX_XML_BYTES + 1));
    }
}
