//! API keys for the benchmark's clients.

use anyhow::{Context, Result};
use time::OffsetDateTime;
use tintype_ledger::key::NewKey;
use tintype_ledger::policy::Policy;

use crate::server::{ServerOptions, Storage};

/// Creates keys with these names and this policy; a key named `admin` is an admin key.
///
/// # Errors
/// If the ledger cannot be opened.
pub(crate) async fn create(options: &ServerOptions, names: &[&str], policy: &Policy) -> Result<Vec<String>> {
    let store = match options.storage {
        // A ledger in a file does not use the store.
        Storage::Memory | Storage::Folder => {
            ServerOptions { storage: Storage::Memory, ..options.clone() }.store("").await?
        }
        Storage::Bucket(_) => options.store("").await?,
    };
    let ledger = options.ledger(store)?;
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
