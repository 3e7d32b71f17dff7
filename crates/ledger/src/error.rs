//! Why the ledger could not do what it was asked.

use std::error::Error as StdError;

/// What went wrong. A refusal by a limit, a conflict or a job that is not there is none of these: those are answers.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not reached, overloaded, out of space, or broken. Whether a change was made is not known; every intent may be
    /// asked again.
    #[error("the ledger is not available: {0}")]
    Unavailable(#[source] Box<dyn StdError + Send + Sync>),
    /// So many wrote the same record at once that this one gave up. Nothing was changed, or only what a retry
    /// completes.
    #[error("too many writers at once on {what}")]
    Contended {
        /// The record.
        what: String,
    },
    /// A record is there but cannot be read.
    #[error("{what} cannot be read")]
    Corrupt {
        /// The record.
        what: String,
        /// What is wrong with it.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// Written by a later version of this program.
    #[error("{what} has version {found}; this program knows versions up to {known}")]
    NewerVersion {
        /// The record, or the database.
        what: String,
        /// Its version.
        found: u32,
        /// The latest version known here.
        known: u32,
    },
}

impl Error {
    pub(crate) fn unavailable(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Unavailable(source.into())
    }

    pub(crate) fn corrupt(
        what: impl Into<String>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self::Corrupt { what: what.into(), source: source.into() }
    }
}

/// What the ledger's intents return.
pub type Result<T, E = Error> = std::result::Result<T, E>;
