//! Backup of the database into a file, and restoration from such a file. Both work while other processes use the
//! database.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OpenFlags};

use crate::error::{self, SqliteError};
use crate::{BUSY_TIMEOUT, DATABASE, Synchronous, connect, create_private, schema};
use tintype_ledger::Error;
use tintype_ledger::backup::BackupError;

/// The kind of backup in error messages.
const KIND: &str = "an SQLite ledger";

/// The first bytes of an SQLite database.
const MAGIC: &[u8] = b"SQLite format 3\0";

/// What a restoration does with a ledger that is not empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It returns [`BackupError::NotEmpty`].
    Keep,
    /// It replaces all records.
    Replace,
}

/// Writes all committed records of the database, as of one moment, to an empty file. The database may have the
/// schema of an earlier version; it is not migrated. The caller must sync the file.
///
/// # Errors
/// [`BackupError::NoLedger`] if the database does not exist or is not a ledger, and the errors of SQLite.
pub fn back_up(database: &Path, file: &Path) -> Result<(), BackupError> {
    match std::fs::metadata(database) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(BackupError::NoLedger),
        Err(error) => return Err(Error::unavailable(error).into()),
        Ok(_) => {}
    }
    let connection = open(database)?;
    if !schema::is_ledger(&connection)? {
        return Err(BackupError::NoLedger);
    }
    Ok(vacuum_into(&connection, file)?)
}

/// Replaces the records of the database with those of a backup, in one transaction. Creates the database if it
/// does not exist. It gets the schema version of the backup, which [`SqliteLedger::open`](crate::SqliteLedger::open)
/// migrates.
///
/// # Errors
/// [`BackupError::NotABackup`], [`BackupError::Damaged`], [`Error::NewerVersion`] if a later version of the program
/// wrote the backup, [`BackupError::NotEmpty`] for [`Existing::Keep`], and the errors of SQLite.
pub fn restore(file: &Path, database: &Path, existing: Existing) -> Result<(), BackupError> {
    if !is_database(file)? {
        return Err(BackupError::NotABackup(KIND));
    }
    let source = open(file)?;
    verify(&source)?;
    create_private(database).map_err(Error::unavailable)?;
    let mut target = connect(database, Synchronous::Full)?;
    if existing == Existing::Keep && !schema::is_empty(&target)? {
        return Err(BackupError::NotEmpty);
    }
    Ok(copy(&source, &mut target)?)
}

/// Opens a database that exists. A file without write permission is opened for reading.
fn open(path: &Path) -> error::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}

/// Writes a compact copy. It has no write-ahead log, so it is complete without other files.
fn vacuum_into(connection: &Connection, file: &Path) -> error::Result<()> {
    let name = ToSqlOutput::Borrowed(ValueRef::Text(file.as_os_str().as_encoded_bytes()));
    connection.execute("VACUUM INTO ?1", [name])?;
    Ok(())
}

fn copy(source: &Connection, target: &mut Connection) -> error::Result<()> {
    match Backup::new(source, target)?.step(-1)? {
        StepResult::Done => Ok(()),
        _ => Err(Error::Contended { record: DATABASE.to_owned() }.into()),
    }
}

/// Checks that a backup is a ledger that this program can read, and not damaged.
fn verify(source: &Connection) -> Result<(), BackupError> {
    let damaged = |error: SqliteError| match Error::from(error) {
        Error::Corrupt { source, .. } => BackupError::Damaged(source.to_string()),
        error => error.into(),
    };
    if !schema::is_ledger(source).map_err(damaged)? {
        return Err(BackupError::NotABackup(KIND));
    }
    schema::check_version(source).map_err(damaged)?;
    let result = integrity(source).map_err(damaged)?;
    if result == "ok" { Ok(()) } else { Err(BackupError::Damaged(result)) }
}

/// Whether the file begins as an SQLite database does.
fn is_database(file: &Path) -> std::io::Result<bool> {
    let mut start = Vec::new();
    File::open(file)?.take(MAGIC.len() as u64).read_to_end(&mut start)?;
    Ok(start == MAGIC)
}

/// The first error that SQLite finds in the database, or `ok`.
fn integrity(source: &Connection) -> error::Result<String> {
    Ok(source.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?)
}

impl From<SqliteError> for BackupError {
    fn from(error: SqliteError) -> Self {
        Self::Ledger(error.into())
    }
}

#[cfg(test)]
mod tests;
