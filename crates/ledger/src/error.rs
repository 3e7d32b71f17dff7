//! The errors of the ledger.

use std::error::Error as StdError;

use tintype_core::causes::is_storage_full;
use tintype_core::store::StoreError;

/// A failure of the ledger itself. Exceeded limits, conflicts and missing records are not errors: the methods
/// return them as values.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The storage cannot be reached, is overloaded, full or broken. The change may or may not have been
    /// made; every method can be called again.
    #[error("ledger unavailable")]
    Unavailable(#[source] Box<dyn StdError + Send + Sync>),
    /// The disk of the ledger is full. The change was not made.
    #[error("disk full")]
    StorageFull(#[source] Box<dyn StdError + Send + Sync>),
    /// Too many concurrent writers changed the same record, and all attempts failed. Either nothing was
    /// changed, or only what a retry completes.
    #[error("too many concurrent writers of {record}")]
    Contended {
        /// The record, or the database.
        record: String,
    },
    /// A record exists but cannot be decoded.
    #[error("failed to read {record}")]
    Corrupt {
        /// The record, or the database.
        record: String,
        /// The decoding error.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// A later version of this program wrote the record.
    #[error("{record} has format version {found}; this program supports versions up to {supported}")]
    NewerVersion {
        /// The record, or the database.
        record: String,
        /// The version of its format.
        found: u32,
        /// The latest version that this program supports.
        supported: u32,
    },
}

impl Error {
    /// A failure of the storage: [`Error::StorageFull`] if a source says so, or else [`Error::Unavailable`].
    pub fn unavailable(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let source = source.into();
        if is_storage_full(&*source) { Self::StorageFull(source) } else { Self::Unavailable(source) }
    }

    /// The error of an object store.
    pub fn of_store(error: StoreError) -> Self {
        match error {
            StoreError::Full(source) => Self::StorageFull(source),
            other => Self::unavailable(other),
        }
    }

    /// The record that cannot be read.
    pub fn record(&self) -> Option<&str> {
        match self {
            Self::Corrupt { record, .. } | Self::NewerVersion { record, .. } => Some(record),
            _ => None,
        }
    }

    /// True if a single record, or the whole database, exists but cannot be read. A retry does not help.
    pub fn is_unreadable(&self) -> bool {
        matches!(self, Self::Corrupt { .. } | Self::NewerVersion { .. })
    }

    /// True if the same call can succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::StorageFull(_) | Self::Contended { .. })
    }

    /// A record that cannot be decoded.
    pub fn corrupt(record: impl Into<String>, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Corrupt { record: record.into(), source: source.into() }
    }
}

/// The result of a ledger operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;
