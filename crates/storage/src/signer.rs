//! Signed links, made by the same code for every S3 service.

use aws_sdk_s3::Client;
use aws_sdk_s3::presigning::PresigningConfig;
use time::OffsetDateTime;
use tintype_core::store::{Presign, SignedUrl, StoreError};

/// Longest life of a signed link in seconds: what Signature Version 4 allows, 7 days.
pub(crate) const LONGEST_LIFE: u64 = 7 * 24 * 60 * 60;

/// Signs links to the objects of one bucket as the outside world sees them.
#[derive(Clone, Debug)]
pub(crate) struct Signer {
    /// Its endpoint is the public one.
    pub(crate) client: Client,
    pub(crate) bucket: String,
}

impl Signer {
    /// Signs a `GET` of the object with this full key. No request is made.
    pub(crate) async fn sign(&self, key: &str, how: &Presign) -> Result<SignedUrl, StoreError> {
        let unavailable = |error: Box<dyn std::error::Error + Send + Sync>| StoreError::Unavailable(error);
        let life = how.expires_in;
        if life.as_secs() == 0 || life.as_secs() > LONGEST_LIFE {
            return Err(unavailable("a link lives for 1 s to 7 days".into()));
        }
        let config = PresigningConfig::expires_in(life).map_err(|error| unavailable(error.into()))?;
        let expires_at = OffsetDateTime::now_utc() + life;
        let request = self
            .client
            .get_object()
            .bucket(&self.bucket)
            .key(key)
            .set_response_content_disposition(how.content_disposition.clone())
            .presigned(config)
            .await
            .map_err(|error| unavailable(error.into()))?;
        Ok(SignedUrl { url: request.uri().to_owned(), expires_at })
    }
}
