//! The errors of backups.

use std::io;

use crate::error::Error;

/// Why a ledger cannot be backed up or restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is no ledger to back up.
    #[error("the ledger does not exist")]
    NoLedger,
    /// The file is not a backup of this kind of ledger.
    #[error("the file is not a backup of {0}")]
    NotABackup(&'static str),
    /// The backup is incomplete or damaged.
    #[error("the backup is damaged: {0}")]
    Damaged(String),
    /// The ledger has records that are not those of the backup.
    #[error("the ledger is not empty")]
    NotEmpty,
    /// The ledger, or the ledger in the backup, cannot be read or written.
    #[error(transparent)]
    Ledger(#[from] Error),
    /// The backup file cannot be read or written.
    #[error("failed to read or write the backup")]
    File(#[from] io::Error),
}
