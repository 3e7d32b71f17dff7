//! Tokens for event URLs. A browser's `EventSource` sends no headers, so a page cannot send its API key with
//! it.
//!
//! A token permits a key's owner to follow one job until the token expires. It is `EXPIRY.MAC.KEY`: the
//! expiry in seconds since 1970, an HMAC-SHA256 (RFC 2104) in hexadecimal, and the id of the API key.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use time::OffsetDateTime;
use tintype_ledger::id::{JobId, KeyId, OwnerId};
use tintype_ledger::job::EventsKey;

use super::image::Image;
use super::service::Service;
use crate::caller::Caller;
use crate::error::{KeyError, ServiceError};

/// How long a token is valid.
pub const EVENTS_TOKEN_LIFETIME: Duration = Duration::from_secs(3_600);
/// The purpose of the signature, as its first line.
const PURPOSE: &str = "tintype job events";

/// What a token permits.
struct Grant<'a> {
    job: JobId,
    owner: &'a OwnerId,
    key: &'a KeyId,
    /// Seconds since 1970.
    expiry: i64,
}

impl Grant<'_> {
    fn mac(&self, secret: &EventsKey) -> Hmac<Sha256> {
        let Self { job, owner, key, expiry } = self;
        let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes());
        let mac = mac.expect("HMAC accepts keys of every length");
        // None of the parts can have a line break.
        mac.chain_update(format!("{PURPOSE}\n{job}\n{owner}\n{key}\n{expiry}"))
    }
}

impl Service {
    /// A token with which the caller's owner can follow a job; `None` for callers without a key, who need
    /// none, and for jobs of earlier versions.
    pub fn events_token(&self, caller: &Caller, image: &Image) -> Option<String> {
        let secret = image.events_key.filter(|_| !caller.is_anonymous())?;
        let expiry = (OffsetDateTime::now_utc() + EVENTS_TOKEN_LIFETIME).unix_timestamp();
        let grant = Grant { job: image.id, owner: &caller.owner, key: &caller.key, expiry };
        let mac = hex::encode(grant.mac(&secret).finalize().into_bytes());
        Some(format!("{expiry}.{mac}.{}", caller.key))
    }

    /// Authenticates the token of a job's event URL. The caller must be used for the events of this job only.
    ///
    /// # Errors
    /// [`ServiceError::Unauthenticated`], also after the key was revoked or the job was deleted;
    /// [`ServiceError::Ledger`].
    pub async fn authenticate_events_token(&self, job: JobId, token: &str) -> Result<Caller, ServiceError> {
        let invalid = || ServiceError::Unauthenticated(KeyError::InvalidToken);
        let mut parts = token.splitn(3, '.');
        let (Some(expiry), Some(mac), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(invalid());
        };
        let (Ok(expiry), Ok(mac), Ok(key)) = (expiry.parse(), hex::decode(mac), key.parse::<KeyId>()) else {
            return Err(invalid());
        };
        let now = OffsetDateTime::now_utc();
        let record = self.inner.ledger.key(&key).await?.ok_or_else(invalid)?;
        if record.revoked.is_some() || record.expires.is_some_and(|expires| expires <= now) {
            return Err(invalid());
        }
        let found = self.inner.ledger.job(&record.owner, job).await?;
        let secret = found.and_then(|job| job.events_key).ok_or_else(invalid)?;
        let grant = Grant { job, owner: &record.owner, key: &key, expiry };
        // In constant time.
        grant.mac(&secret).verify_slice(&mac).map_err(|_| invalid())?;
        if expiry <= now.unix_timestamp() {
            return Err(ServiceError::Unauthenticated(KeyError::ExpiredToken));
        }
        Ok(record.into())
    }
}
