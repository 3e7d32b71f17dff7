//! Deletes old images of the embedded store.

use std::error::Error;
use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tintype_core::causes::{causes, find};
use tintype_storage::Embedded;
use tokio::task::JoinError;
use tokio::time::{MissedTickBehavior, interval};

use crate::store::Store;

/// Maximum interval between sweeps.
const MAX_INTERVAL: Duration = Duration::from_secs(10 * 60);
/// Minimum interval between sweeps.
const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// Starts a task that sweeps the embedded store until the store is dropped. Other stores have lifecycle
/// rules.
pub(crate) fn start(store: &Store, keep: Option<Duration>, max_bytes: Option<u64>) {
    let Store::Embedded(embedded) = store else { return };
    if keep.is_none() && max_bytes.is_none() {
        return;
    }
    let (keep, max_bytes) = (keep.unwrap_or(Duration::MAX), max_bytes.unwrap_or(u64::MAX));
    tokio::spawn(sweep(Arc::downgrade(embedded), keep, max_bytes));
}

async fn sweep(embedded: Weak<Embedded>, keep: Duration, max_bytes: u64) {
    let mut times = interval((keep / 10).clamp(MIN_INTERVAL, MAX_INTERVAL));
    times.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        times.tick().await;
        let Some(embedded) = embedded.upgrade() else { return };
        match embedded.sweep(keep, max_bytes).await {
            Ok(swept) if swept.deleted > 0 => {
                tracing::info!(
                    deleted = swept.deleted,
                    freed_bytes = swept.freed_bytes,
                    remaining_bytes = swept.remaining_bytes,
                    "deleted old images"
                );
            }
            Ok(_) => {}
            // The process stops, and the last line on standard error is for the reason.
            Err(error) if is_canceled(&error) => return,
            Err(error) => tracing::warn!(error = %causes(&error), "failed to delete old images"),
        }
    }
}

/// Whether the work was canceled because the runtime shuts down. The store wraps this error in one of the file system.
fn is_canceled(error: &(dyn Error + 'static)) -> bool {
    let inner = find::<io::Error>(error).and_then(io::Error::get_ref);
    inner.and_then(|inner| inner.downcast_ref::<JoinError>()).is_some_and(JoinError::is_cancelled)
}
