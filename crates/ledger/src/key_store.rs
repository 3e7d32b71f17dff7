//! The [`KeyStore`] trait.

use async_trait::async_trait;
use time::OffsetDateTime;

use crate::error::Result;
use crate::id::KeyId;
use crate::key::{ApiKey, Authentication, KeyRecord, NewKey};

/// Stores API keys. No other change is in one transaction with a change of a key: a job is accepted with the
/// policy that [`authenticate`](Self::authenticate) returned.
///
/// Atomicity, time, cancellation and errors are as for [`Ledger`](crate::Ledger).
#[async_trait]
pub trait KeyStore: Send + Sync {
    /// Creates an API key. The secret key is only in the return value: the ledger stores its hash.
    ///
    /// # Errors
    /// [`Error`](crate::Error), as for every method.
    async fn create_key(&self, new: NewKey, now: OffsetDateTime) -> Result<(ApiKey, KeyRecord)>;

    /// Checks an API key that a client sent.
    async fn authenticate(&self, key: &ApiKey, now: OffsetDateTime) -> Result<Authentication>;

    /// Returns a key's record.
    async fn key(&self, id: &KeyId) -> Result<Option<KeyRecord>>;

    /// Lists all keys, sorted by id, including revoked keys.
    async fn keys(&self) -> Result<Vec<KeyRecord>>;

    /// Revokes a key. Its open jobs continue. Returns `None` if the key does not exist. A second call keeps
    /// the time of the first.
    async fn revoke_key(&self, id: &KeyId, now: OffsetDateTime) -> Result<Option<KeyRecord>>;
}
