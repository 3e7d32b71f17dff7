//! Opens the ledger that the setting `ledger` selects.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tintype_core::store::ObjectStore;
use tintype_ledger::Ledger;
use tintype_ledger_bucket::{BucketLedger, Sleeper};
use tintype_ledger_sqlite::SqliteLedger;

use crate::config::{Config, LedgerChoice};
use crate::{regular_file, store};

/// The database's file name in the data folder.
const DATABASE: &str = "ledger.db";
/// The lock file of the only server that may run the jobs of a data folder.
const LOCK: &str = "serve.lock";

/// Opens the ledger. `store` contains a ledger of the kind `bucket`.
///
/// # Errors
/// If the data folder is not writable, or a later version of tintype has written its ledger.
pub(crate) async fn open(config: &Config, store: Arc<dyn ObjectStore>) -> Result<Arc<dyn Ledger>> {
    match config.ledger.choice {
        LedgerChoice::Bucket => Ok(bucket(store)),
        LedgerChoice::Sqlite => sqlite(config).await,
    }
}

/// Opens the ledger for a command that runs beside a server, or without one. `instead` says what to do if a
/// running server uses the built-in store.
///
/// # Errors
/// As [`open`].
pub(crate) async fn open_for_command(config: &Config, instead: &str) -> Result<Arc<dyn Ledger>> {
    match config.ledger.choice {
        LedgerChoice::Sqlite => sqlite(config).await,
        LedgerChoice::Bucket => Ok(Arc::new(bucket_for_command(config, instead).await?)),
    }
}

/// Opens the ledger in the bucket of the setting `store`, as [`open_for_command`] does.
///
/// # Errors
/// As [`open`].
pub(crate) async fn bucket_for_command(config: &Config, instead: &str) -> Result<BucketLedger> {
    // A command signs no links, so the origin has no effect.
    let store = store::open(config, "http://localhost").await;
    let store =
        store.with_context(|| format!("failed to open the store; if a running server uses it, {instead}"))?;
    Ok(bucket_ledger(store.objects()))
}

/// A ledger in a bucket. Makes no request to the store.
pub(crate) fn bucket(store: Arc<dyn ObjectStore>) -> Arc<dyn Ledger> {
    Arc::new(bucket_ledger(store))
}

fn bucket_ledger(store: Arc<dyn ObjectStore>) -> BucketLedger {
    let sleeper: Sleeper = Arc::new(|time: Duration| Box::pin(tokio::time::sleep(time)));
    BucketLedger::new(store, sleeper)
}

/// The path of the SQLite database.
pub(crate) fn database(config: &Config) -> PathBuf {
    config.store.data_dir.join(DATABASE)
}

/// Opens the ledger in the data folder.
///
/// # Errors
/// As [`open`].
pub(crate) async fn sqlite(config: &Config) -> Result<Arc<dyn Ledger>> {
    if !tintype_ledger_sqlite::has_project_compile_options() {
        tracing::warn!(
            fix = "set LIBSQLITE3_FLAGS as in .cargo/config.toml when you build tintype",
            "SQLite lacks the compile options of tintype, writing to the ledger takes longer"
        );
    }
    let (folder, path, sync) = (config.store.data_dir.clone(), database(config), config.ledger.sync);
    let opened = tokio::task::spawn_blocking(move || {
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        SqliteLedger::open(&path, sync).with_context(|| format!("cannot open the ledger {}", path.display()))
    });
    Ok(Arc::new(opened.await??))
}

/// Locks the data folder for one server, or for a command that no server may run beside, until the file is closed.
/// `instead` says what to do if a server has locked it.
///
/// # Errors
/// If a server has locked it.
pub(crate) fn lock(folder: &Path, instead: &str) -> Result<File> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let path = folder.join(LOCK);
    let context = || format!("cannot open {}", path.display());
    let file = regular_file::open_lock(&path).with_context(context)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!("the data folder {} is in use by another server; {instead}", folder.display())
        }
        Err(TryLockError::Error(error)) => Err(error).with_context(context),
    }
}
