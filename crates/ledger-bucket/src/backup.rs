//! Backup of all records into a file of JSON lines, and restoration into an empty ledger.
//!
//! Records that change during the backup are stored as they were when they were read, so the backup is not of one
//! moment. Job records are read before the accounts, pointers and markers, which are written before a job's record:
//! so those of every job in the backup are in the backup too. The exception is the marker of an open job, which may
//! be removed because the job ends; the backup adds it.

use std::collections::BTreeSet;
use std::io::{self, BufRead, Seek, Write};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, future, stream};
use serde::{Deserialize, Serialize};

use crate::cas::{Created, Envelope, check_version};
use crate::{BucketLedger, paths};
use tintype_ledger::Error;
use tintype_ledger::backup::BackupError;
use tintype_ledger::job::JobRecord;
use tintype_ledger::quarantine::RecordName;

/// The kind of backup in error messages.
const KIND: &str = "a bucket ledger";
/// The format in the first line of a backup.
const FORMAT: &str = "tintype bucket ledger";
/// The version of the format.
const VERSION: u32 = 1;
/// The maximum number of objects that are read or written concurrently.
const MAX_CONCURRENT: usize = 16;
/// The prefixes of all records, in the order in which they are read.
const PREFIXES: [&str; 6] = [
    paths::JOBS,
    paths::OPEN_MARKERS,
    paths::REQUEST_KEYS,
    paths::IDEMPOTENCY_KEYS,
    paths::ACCOUNTS,
    paths::KEYS,
];

/// A line of a backup.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// The first line.
    Header {
        format: String,
        v: u32,
    },
    Record(Record),
    /// The last line, with the number of records.
    End {
        records: usize,
    },
}

/// An object of the ledger.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    key: String,
    #[serde(flatten)]
    content: Content,
}

/// The content of an object. Records are UTF-8 unless they are damaged.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Content {
    Text(String),
    Bytes(Vec<u8>),
}

impl Content {
    fn new(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Bytes(bytes.to_vec()),
        }
    }
}

impl From<Content> for Bytes {
    fn from(content: Content) -> Self {
        match content {
            Content::Text(text) => text.into(),
            Content::Bytes(bytes) => bytes.into(),
        }
    }
}

impl BucketLedger {
    /// Writes all records to a file, and returns their number. Contains every job that was accepted before the
    /// call. The caller must sync the file.
    ///
    /// # Errors
    /// The errors of the store and of the file.
    pub async fn back_up(&self, file: &mut (dyn Write + Send)) -> Result<usize, BackupError> {
        write_line(file, &Line::Header { format: FORMAT.to_owned(), v: VERSION })?;
        let mut records = 0;
        let mut missing_markers = BTreeSet::new();
        for prefix in PREFIXES {
            let mut paths = self.store.list(prefix, None, usize::MAX).await?;
            paths.retain(|path| path != paths::PROBE);
            let reads = paths.into_iter().map(|path| async move {
                let bytes = self.store.bytes(&path).await?;
                Ok::<_, Error>(bytes.map(|bytes| (path, bytes)))
            });
            let mut reads = stream::iter(reads).buffered(MAX_CONCURRENT);
            while let Some(read) = reads.try_next().await? {
                let Some((path, bytes)) = read else { continue };
                missing_markers.extend(marker_of_open_job(&path, &bytes));
                missing_markers.remove(&path);
                write_line(file, &Line::Record(Record { key: path, content: Content::new(&bytes) }))?;
                records += 1;
            }
        }
        for key in missing_markers {
            let bytes = serde_json::to_vec(&Envelope::new(&key, ())).map_err(io::Error::from)?;
            write_line(file, &Line::Record(Record { key, content: Content::new(&bytes) }))?;
            records += 1;
        }
        write_line(file, &Line::End { records })?;
        file.flush()?;
        Ok(records)
    }

    /// Writes the records of a backup, and returns their number. The ledger must be empty, or have only records of
    /// the same backup, from a restoration that was interrupted. Other processes must not use the ledger.
    ///
    /// # Errors
    /// [`BackupError::NotABackup`], [`BackupError::Damaged`], [`Error::NewerVersion`] if a later version of the
    /// program wrote a record, [`BackupError::NotEmpty`], and the errors of the store and of the file.
    pub async fn restore<F: BufRead + Seek + Send>(&self, file: &mut F) -> Result<usize, BackupError> {
        let keys = verify(file)?;
        let mut existing = BTreeSet::new();
        for prefix in PREFIXES {
            existing.extend(self.store.list(prefix, None, usize::MAX).await?);
        }
        existing.remove(paths::PROBE);
        if !existing.is_subset(&keys) {
            return Err(BackupError::NotEmpty);
        }
        if !existing.is_empty() {
            let existing = |record: &Record| future::ready(existing.contains(&record.key));
            let found = stream::iter(rewound_records(file)?).try_filter(existing);
            let checks = found.map_ok(|record| self.check_equal(record));
            checks.try_buffer_unordered(MAX_CONCURRENT).try_collect::<()>().await?;
        }
        let missing = |record: &Record| future::ready(!existing.contains(&record.key));
        let missing = stream::iter(rewound_records(file)?).try_filter(missing);
        let writes = missing.map_ok(|record| self.write_record(record));
        writes.try_buffer_unordered(MAX_CONCURRENT).try_collect::<()>().await?;
        Ok(keys.len())
    }

    /// Writes the object of a record, which must not exist.
    async fn write_record(&self, record: Record) -> Result<(), BackupError> {
        match self.store.create(&record.key, record.content.clone().into()).await? {
            Created::Yes => Ok(()),
            // The answer to an earlier attempt of the same write may be lost.
            Created::Exists => self.check_equal(record).await,
        }
    }

    /// Checks that the object of a record is the same as in the backup.
    async fn check_equal(&self, record: Record) -> Result<(), BackupError> {
        let found = self.store.bytes(&record.key).await?;
        if found == Some(record.content.into()) { Ok(()) } else { Err(BackupError::NotEmpty) }
    }
}

fn write_line(file: &mut (dyn Write + Send), line: &Line) -> io::Result<()> {
    serde_json::to_writer(&mut *file, line)?;
    file.write_all(b"\n")
}

/// The path of the marker that an open job needs. A record that cannot be decoded may be that of an open job.
fn marker_of_open_job(path: &str, bytes: &[u8]) -> Option<String> {
    let RecordName::Job { owner, id } = paths::name(path) else { return None };
    let job = serde_json::from_slice::<Envelope<JobRecord>>(bytes);
    let is_final = job.is_ok_and(|envelope| envelope.record.status.is_final());
    (!is_final).then(|| paths::open_marker(&owner, id))
}

/// Checks a backup, and returns the keys of its records.
fn verify(file: &mut (impl BufRead + Seek)) -> Result<BTreeSet<String>, BackupError> {
    let mut keys = BTreeSet::new();
    for record in rewound_records(file)? {
        let Record { key, content } = record?;
        if !PREFIXES.iter().any(|prefix| key.starts_with(prefix)) {
            return Err(BackupError::Damaged(format!("`{key}` is not the key of a record")));
        }
        // A damaged record is restored as it is.
        let _ = check_version(&key, &Bytes::from(content))?;
        if let Some(repeated) = keys.replace(key) {
            return Err(BackupError::Damaged(format!("`{repeated}` is repeated")));
        }
    }
    Ok(keys)
}

/// The records of a backup from its beginning. The last item is an error if the backup is incomplete.
fn rewound_records<F: BufRead + Seek>(file: &mut F) -> Result<Records<'_, F>, BackupError> {
    file.rewind()?;
    let mut records = Records { file, read: 0, is_complete: false };
    match records.next_line() {
        Ok(Some(Line::Header { format, v })) if format == FORMAT => {
            if v > VERSION {
                let record = "the backup".to_owned();
                return Err(Error::NewerVersion { record, found: v, supported: VERSION }.into());
            }
            Ok(records)
        }
        Err(BackupError::File(error)) if error.kind() != io::ErrorKind::InvalidData => Err(error.into()),
        _ => Err(BackupError::NotABackup(KIND)),
    }
}

/// An iterator of the records of a backup.
struct Records<'f, F> {
    file: &'f mut F,
    read: usize,
    /// Whether the last line was read.
    is_complete: bool,
}

impl<F: BufRead> Records<'_, F> {
    fn next_line(&mut self) -> Result<Option<Line>, BackupError> {
        let mut line = String::new();
        if self.file.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let damaged = |error| BackupError::Damaged(format!("line {}: {error}", self.read + 1));
        serde_json::from_str(&line).map(Some).map_err(damaged)
    }

    fn next_record(&mut self) -> Result<Option<Record>, BackupError> {
        match self.next_line()? {
            Some(Line::Record(record)) => Ok(Some(record)),
            Some(Line::End { records }) if records == self.read => Ok(None),
            _ => Err(BackupError::Damaged(format!("it ends after {} records", self.read))),
        }
    }
}

impl<F: BufRead> Iterator for Records<'_, F> {
    type Item = Result<Record, BackupError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_complete {
            return None;
        }
        let record = self.next_record().transpose();
        match record {
            Some(Ok(_)) => self.read += 1,
            Some(Err(_)) | None => self.is_complete = true,
        }
        record
    }
}

#[cfg(test)]
mod tests;
