//! API keys for the bench's clients.

use anyhow::{Context, Result};
use time::OffsetDateTime;
use tintype_ledger::key::NewKey;
use tintype_ledger::policy::Policy;

use crate::server::{Place, Setup};

/// Makes keys with these names and this policy; those named `admin` may manage.
///
/// # Errors
/// When the ledger is not to be had.
pub(crate) async fn make(setup: &Setup, names: &[&str], policy: &Policy) -> Result<Vec<String>> {
    let store = match setup.place {
        // Not needed for a ledger in a file.
        Place::Memory | Place::Folder => Setup { place: Place::Memory, ..setup.clone() }.store("").await?,
        Place::Bucket(_) => setup.store("").await?,
    };
    let ledger = setup.ledger(store)?;
    let mut keys = Vec::with_capacity(names.len());
    for &name in names {
        let new = NewKey {
            name: name.to_owned(),
            owner: None,
            expires: None,
            admin: name == "admin",
            policy: policy.clone(),
        };
        let (key, _) = ledger.create_key(new, OffsetDateTime::now_utc()).await.context("a key")?;
        keys.push(key.secret().expose().to_owned());
    }
    Ok(keys)
}
