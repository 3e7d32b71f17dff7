//! The ledger in an SQLite file.
//!
//! One connection writes, one reads; write-ahead log. Callers who wait together are committed together. Killing the
//! process loses nothing that was answered. Losing power may lose the last moments (what was committed since the last
//! checkpoint, never the file's consistency) with [`Synchronous::Normal`], and nothing with [`Synchronous::Full`], which waits for
//! the disk at every commit. Several processes of one machine may share the file; network file systems will not do.

mod accept;
mod checkpoint;
mod connection;
mod jobs;
mod rows;
mod schema;

use std::error::Error as StdError;
use std::fs::OpenOptions;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use time::{Date, OffsetDateTime};

use crate::accept::{Acceptance, NewJob};
use crate::account::DayUsage;
use crate::error::{Error, Result};
use crate::id::{JobId, KeyId, OwnerId};
use crate::job::{JobRecord, Lease, Outcome, RecoveryScope, Run};
use crate::key::{ApiKey, Authentication, KeyRecord, NewKey};
use crate::ledger::{ClaimReply, FinishReply, HeartbeatReply, JobPage, Ledger, Load, Recovered};
use crate::limits::Quota;
use crate::money::Spend;
use crate::policy::{Policy, utc_day};

use checkpoint::Checkpoints;
use connection::Desk;

/// How long a statement waits for another process that writes.
const BUSY: Duration = Duration::from_secs(5);

/// What a commit waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Synchronous {
    /// Until the operating system has it: survives the process, however it ends.
    #[default]
    Normal,
    /// Until the disk has it: survives a loss of power too.
    Full,
}

/// The ledger in an SQLite file.
#[derive(Debug)]
pub struct SqliteLedger {
    writer: Arc<Desk>,
    reader: Desk,
    // Dropped last, since it ends when the writer has.
    _checkpoints: Checkpoints,
}

impl SqliteLedger {
    /// Opens or makes the file, readable for its owner only, and brings it to this version. Its folder must be there.
    /// Blocks for as long as that takes.
    ///
    /// # Errors
    /// [`Error::NewerVersion`] if a later version wrote it, [`Error::Corrupt`] if it is no database,
    /// [`Error::Unavailable`] if it cannot be opened.
    pub fn open(path: &Path, sync: Synchronous) -> Result<Self> {
        create_private(path).map_err(Error::unavailable)?;
        let mut writer = connect(path, sync)?;
        schema::migrate(&mut writer)?;
        let lengths = checkpoint::lengths(&mut writer)?;
        // What syncs the disk takes its time.
        let quick = sync == Synchronous::Normal;
        let writer = Desk::open("ledger-writer", writer, ("BEGIN IMMEDIATE", quick))?;
        let writer = Arc::new(writer);
        let reader = connect(path, sync)?;
        let reader = Desk::open("ledger-reader", reader, ("BEGIN", true))?;
        let checkpoints = Checkpoints::start(lengths, (path, connect(path, sync)?), Arc::downgrade(&writer))?;
        Ok(Self { writer, reader, _checkpoints: checkpoints })
    }
}

/// Makes the file if it is not there. SQLite gives its log the same permissions.
fn create_private(path: &Path) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

fn connect(path: &Path, sync: Synchronous) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    let sync = match sync {
        Synchronous::Normal => "normal",
        Synchronous::Full => "full",
    };
    connection.pragma_update(None, "synchronous", sync)?;
    // A deleted job's prompt is overwritten, not only unlinked.
    connection.pragma_update(None, "secure_delete", "on")?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// What an error of SQLite's means.
fn classify(code: Option<ErrorCode>, source: impl StdError + Send + Sync + 'static) -> Error {
    match code {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            Error::Contended { what: "the ledger's database".to_owned() }
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            Error::corrupt("the ledger's database", source)
        }
        _ => Error::unavailable(source),
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        classify(error.sqlite_error_code(), error)
    }
}

#[async_trait]
impl Ledger for SqliteLedger {
    async fn create_key(&self, new: NewKey, now: OffsetDateTime) -> Result<(ApiKey, KeyRecord)> {
        let key = ApiKey::generate().map_err(Error::unavailable)?;
        let record = KeyRecord::new(&key, new, now);
        let saved = record.clone();
        self.writer.call(move |connection| rows::save_key(connection, &saved)).await?;
        Ok((key, record))
    }

    async fn authenticate(&self, key: &ApiKey, now: OffsetDateTime) -> Result<Authentication> {
        let found = self.key(&key.hash().id()).await?;
        Ok(found.map_or(Authentication::Unknown, |record| record.verify(key, now)))
    }

    async fn key(&self, id: &KeyId) -> Result<Option<KeyRecord>> {
        let id = id.clone();
        self.reader.quick(move |connection| rows::key(connection, &id)).await
    }

    async fn keys(&self) -> Result<Vec<KeyRecord>> {
        self.reader.call(rows::keys).await
    }

    async fn revoke_key(&self, id: &KeyId, now: OffsetDateTime) -> Result<Option<KeyRecord>> {
        let id = id.clone();
        let revoke = move |connection: &Connection| {
            let Some(mut record) = rows::key(connection, &id)? else { return Ok(None) };
            record.revoked.get_or_insert(now);
            rows::save_key(connection, &record)?;
            Ok(Some(record))
        };
        self.writer.call(revoke).await
    }

    async fn accept(&self, new: NewJob, now: OffsetDateTime) -> Result<Acceptance> {
        self.writer.quick(move |connection| accept::accept(connection, new, now)).await
    }

    async fn claim(
        &self,
        owner: &OwnerId,
        id: JobId,
        lease: Lease,
        now: OffsetDateTime,
    ) -> Result<ClaimReply> {
        let owner = owner.clone();
        self.writer.quick(move |connection| jobs::claim(connection, &owner, id, lease, now)).await
    }

    async fn claim_next(&self, lease: Lease, now: OffsetDateTime) -> Result<Option<JobRecord>> {
        self.writer.quick(move |connection| jobs::claim_next(connection, lease, now)).await
    }

    async fn heartbeat(&self, run: &Run, until: OffsetDateTime) -> Result<HeartbeatReply> {
        let run = run.clone();
        self.writer.call(move |connection| jobs::heartbeat(connection, &run, until)).await
    }

    async fn finish(
        &self,
        run: &Run,
        outcome: Outcome,
        cost: Spend,
        now: OffsetDateTime,
    ) -> Result<FinishReply> {
        let run = run.clone();
        self.writer.quick(move |connection| jobs::finish(connection, &run, (outcome, cost), now)).await
    }

    async fn detach(&self, owner: &OwnerId, id: JobId) -> Result<Option<JobRecord>> {
        let owner = owner.clone();
        let keep = move |connection: &Connection| jobs::change(connection, &owner, id, JobRecord::detach);
        Ok(self.writer.call(keep).await?.filter(|job| !job.deleted))
    }

    async fn save_receipt(&self, run: &Run, receipt: &str) -> Result<bool> {
        let (run, receipt) = (run.clone(), receipt.to_owned());
        let save = move |connection: &Connection| {
            let save = |job: &mut JobRecord| job.save_receipt(&run, &receipt);
            let job = jobs::change(connection, &run.owner, run.job, save)?;
            Ok(job.is_some_and(|job| job.is_run_by(&run)))
        };
        self.writer.call(save).await
    }

    async fn release(&self, run: &Run, now: OffsetDateTime) -> Result<bool> {
        let run = run.clone();
        let hand_back = move |connection: &Connection| {
            let mut ours = false;
            jobs::change(connection, &run.owner, run.job, |job| {
                ours = job.release(&run, now);
                ours
            })?;
            Ok(ours)
        };
        self.writer.call(hand_back).await
    }

    async fn cancel(&self, owner: &OwnerId, id: JobId, now: OffsetDateTime) -> Result<Option<JobRecord>> {
        let owner = owner.clone();
        let cancel = move |connection: &Connection| {
            jobs::change(connection, &owner, id, |job| !job.deleted && job.cancel(now))
        };
        Ok(self.writer.call(cancel).await?.filter(|job| !job.deleted))
    }

    async fn mark_delivered(&self, owner: &OwnerId, id: JobId, now: OffsetDateTime) -> Result<()> {
        let owner = owner.clone();
        let collect = move |connection: &Connection| {
            jobs::change(connection, &owner, id, |job| job.delivered.replace(now).is_none())
        };
        self.writer.call(collect).await.map(drop)
    }

    async fn delete(&self, owner: &OwnerId, id: JobId, now: OffsetDateTime) -> Result<Option<JobRecord>> {
        let owner = owner.clone();
        self.writer.call(move |connection| jobs::delete(connection, &owner, id, now)).await
    }

    async fn job(&self, owner: &OwnerId, id: JobId) -> Result<Option<JobRecord>> {
        let owner = owner.clone();
        self.reader.quick(move |connection| rows::visible(connection, &owner, id)).await
    }

    async fn jobs(&self, owner: &OwnerId, before: Option<JobId>, limit: usize) -> Result<JobPage> {
        let owner = owner.clone();
        self.reader.call(move |connection| jobs::page(connection, &owner, before, limit)).await
    }

    async fn finished_jobs(&self, before: OffsetDateTime, limit: usize) -> Result<Vec<JobRecord>> {
        self.reader.call(move |connection| jobs::finished_jobs(connection, before, limit)).await
    }

    async fn position(&self, owner: &OwnerId, id: JobId) -> Result<Option<u64>> {
        let owner = owner.clone();
        self.reader.call(move |connection| jobs::position(connection, &owner, id)).await
    }

    async fn load(&self) -> Result<Load> {
        self.reader.call(jobs::load).await
    }

    async fn reconcile(&self, owner: &OwnerId, id: JobId, now: OffsetDateTime) -> Result<Option<JobRecord>> {
        let owner = owner.clone();
        let revise = move |connection: &Connection| {
            jobs::change(connection, &owner, id, |job| job.reconcile(now, RecoveryScope::ExpiredLeases))
        };
        Ok(self.writer.call(revise).await?.filter(|job| !job.deleted))
    }

    async fn recover(&self, now: OffsetDateTime, lost: RecoveryScope) -> Result<Recovered> {
        self.writer.call(move |connection| jobs::recover(connection, now, lost)).await
    }

    async fn usage(&self, key: &KeyId, from: Date, to: Date) -> Result<Vec<(Date, DayUsage)>> {
        let key = key.clone();
        self.reader.call(move |connection| rows::usage(connection, &key, (from, to))).await
    }

    async fn quotas(&self, key: &KeyId, policy: &Policy, now: OffsetDateTime) -> Result<Vec<Quota>> {
        let (key, first) = (key.clone(), policy.first_day(now));
        let account = self
            .reader
            .quick(move |connection| rows::account(connection, &key, (first, utc_day(now))))
            .await?;
        Ok(account.quotas(policy, now))
    }
}

#[cfg(test)]
mod tests;
