//! From the setting `ledger` to a ledger.

use std::fs::{self, File, TryLockError};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tintype_core::store::ObjectStore;
use tintype_ledger::{BucketLedger, Ledger, Sleeper, SqliteLedger};

use crate::config::{Config, LedgerChoice};

/// The database's name in the data folder.
const DATABASE: &str = "ledger.db";
/// Held by the one server that may run the jobs of a data folder.
const LOCK: &str = "serve.lock";

/// Opens the ledger; `store` is where a ledger in the bucket is.
///
/// # Errors
/// When the data folder cannot be written to, or has a ledger of a later version of this program.
pub(crate) async fn open(config: &Config, store: Arc<dyn ObjectStore>) -> Result<Arc<dyn Ledger>> {
    match config.ledger.choice {
        LedgerChoice::Bucket => Ok(bucket(store)),
        LedgerChoice::Sqlite => sqlite(config).await,
    }
}

/// The ledger in a bucket. Nothing is asked of the store.
pub(crate) fn bucket(store: Arc<dyn ObjectStore>) -> Arc<dyn Ledger> {
    let sleeper: Sleeper = Arc::new(|time: Duration| Box::pin(tokio::time::sleep(time)));
    Arc::new(BucketLedger::new(store, sleeper))
}

/// Opens the ledger in the data folder.
///
/// # Errors
/// As [`open`].
pub(crate) async fn sqlite(config: &Config) -> Result<Arc<dyn Ledger>> {
    let (folder, sync) = (config.store.data_dir.clone(), config.ledger.sync);
    let opened = tokio::task::spawn_blocking(move || {
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let path = folder.join(DATABASE);
        SqliteLedger::open(&path, sync).with_context(|| format!("{} cannot be used", path.display()))
    });
    Ok(Arc::new(opened.await??))
}

/// Takes the data folder for the server that runs its jobs, for as long as the file is open.
///
/// # Errors
/// When another server has it.
pub(crate) fn lock(folder: &Path) -> Result<File> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let path = folder.join(LOCK);
    let context = || format!("cannot open {}", path.display());
    let file = File::options().create(true).truncate(false).write(true).open(&path).with_context(context)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!("the data folder {} is in use by another server", folder.display())
        }
        Err(TryLockError::Error(error)) => Err(error).with_context(context),
    }
}
