//! Who may ask, and the keys that say so.

use time::OffsetDateTime;
use tintype_ledger::id::KeyId;
use tintype_ledger::key::{ApiKey, Authentication, KeyRecord, NewKey};

use crate::caller::Caller;
use crate::error::{KeyError, ServiceError};
use crate::pricing;
use crate::service::Service;
use crate::settings::AnonymousAccess;

impl Service {
    /// Lets somebody in by the key that was presented, or without one where that is allowed.
    ///
    /// # Errors
    /// [`ServiceError::Unauthenticated`]: a key that is presented has to be good, also where none is needed.
    pub async fn authenticate(&self, presented: Option<&str>) -> Result<Caller, ServiceError> {
        let invalid = |invalid| Err(ServiceError::Unauthenticated(invalid));
        let Some(text) = presented else {
            return match self.inner.settings.anonymous {
                AnonymousAccess::Denied => invalid(KeyError::Missing),
                AnonymousAccess::Trusted => Ok(Caller::without_key(false)),
                AnonymousAccess::Public => Ok(Caller::without_key(true)),
            };
        };
        let Ok(key) = ApiKey::parse(text) else { return invalid(KeyError::Malformed) };
        match self.inner.ledger.authenticate(&key, OffsetDateTime::now_utc()).await? {
            Authentication::Valid(record) => Ok(record.into()),
            Authentication::Unknown => invalid(KeyError::Unknown),
            Authentication::Expired(_) => invalid(KeyError::Expired),
            Authentication::Revoked(_) => invalid(KeyError::Revoked),
        }
    }

    /// Makes a key. The key itself is in the answer and nowhere else.
    ///
    /// # Errors
    /// [`ServiceError::NotAdmin`], [`ServiceError::Unpriced`], [`ServiceError::Ledger`].
    pub async fn create_key(&self, by: &Caller, new: NewKey) -> Result<(ApiKey, KeyRecord), ServiceError> {
        require_admin(by)?;
        if let Some(currency) = pricing::unpriced(&new.policy.budgets, self.inner.settings.price) {
            return Err(ServiceError::Unpriced(currency));
        }
        Ok(self.inner.ledger.create_key(new, OffsetDateTime::now_utc()).await?)
    }

    /// Every key, by id.
    ///
    /// # Errors
    /// [`ServiceError::NotAdmin`], [`ServiceError::Ledger`].
    pub async fn keys(&self, by: &Caller) -> Result<Vec<KeyRecord>, ServiceError> {
        require_admin(by)?;
        Ok(self.inner.ledger.keys().await?)
    }

    /// A key's record.
    ///
    /// # Errors
    /// [`ServiceError::NotAdmin`], [`ServiceError::NotFound`], [`ServiceError::Ledger`].
    pub async fn key(&self, by: &Caller, id: &KeyId) -> Result<KeyRecord, ServiceError> {
        require_admin(by)?;
        self.inner.ledger.key(id).await?.ok_or(ServiceError::NotFound("key"))
    }

    /// Takes a key back.
    ///
    /// # Errors
    /// Those of [`key`](Self::key).
    pub async fn revoke_key(&self, by: &Caller, id: &KeyId) -> Result<KeyRecord, ServiceError> {
        require_admin(by)?;
        let revoked = self.inner.ledger.revoke_key(id, OffsetDateTime::now_utc()).await?;
        revoked.ok_or(ServiceError::NotFound("key"))
    }
}

/// What only somebody may do who is told from others.
pub(crate) fn require_identity(caller: &Caller) -> Result<(), ServiceError> {
    if caller.is_anonymous_public { Err(ServiceError::Unauthenticated(KeyError::Missing)) } else { Ok(()) }
}

fn require_admin(caller: &Caller) -> Result<(), ServiceError> {
    if caller.admin { Ok(()) } else { Err(ServiceError::NotAdmin) }
}
