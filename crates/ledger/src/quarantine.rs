//! Records that this program cannot read. A ledger skips such a record where it reads many, so that it
//! affects no other record, and never rewrites it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tintype_core::causes::causes;

use crate::error::{Error, Result};
use crate::id::{JobId, OwnerId};

/// The maximum number of unreadable records that are remembered. Further ones are skipped without a log
/// message.
const MAX_REMEMBERED: usize = 10_000;

/// The name of a stored record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordName {
    /// The record of a job.
    Job {
        /// The job's owner.
        owner: OwnerId,
        /// The job.
        id: JobId,
    },
    /// Another record, for example `keys/3f9c1a5b7d2e4f60`.
    Other(String),
}

impl fmt::Display for RecordName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Job { owner, id } => write!(f, "jobs/{owner}/{id}"),
            Self::Other(name) => f.write_str(name),
        }
    }
}

/// Why a record cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordFault {
    /// The record is damaged: it has a known version, but cannot be decoded.
    Damaged,
    /// A later version of this program wrote the record and can read it.
    NewerVersion,
}

impl RecordFault {
    /// The name in output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Damaged => "damaged",
            Self::NewerVersion => "newer_version",
        }
    }
}

/// A record that this program cannot read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadableRecord {
    /// The record.
    pub name: RecordName,
    /// Why it cannot be read.
    pub fault: RecordFault,
    /// The error, for people.
    pub error: String,
}

impl UnreadableRecord {
    /// A record with the error of an attempt to decode it.
    pub fn new(name: RecordName, error: &Error) -> Self {
        let fault = match error {
            Error::NewerVersion { .. } => RecordFault::NewerVersion,
            _ => RecordFault::Damaged,
        };
        Self { name, fault, error: causes(error).to_string() }
    }

    /// The owner and the id of a damaged job record, which a repair can end.
    pub fn damaged_job(&self) -> Option<(&OwnerId, JobId)> {
        match &self.name {
            RecordName::Job { owner, id } if self.fault == RecordFault::Damaged => Some((owner, *id)),
            _ => None,
        }
    }
}

/// The result of a repair.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repair {
    /// Damaged job records. Their jobs are now failed.
    pub ended: Vec<UnreadableRecord>,
    /// Records that were left as they are: records of a later version, and records of other kinds.
    pub left: Vec<UnreadableRecord>,
    /// Whether the reservations of the ended jobs are released. They are not if a record that was left may
    /// have reservations that cannot be read.
    pub reservations_released: bool,
}

/// The unreadable records that this process has found.
#[derive(Debug, Default)]
pub struct Quarantine {
    records: Mutex<BTreeSet<RecordName>>,
    /// The number of records, which is read more often than the set.
    count: AtomicUsize,
}

impl Quarantine {
    /// Returns what was read; `None` if the record is unreadable, which is logged the first time.
    ///
    /// # Errors
    /// If the ledger itself cannot be read.
    pub fn skip_unreadable<T>(
        &self,
        name: impl FnOnce() -> RecordName,
        read: Result<T, impl Into<Error>>,
    ) -> Result<Option<T>> {
        match read.map_err(Into::into) {
            Ok(record) => {
                if !self.is_empty() {
                    self.remove(&name());
                }
                Ok(Some(record))
            }
            Err(error) if error.is_unreadable() => {
                self.report(name(), &error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Remembers an unreadable record, and logs it the first time.
    pub fn report(&self, name: RecordName, error: &Error) {
        let mut records = self.records();
        if records.len() >= MAX_REMEMBERED || records.contains(&name) {
            return;
        }
        match error {
            Error::NewerVersion { .. } => {
                tracing::warn!(record = %name, error = %causes(error), "skipped ledger record of a newer version");
            }
            _ => {
                let fix = "list such records with `tintype ledger check`";
                tracing::error!(record = %name, error = %causes(error), fix, "skipped unreadable ledger record");
            }
        }
        records.insert(name);
        self.count.store(records.len(), Ordering::Relaxed);
    }

    /// Forgets a record that is readable again or does not exist any more.
    pub fn remove(&self, name: &RecordName) {
        let mut records = self.records();
        records.remove(name);
        self.count.store(records.len(), Ordering::Relaxed);
    }

    /// Whether this process knows no unreadable record.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of unreadable records that this process knows.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// The jobs among the records.
    pub fn jobs(&self) -> Vec<(OwnerId, JobId)> {
        let records = self.records();
        let job = |name: &RecordName| match name {
            RecordName::Job { owner, id } => Some((owner.clone(), *id)),
            RecordName::Other(_) => None,
        };
        records.iter().filter_map(job).collect()
    }

    fn records(&self) -> MutexGuard<'_, BTreeSet<RecordName>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
