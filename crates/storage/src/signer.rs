//! Signs links, for the embedded and for remote S3 services.

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::presigning::PresigningConfig;
use time::OffsetDateTime;
use tintype_core::store::{PresignOptions, SignedUrl, StoreError};

use crate::credential_lifetime::LastCredentialLifetime;

/// Maximum lifetime of a link in seconds, by Signature Version 4: 7 days.
pub(crate) const MAX_LINK_SECONDS: u64 = 7 * 24 * 60 * 60;
/// Maximum number of attempts to sign a link, which is repeated if the SDK has renewed the credentials
/// meanwhile.
const ATTEMPTS: usize = 3;

/// Signs links to the objects of one bucket, for the public endpoint.
#[derive(Clone, Debug)]
pub(crate) struct Signer {
    /// A client for the public endpoint.
    pub(crate) client: Client,
    pub(crate) bucket: String,
    /// The lifetime of the client's credentials.
    pub(crate) lifetime: LastCredentialLifetime,
    /// Maximum lifetime of a link if the end of the credentials is unknown.
    pub(crate) max_link_lifetime: Duration,
}

impl Signer {
    /// A signer with credentials that do not expire.
    pub(crate) fn with_permanent_credentials(client: Client, bucket: String) -> Self {
        Self { client, bucket, lifetime: LastCredentialLifetime::default(), max_link_lifetime: Duration::MAX }
    }

    /// Signs a `GET` of the object with this full key. The link expires after the requested time, or with the
    /// credentials if they expire first. No request is made.
    pub(crate) async fn sign(&self, key: &str, options: &PresignOptions) -> Result<SignedUrl, StoreError> {
        let requested = options.expires_in;
        if requested.as_secs() == 0 || requested.as_secs() > MAX_LINK_SECONDS {
            return Err(StoreError::Unavailable(
                "the lifetime of a presigned URL must be between 1 s and 7 days".into(),
            ));
        }
        let mut lifetime = self.lifetime.get();
        for _ in 1..ATTEMPTS {
            let signed =
                self.sign_for(key, options, lifetime.limit_link(requested, self.max_link_lifetime)).await?;
            let used = self.lifetime.get();
            if used == lifetime {
                return Ok(signed);
            }
            // The SDK has just loaded or renewed the credentials.
            lifetime = used;
        }
        self.sign_for(key, options, lifetime.limit_link(requested, self.max_link_lifetime)).await
    }

    async fn sign_for(
        &self,
        key: &str,
        options: &PresignOptions,
        lifetime: Duration,
    ) -> Result<SignedUrl, StoreError> {
        let unavailable = |error: Box<dyn std::error::Error + Send + Sync>| StoreError::Unavailable(error);
        let config = PresigningConfig::expires_in(lifetime).map_err(|error| unavailable(error.into()))?;
        let expires_at = OffsetDateTime::now_utc() + lifetime;
        let request = self
            .client
            .get_object()
            .bucket(&self.bucket)
            .key(key)
            .set_response_content_disposition(options.content_disposition.clone())
            .presigned(config)
            .await
            .map_err(|error| unavailable(error.into()))?;
        Ok(SignedUrl { url: request.uri().to_owned(), expires_at })
    }
}
