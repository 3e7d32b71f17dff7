//! Creates the first API key of a deployment.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use time::OffsetDateTime;
use tintype_core::secret::Secret;
use tintype_ledger::KeyStore;
use tintype_ledger::key::NewKey;
use tintype_ledger::policy::Policy;
use tintype_ledger_bucket::{BucketLedger, Sleeper};
use tintype_storage::{S3Settings, S3Store};

/// Creates a key without limits in the bucket's ledger; none if the ledger already has keys.
///
/// # Errors
/// If the bucket cannot be read or written.
pub(super) async fn create_first(bucket: &str, region: &str) -> Result<Option<Secret>> {
    let settings =
        S3Settings { bucket: bucket.to_owned(), region: Some(region.to_owned()), ..S3Settings::default() };
    let store = S3Store::new(settings)?;
    let sleeper: Sleeper = Arc::new(|time: Duration| Box::pin(tokio::time::sleep(time)));
    let ledger = BucketLedger::new(Arc::new(store), sleeper);
    let context = || format!("cannot create a key in the bucket {bucket}");
    if !ledger.keys().await.with_context(context)?.is_empty() {
        return Ok(None);
    }
    let new = NewKey {
        name: "first".to_owned(),
        owner: None,
        expires: None,
        admin: false,
        policy: Policy::default(),
    };
    let (key, _) = ledger.create_key(new, OffsetDateTime::now_utc()).await.with_context(context)?;
    Ok(Some(key.secret().clone()))
}
