//! Authentication and management of API keys.

use tintype_ledger::id::KeyId;
use tintype_ledger::key::{ApiKey, Authentication, KeyRecord, NewKey};

use super::service::Service;
use crate::caller::Caller;
use crate::error::{KeyError, ServiceError};
use crate::pricing;
use crate::settings::AnonymousAccess;

impl Service {
    /// Authenticates the presented API key, or accepts a request without a key if the settings allow it.
    ///
    /// # Errors
    /// [`ServiceError::Unauthenticated`]. A presented key must be valid even if no key is required.
    /// [`ServiceError::Ledger`].
    pub async fn authenticate(&self, presented: Option<&str>) -> Result<Caller, ServiceError> {
        let invalid = |reason| Err(ServiceError::Unauthenticated(reason));
        let Some(text) = presented else {
            return match self.inner.settings.anonymous {
                AnonymousAccess::Denied => invalid(KeyError::Missing),
                AnonymousAccess::Trusted => Ok(Caller::anonymous()),
                AnonymousAccess::Public => Ok(Caller::anonymous_public()),
            };
        };
        let Ok(key) = ApiKey::parse(text) else { return invalid(KeyError::Malformed) };
        match self.inner.keys.authenticate(&key, self.inner.now()).await? {
            Authentication::Valid(record) => Ok(record.into()),
            Authentication::Unknown => invalid(KeyError::Unknown),
            Authentication::Expired(_) => invalid(KeyError::Expired),
            Authentication::Revoked(_) => invalid(KeyError::Revoked),
        }
    }

    /// Creates a key. The key itself is only in this return value; the ledger has its hash.
    ///
    /// # Errors
    /// [`ServiceError::NotAdmin`], [`ServiceError::Unpriced`], [`ServiceError::NotReady`],
    /// [`ServiceError::Ledger`]; [`ServiceError::UnknownModel`] if a name in the list of models is not the name of a
    /// model. An alias may mean another model after a change of the settings, so it is not accepted.
    pub async fn create_key(&self, by: &Caller, new: NewKey) -> Result<(ApiKey, KeyRecord), ServiceError> {
        require_admin(by)?;
        let prices: Vec<_> = self.inner.models.iter().filter_map(|model| model.settings.price).collect();
        if let Some(currency) = pricing::unpriced(&new.policy.budgets, &prices) {
            return Err(ServiceError::Unpriced(currency));
        }
        let names: Vec<_> = self.inner.models.iter().map(|model| model.name()).collect();
        if let Some(unknown) = new.policy.models.iter().find(|name| !names.contains(name)) {
            // The name of a model that is loading may be unknown.
            let loading = names.iter().any(String::is_empty);
            return Err(if loading {
                ServiceError::NotReady
            } else {
                ServiceError::UnknownModel(unknown.clone())
            });
        }
        Ok(self.inner.keys.create_key(new, self.inner.now()).await?)
    }

    /// All keys, ordered by id.
    ///
    /// # Errors
    /// [`ServiceError::NotAdmin`], [`ServiceError::Ledger`].
    pub async fn keys(&self, by: &Caller) -> Result<Vec<KeyRecord>, ServiceError> {
        require_admin(by)?;
        Ok(self.inner.keys.keys().await?)
    }

    /// A key's record.
    ///
    /// # Errors
    /// [`ServiceError::NotAdmin`], [`ServiceError::NotFound`], [`ServiceError::Ledger`].
    pub async fn key(&self, by: &Caller, id: &KeyId) -> Result<KeyRecord, ServiceError> {
        require_admin(by)?;
        self.inner.keys.key(id).await?.ok_or(ServiceError::NotFound("key"))
    }

    /// Revokes a key.
    ///
    /// # Errors
    /// Those of [`key`](Self::key).
    pub async fn revoke_key(&self, by: &Caller, id: &KeyId) -> Result<KeyRecord, ServiceError> {
        require_admin(by)?;
        let revoked = self.inner.keys.revoke_key(id, self.inner.now()).await?;
        revoked.ok_or(ServiceError::NotFound("key"))
    }
}

/// Rejects unauthenticated callers of a public service.
pub(crate) fn require_identity(caller: &Caller) -> Result<(), ServiceError> {
    if caller.is_anonymous_public { Err(ServiceError::Unauthenticated(KeyError::Missing)) } else { Ok(()) }
}

fn require_admin(caller: &Caller) -> Result<(), ServiceError> {
    if caller.admin { Ok(()) } else { Err(ServiceError::NotAdmin) }
}
