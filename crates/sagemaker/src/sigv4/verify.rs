//! Whether a signature is genuine.

use std::time::SystemTime;

use aws_sdk_sagemakerruntime::config::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use http::HeaderMap;
use subtle::ConstantTimeEq;

use super::claim::Claim;
use super::error::SignatureError;

/// A request as it was received.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// Its method, for example `POST`.
    pub method: &'a str,
    /// Its path and query as they were sent, for example `/endpoints/tiger/invocations`.
    pub target: &'a str,
    /// The headers that the claim was read from.
    pub headers: &'a HeaderMap,
    /// The whole body.
    pub body: &'a [u8],
}

impl Claim {
    /// Computes the request's signature with AWS's own signer and compares, in constant time.
    ///
    /// # Errors
    /// [`SignatureError::Mismatch`] if it is another one.
    pub fn verify(&self, request: &Received<'_>) -> Result<(), SignatureError> {
        let expected = self.expected(request).ok_or(SignatureError::Mismatch)?;
        if expected.as_bytes().ct_eq(self.signature.as_bytes()).into() {
            Ok(())
        } else {
            Err(SignatureError::Mismatch)
        }
    }

    /// The signature that the request should have; none if it is not one that could be signed.
    fn expected(&self, request: &Received<'_>) -> Option<String> {
        // A path in the form of a whole URL, or of anything else, is none of the Runtime API's.
        if !request.target.starts_with('/') {
            return None;
        }
        let mut headers = Vec::with_capacity(self.signed_headers.len());
        for name in &self.signed_headers {
            headers.push((name.as_str(), request.headers.get(name)?.to_str().ok()?));
        }
        // The signer is handed the secret and does not print it.
        let secret = self.keys.secret.expose();
        let identity = Credentials::new(&self.keys.id, secret, None, None, "tintype").into();
        let mut settings = SigningSettings::default();
        // Which headers are signed, the request says.
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
