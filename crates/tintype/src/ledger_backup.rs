//! `tintype ledger backup` and `tintype ledger restore`.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tempfile::NamedTempFile;
use tintype_ledger::Error;
use tintype_ledger::backup::BackupError;
use tintype_ledger_sqlite::Existing;

use crate::config::{Config, LedgerChoice};
use crate::ledger_commands::{BackUpLedger, RestoreLedger};
use crate::output::UsageError;
use crate::{ledger, output, regular_file};

/// What to do if a server has locked the embedded store, which the bucket ledger is in.
const STORE_IN_USE: &str = "stop it first, or use the server's S3 API (settings `store` and `s3_endpoint`)";

/// Runs `tintype ledger backup`.
///
/// # Errors
/// If the file exists, the ledger does not, or one of them cannot be accessed.
pub(crate) fn back_up(config: &Config, arguments: &BackUpLedger) -> Result<()> {
    let file = NewFile::create(&arguments.file, arguments.force)?;
    match config.ledger.choice {
        LedgerChoice::Sqlite => {
            let database = ledger::database(config);
            file.must_not_be(&database)?;
            tintype_ledger_sqlite::back_up(&database, file.temporary.path())
                .with_context(|| format!("cannot back up the ledger {}", database.display()))?;
        }
        LedgerChoice::Bucket => runtime()?.block_on(async {
            let ledger = ledger::bucket_for_command(config, STORE_IN_USE).await?;
            let backup = ledger.back_up(&mut BufWriter::new(file.temporary.as_file())).await;
            backup.map(drop).context("cannot back up the ledger in the bucket")
        })?,
    }
    file.publish()?;
    output::message(&format!("The ledger is backed up to {}.", arguments.file.display()));
    Ok(())
}

/// Runs `tintype ledger restore`.
///
/// # Errors
/// If the file is not a backup, a server runs, the ledger is not empty, or one of them cannot be accessed.
pub(crate) fn restore(config: &Config, arguments: &RestoreLedger) -> Result<()> {
    let path = &arguments.file;
    let file = regular_file::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    match config.ledger.choice {
        LedgerChoice::Sqlite => restore_sqlite(config, arguments)?,
        LedgerChoice::Bucket if arguments.force => {
            let message = "`--force` is for SQLite ledgers; delete the objects under keys/, usage/, jobs/ and idem/ of \
                           the bucket instead, and restore the backup without `--force`";
            return Err(UsageError(message.to_owned()).into());
        }
        LedgerChoice::Bucket => runtime()?.block_on(async {
            let ledger = ledger::bucket_for_command(config, "stop it first").await?;
            let restored = ledger.restore(&mut BufReader::new(file)).await;
            let fix = "a bucket ledger must have no objects under keys/, usage/, jobs/ and idem/ before";
            restored.map(drop).map_err(|error| explain(error, fix)).with_context(|| cannot_restore(path))
        })?,
    }
    output::message(&format!("The ledger is restored from {}.", path.display()));
    Ok(())
}

fn restore_sqlite(config: &Config, arguments: &RestoreLedger) -> Result<()> {
    let _lock = ledger::lock(&config.store.data_dir, "stop it first")?;
    let existing = if arguments.force { Existing::Replace } else { Existing::Keep };
    let restored = tintype_ledger_sqlite::restore(&arguments.file, &ledger::database(config), existing);
    restored
        .map_err(|error| explain(error, "add `--force` to replace all its records"))
        .with_context(|| cannot_restore(&arguments.file))
}

fn cannot_restore(file: &Path) -> String {
    format!("cannot restore the ledger from {}", file.display())
}

/// The error with what to do about it; `not_empty` is for [`BackupError::NotEmpty`].
fn explain(error: BackupError, not_empty: &str) -> anyhow::Error {
    let fix = match &error {
        BackupError::NotEmpty => not_empty,
        BackupError::NotABackup(_) => "the setting `ledger` selects the kind of ledger",
        BackupError::Ledger(Error::Corrupt { .. }) => {
            "move the damaged ledger.db, ledger.db-wal and ledger.db-shm to another folder first"
        }
        _ => return error.into(),
    };
    anyhow::anyhow!("{error}; {fix}")
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// A file that gets its name when it is complete. Until then it has a temporary name in the same folder. Only its
/// owner can access it.
struct NewFile {
    path: PathBuf,
    folder: PathBuf,
    temporary: NamedTempFile,
    force: bool,
}

impl NewFile {
    /// Creates the file. With `force`, it will replace an existing one.
    fn create(path: &Path, force: bool) -> Result<Self> {
        let context = || format!("cannot write {}", path.display());
        match fs::symlink_metadata(path) {
            Ok(_) if !force => {
                bail!("{} exists; choose another name, or add `--force` to replace it", path.display())
            }
            Ok(found) if !found.is_file() => bail!("{} is not a regular file", path.display()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).with_context(context),
            Ok(_) | Err(_) => {}
        }
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        let temporary = tempfile::Builder::new().prefix(".tintype-backup-").tempfile_in(&folder);
        Ok(Self { path: path.to_owned(), folder, temporary: temporary.with_context(context)?, force })
    }

    /// Checks that this does not replace the ledger itself.
    fn must_not_be(&self, database: &Path) -> Result<()> {
        match (fs::canonicalize(&self.path), fs::canonicalize(database)) {
            (Ok(file), Ok(database)) if file == database => {
                bail!("{} is the ledger itself", self.path.display())
            }
            _ => Ok(()),
        }
    }

    /// Syncs the file and gives it its name.
    fn publish(self) -> Result<()> {
        let context = || format!("cannot write {}", self.path.display());
        self.temporary.as_file().sync_all().with_context(context)?;
        let named = if self.force {
            self.temporary.persist(&self.path)
        } else {
            self.temporary.persist_noclobber(&self.path)
        };
        named.map_err(|error| error.error).with_context(context)?;
        File::open(&self.folder).and_then(|folder| folder.sync_all()).with_context(context)
    }
}
