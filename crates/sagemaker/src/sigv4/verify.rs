//! Recomputes a signature and compares.

use std::time::SystemTime;

use aws_sdk_sagemakerruntime::config::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use http::HeaderMap;
use subtle::ConstantTimeEq;

use super::error::SignatureError;
use super::request_signature::RequestSignature;

/// A request as the server received it.
#[derive(Clone, Copy, Debug)]
pub struct ReceivedRequest<'a> {
    /// The method, for example `POST`.
    pub method: &'a str,
    /// The path and query as the client sent them, for example `/endpoints/tiger/invocations`.
    pub target: &'a str,
    /// The headers that the signature was read from.
    pub headers: &'a HeaderMap,
    /// The whole body.
    pub body: &'a [u8],
}

impl RequestSignature {
    /// Computes the request's signature with AWS's own signer and compares, in constant time.
    ///
    /// # Errors
    /// [`SignatureError::Mismatch`] if the signatures differ.
    pub fn verify(&self, request: &ReceivedRequest<'_>) -> Result<(), SignatureError> {
        let expected = self.expected(request).ok_or(SignatureError::Mismatch)?;
        if expected.as_bytes().ct_eq(self.signature.as_bytes()).into() {
            Ok(())
        } else {
            Err(SignatureError::Mismatch)
        }
    }

    /// The request's correct signature; `None` if the request cannot be signed.
    fn expected(&self, request: &ReceivedRequest<'_>) -> Option<String> {
        // The Runtime API has no targets in the form of a whole URL.
        if !request.target.starts_with('/') {
            return None;
        }
        let mut headers = Vec::with_capacity(self.signed_headers.len());
        for name in &self.signed_headers {
            headers.push((name.as_str(), request.headers.get(name)?.to_str().ok()?));
        }
        // The signer does not print the secret.
        let secret = self.keys.secret.expose();
        let identity = Credentials::new(&self.keys.id, secret, None, None, "tintype").into();
        let mut settings = SigningSettings::default();
        // The request chooses which headers are signed; the signer must not exclude any.
        settings.excluded_headers = None;
        let parameters = SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name("sagemaker")
            .time(SystemTime::from(self.signed_at))
            .settings(settings)
            .build()
            .ok()?;
        let body = SignableBody::Bytes(request.body);
        let signable =
            SignableRequest::new(request.method, request.target, headers.into_iter(), body).ok()?;
        let (_, signature) = sign(signable, &parameters.into()).ok()?.into_parts();
        Some(signature)
    }
}
