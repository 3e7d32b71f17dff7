//! Signed links, made by the same code for every S3 service.

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::presigning::PresigningConfig;
use time::OffsetDateTime;
use tintype_core::store::{PresignOptions, SignedUrl, StoreError};

use crate::session::LastTerm;

/// Longest life of a signed link in seconds: what Signature Version 4 allows, 7 days.
pub(crate) const LONGEST_LIFE: u64 = 7 * 24 * 60 * 60;
/// How often a link is signed again because other credentials signed it than were expected.
const ATTEMPTS: usize = 3;

/// Signs links to the objects of one bucket as the outside world sees them.
#[derive(Clone, Debug)]
pub(crate) struct Signer {
    /// Its endpoint is the public one.
    pub(crate) client: Client,
    pub(crate) bucket: String,
    /// How long the client's credentials work.
    pub(crate) term: LastTerm,
    /// The longest life of a link where nothing says when they end.
    pub(crate) cap: Duration,
}

impl Signer {
    /// Signs with credentials that do not end.
    pub(crate) fn lasting(client: Client, bucket: String) -> Self {
        Self { client, bucket, term: LastTerm::default(), cap: Duration::MAX }
    }

    /// Signs a `GET` of the object with this full key, for as long as was asked or the credentials work. No request is made.
    pub(crate) async fn sign(&self, key: &str, how: &PresignOptions) -> Result<SignedUrl, StoreError> {
        let asked = how.expires_in;
        if asked.as_secs() == 0 || asked.as_secs() > LONGEST_LIFE {
            return Err(StoreError::Unavailable("a link lives for 1 s to 7 days".into()));
        }
        let mut term = self.term.get();
        for _ in 1..ATTEMPTS {
            let signed = self.sign_for(key, how, term.life(asked, self.cap)).await?;
            let used = self.term.get();
            if used == term {
                return Ok(signed);
            }
            // They were looked up just now, or are new ones.
            term = used;
        }
        self.sign_for(key, how, term.life(asked, self.cap)).await
    }

    async fn sign_for(
        &self,
        key: &str,
        how: &PresignOptions,
        life: Duration,
    ) -> Result<SignedUrl, StoreError> {
        let unavailable = |error: Box<dyn std::error::Error + Send + Sync>| StoreError::Unavailable(error);
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
