//! A ledger in an SQLite database file.
//!
//! One connection writes and another reads, with a write-ahead log. Concurrent writes share a transaction
//! (group commit).
//!
//! A crash of the process loses nothing that was answered. A power failure can lose the commits since the
//! last checkpoint with [`Synchronous::Normal`], and loses nothing with [`Synchronous::Full`], which waits
//! for the disk at every commit; the file stays consistent with both. Deleted data is overwritten in the
//! database at once, and is gone from its log after about 10 s. Several processes of one machine
//! can share the file. Network file systems are not supported.

mod accept;
mod backup;
mod checkpoint;
mod compile_options;
mod connection;
mod error;
mod jobs;
mod repair;
mod rows;
mod schema;
mod transaction;

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use time::{Date, OffsetDateTime};

use tintype_ledger::accept::{Acceptance, NewJob};
use tintype_ledger::account::DayUsage;
use tintype_ledger::id::{JobId, KeyId, OwnerId};
use tintype_ledger::job::{JobRecord, Lease, Outcome, RecoveryScope, Run};
use tintype_ledger::key::{ApiKey, Authentication, KeyRecord, NewKey};
use tintype_ledger::limits::Quota;
use tintype_ledger::money::Spend;
use tintype_ledger::policy::{Policy, utc_day};
use tintype_ledger::quarantine::{Quarantine, Repair, UnreadableRecord};
use tintype_ledger::{
    ClaimReply, EngineTimes, FinishReply, HeartbeatReply, JobPage, KeyStore, Ledger, Load, Recovered,
};
use tintype_ledger::{Error, Result};

pub use backup::{Existing, back_up, restore};
pub use compile_options::has_project_compile_options;

use checkpoint::{Checkpointer, ERASE_DELAY};
use connection::{Access, ConnectionQueue, ShortTasks};

/// How long a statement waits for another process that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// The name of the database in error messages.
const DATABASE: &str = "the ledger database";

/// What a commit waits for, by SQLite's setting of the same name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Synchronous {
    /// For the operating system. Commits survive a crash of the process.
    #[default]
    Normal,
    /// For the disk. Commits also survive a power failure.
    Full,
}

/// A ledger in an SQLite database file.
#[derive(Debug)]
pub struct SqliteLedger {
    writer: Arc<ConnectionQueue>,
    reader: ConnectionQueue,
    quarantine: Arc<Quarantine>,
    // Must be dropped after the writer, because its thread ends when the writer's connection is closed.
    checkpointer: Checkpointer,
}

impl SqliteLedger {
    /// Opens the database, or creates it with permissions for its owner only, and migrates it to this
    /// program's schema. The folder must exist. This blocks until the migration is complete.
    ///
    /// # Errors
    /// [`Error::NewerVersion`] if a later version of the program wrote the file, [`Error::Corrupt`] if it is
    /// not an SQLite database, [`Error::Unavailable`] if it cannot be opened.
    pub fn open(path: &Path, sync: Synchronous) -> Result<Self> {
        Self::open_with_delay(path, sync, ERASE_DELAY)
    }

    /// Opens the database. Deleted data is gone from its files `erase_delay` after the deletion.
    fn open_with_delay(path: &Path, sync: Synchronous, erase_delay: Duration) -> Result<Self> {
        create_private(path).map_err(Error::unavailable)?;
        let mut writer = connect(path, sync)?;
        schema::migrate(&mut writer)?;
        let signals = checkpoint::signals(&mut writer, erase_delay)?;
        let short_writes = match sync {
            Synchronous::Normal => ShortTasks::OnCaller,
            Synchronous::Full => ShortTasks::OnThread,
        };
        let writer = ConnectionQueue::open("ledger-writer", writer, Access::Write, short_writes)?;
        let writer = Arc::new(writer);
        let reader = connect(path, sync)?;
        let reader = ConnectionQueue::open("ledger-reader", reader, Access::Read, ShortTasks::OnCaller)?;
        let checkpointer = Checkpointer::start(path, connect(path, sync)?, signals, Arc::downgrade(&writer))?;
        // The process that used the database last may have died after a deletion.
        checkpointer.erase_log();
        Ok(Self { writer, reader, quarantine: Arc::default(), checkpointer })
    }
}

/// Creates the file if it does not exist. SQLite gives its log the same permissions.
fn create_private(path: &Path) -> std::io::Result<()> {
    // To open a FIFO waits for a reader.
    if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

fn connect(path: &Path, sync: Synchronous) -> error::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    let sync = match sync {
        Synchronous::Normal => "normal",
        Synchronous::Full => "full",
    };
    connection.pragma_update(None, "synchronous", sync)?;
    // Overwrites deleted data with zeros, so that the prompts of deleted jobs do not stay in the file.
    connection.pragma_update(None, "secure_delete", "on")?;
    connection.set_prepared_statement_cache_capacity(64);
    // The plan of a statement does not depend on its parameters. Otherwise SQLite parses the statements that claim a
    // job again for each execution, because a parameter could make one of the partial indexes usable.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(connection)
}

#[async_trait]
impl KeyStore for SqliteLedger {
    async fn create_key(&self, new: NewKey, now: OffsetDateTime) -> Result<(ApiKey, KeyRecord)> {
        let key = ApiKey::generate().map_err(Error::unavailable)?;
        let record = KeyRecord::new(&key, new, now);
        let saved = record.clone();
        self.writer.run(move |connection| rows::save_key(connection, &saved)).await?;
        Ok((key, record))
    }

    async fn authenticate(&self, key: &ApiKey, now: OffsetDateTime) -> Result<Authentication> {
        let found = self.key(&key.hash().id()).await?;
        Ok(found.map_or(Authentication::Unknown, |record| record.verify(key, now)))
    }

    async fn key(&self, id: &KeyId) -> Result<Option<KeyRecord>> {
        let id = id.clone();
        self.reader.run_short(move |connection| rows::key(connection, &id)).await
    }

    async fn keys(&self) -> Result<Vec<KeyRecord>> {
        let quarantine = self.quarantine.clone();
        self.reader.run(move |connection| rows::keys(connection, &quarantine)).await
    }

    async fn revoke_key(&self, id: &KeyId, now: OffsetDateTime) -> Result<Option<KeyRecord>> {
        let id = id.clone();
        let revoke = move |connection: &Connection| {
            let Some(mut record) = rows::key(connection, &id)? else { return Ok(None) };
            record.revoked.get_or_insert(now);
            rows::save_key(connection, &record)?;
            Ok(Some(record))
        };
        self.writer.run(revoke).await
    }
}

#[async_trait]
impl Ledger for SqliteLedger {
    async fn accept(&self, new: NewJob, now: OffsetDateTime) -> Result<Acceptance> {
        let quarantine = self.quarantine.clone();
        self.writer.run_short(move |connection| accept::accept(connection, &quarantine, new, now)).await
    }

    async fn claim(
        &self,
        owner: &OwnerId,
        id: JobId,
        lease: Lease,
        now: OffsetDateTime,
    ) -> Result<ClaimReply> {
        let owner = owner.clone();
        self.writer.run_short(move |connection| jobs::claim(connection, &owner, id, lease, now)).await
    }

    async fn claim_next(&self, model: &str, lease: Lease, now: OffsetDateTime) -> Result<Option<JobRecord>> {
        let (quarantine, model) = (self.quarantine.clone(), model.to_owned());
        let claim =
            move |connection: &Connection| jobs::claim_next(connection, &quarantine, &model, lease, now);
        self.writer.run_short(claim).await
    }

    async fn heartbeat(&self, run: &Run, until: OffsetDateTime) -> Result<HeartbeatReply> {
        let run = run.clone();
        self.writer.run(move |connection| jobs::heartbeat(connection, &run, until)).await
    }

    async fn finish(
        &self,
        run: &Run,
        outcome: Outcome,
        cost: Spend,
        now: OffsetDateTime,
    ) -> Result<FinishReply> {
        let run = run.clone();
        let finish = move |connection: &Connection| jobs::finish(connection, &run, outcome, cost, now);
        let finished = self.writer.run_short(finish).await;
        if let Ok(FinishReply::Deleted(_)) = finished {
            self.checkpointer.erase_log();
        }
        finished
    }

    async fn detach(&self, owner: &OwnerId, id: JobId) -> Result<Option<JobRecord>> {
        let owner = owner.clone();
        let detach = move |connection: &Connection| jobs::change(connection, &owner, id, JobRecord::detach);
        Ok(self.writer.run(detach).await?.filter(|job| !job.deleted))
    }

    async fn save_receipt(&self, run: &Run, receipt: &str) -> Result<bool> {
        let (run, receipt) = (run.clone(), receipt.to_owned());
        let save = move |connection: &Connection| {
            let save = |job: &mut JobRecord| job.save_receipt(&run, &receipt);
            let job = jobs::change(connection, &run.owner, run.job, save)?;
            Ok(job.is_some_and(|job| job.is_run_by(&run)))
        };
        self.writer.run(save).await
    }

    async fn release(&self, run: &Run, now: OffsetDateTime) -> Result<bool> {
        let run = run.clone();
        let release = move |connection: &Connection| {
            let mut released = false;
            jobs::change(connection, &run.owner, run.job, |job| {
                released = job.release(&run, now);
                released
            })?;
            Ok(released)
        };
        self.writer.run(release).await
    }

    async fn cancel(&self, owner: &OwnerId, id: JobId, now: OffsetDateTime) -> Result<Option<JobRecord>> {
        let owner = owner.clone();
        let cancel = move |connection: &Connection| {
            jobs::change(connection, &owner, id, |job| !job.deleted && job.cancel(now))
        };
        Ok(self.writer.run(cancel).await?.filter(|job| !job.deleted))
    }

    async fn mark_delivered(&self, owner: &OwnerId, id: JobId, now: OffsetDateTime) -> Result<()> {
        let owner = owner.clone();
        let mark = move |connection: &Connection| {
            jobs::change(connection, &owner, id, |job| job.delivered.replace(now).is_none())
        };
        self.writer.run(mark).await.map(drop)
    }

    async fn delete(&self, owner: &OwnerId, id: JobId, now: OffsetDateTime) -> Result<Option<JobRecord>> {
        let owner = owner.clone();
        let deleted = self.writer.run(move |connection| jobs::delete(connection, &owner, id, now)).await;
        if let Ok(Some(_)) = deleted {
            self.checkpointer.erase_log();
        }
        deleted
    }

    async fn job(&self, owner: &OwnerId, id: JobId) -> Result<Option<JobRecord>> {
        let owner = owner.clone();
        self.reader.run_short(move |connection| rows::visible_job(connection, &owner, id)).await
    }

    async fn jobs(&self, owner: &OwnerId, before: Option<JobId>, limit: usize) -> Result<JobPage> {
        let (quarantine, owner) = (self.quarantine.clone(), owner.clone());
        self.reader.run(move |connection| jobs::page(connection, &quarantine, &owner, before, limit)).await
    }

    async fn finished_jobs(&self, accepted_before: OffsetDateTime, limit: usize) -> Result<Vec<JobRecord>> {
        let quarantine = self.quarantine.clone();
        let find = move |connection: &Connection| {
            jobs::finished_jobs(connection, &quarantine, accepted_before, limit)
        };
        self.reader.run(find).await
    }

    async fn position(&self, owner: &OwnerId, id: JobId) -> Result<Option<u64>> {
        let (quarantine, owner) = (self.quarantine.clone(), owner.clone());
        self.reader.run(move |connection| jobs::position(connection, &quarantine, &owner, id)).await
    }

    async fn load(&self) -> Result<BTreeMap<String, Load>> {
        let quarantine = self.quarantine.clone();
        self.reader.run(move |connection| jobs::load(connection, &quarantine)).await
    }

    async fn reconcile(&self, owner: &OwnerId, id: JobId, now: OffsetDateTime) -> Result<Option<JobRecord>> {
        let owner = owner.clone();
        let reconcile = move |connection: &Connection| {
            jobs::change(connection, &owner, id, |job| job.reconcile(now, RecoveryScope::ExpiredLeases))
        };
        Ok(self.writer.run(reconcile).await?.filter(|job| !job.deleted))
    }

    async fn recover(&self, now: OffsetDateTime, scope: RecoveryScope) -> Result<Recovered> {
        let quarantine = self.quarantine.clone();
        self.writer.run(move |connection| jobs::recover(connection, &quarantine, now, scope)).await
    }

    async fn usage(&self, key: &KeyId, from: Date, to: Date) -> Result<Vec<(Date, DayUsage)>> {
        let key = key.clone();
        self.reader.run(move |connection| rows::usage(connection, &key, from..=to)).await
    }

    async fn quotas(&self, key: &KeyId, policy: &Policy, now: OffsetDateTime) -> Result<Vec<Quota>> {
        let (key, first) = (key.clone(), policy.first_day(now));
        let account = self
            .reader
            .run_short(move |connection| rows::account(connection, &key, first..=utc_day(now)))
            .await?;
        Ok(account.quotas(policy, now))
    }

    async fn engine_times(&self, model: &str) -> Result<Option<EngineTimes>> {
        let model = model.to_owned();
        self.reader.run_short(move |connection| rows::engine_times(connection, &model)).await
    }

    async fn save_engine_times(&self, model: &str, times: EngineTimes) -> Result<()> {
        let model = model.to_owned();
        self.writer.run(move |connection| rows::save_engine_times(connection, &model, times)).await
    }

    async fn probe(&self) -> Result<()> {
        self.writer.probe().await
    }

    fn unreadable_records(&self) -> usize {
        self.quarantine.len()
    }

    async fn check(&self) -> Result<Vec<UnreadableRecord>> {
        self.reader.run(repair::check).await
    }

    async fn repair(&self, now: OffsetDateTime) -> Result<Repair> {
        let repair = self.writer.run(move |connection| repair::repair(connection, now)).await?;
        repair.ended.iter().for_each(|record| self.quarantine.remove(&record.name));
        Ok(repair)
    }
}

#[cfg(test)]
mod tests;
