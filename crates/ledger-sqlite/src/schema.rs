//! The database tables and their migrations.

use rusqlite::{Connection, TransactionBehavior};

use crate::error::Result;
use tintype_ledger::Error;

/// The migrations, the first of which leads to schema version 1. Never change a released migration: add
/// another.
///
/// The `record` columns hold JSON, to which later versions can add members with defaults. Other columns exist
/// for queries. Times are nanoseconds since 1970, ids have 16 bytes, days are `YYYY-MM-DD`.
const MIGRATIONS: &[&str] = &[
    // 1
    "CREATE TABLE keys (
         id TEXT PRIMARY KEY,
         record TEXT NOT NULL
     ) STRICT, WITHOUT ROWID;

     CREATE TABLE accounts (
         key TEXT PRIMARY KEY,
         arrival INTEGER,
         in_flight INTEGER NOT NULL
     ) STRICT, WITHOUT ROWID;

     CREATE TABLE days (
         key TEXT NOT NULL,
         day TEXT NOT NULL,
         usage TEXT NOT NULL,
         PRIMARY KEY (key, day)
     ) STRICT, WITHOUT ROWID;

     CREATE TABLE jobs (
         owner TEXT NOT NULL,
         id BLOB NOT NULL,
         status TEXT NOT NULL,
         deleted INTEGER NOT NULL,
         fingerprint BLOB NOT NULL,
         deadline INTEGER,
         lease_until INTEGER,
         record TEXT NOT NULL,
         PRIMARY KEY (owner, id)
     ) STRICT;
     CREATE INDEX jobs_queued ON jobs (owner, id) WHERE status = 'queued';
     CREATE INDEX jobs_late ON jobs (deadline) WHERE status = 'queued' AND deadline IS NOT NULL;
     CREATE INDEX jobs_running ON jobs (owner, lease_until) WHERE status = 'running';
     CREATE INDEX jobs_old ON jobs (id);
     CREATE INDEX jobs_same ON jobs (owner, fingerprint, id);

     CREATE TABLE idempotency (
         owner TEXT NOT NULL,
         key BLOB NOT NULL,
         body BLOB NOT NULL,
         job BLOB NOT NULL,
         created INTEGER NOT NULL,
         PRIMARY KEY (owner, key)
     ) STRICT, WITHOUT ROWID;
     CREATE INDEX idempotency_old ON idempotency (created);
     CREATE INDEX idempotency_job ON idempotency (owner, job);

     CREATE TABLE turns (
         owner TEXT PRIMARY KEY,
         turn INTEGER NOT NULL
     ) STRICT, WITHOUT ROWID;
     CREATE INDEX turns_last ON turns (turn);",
    // 2
    "ALTER TABLE jobs ADD COLUMN model TEXT NOT NULL DEFAULT '';
     UPDATE jobs SET model = coalesce(
         CASE WHEN json_valid(record) THEN json_extract(record, '$.request.model') END, '');
     DROP INDEX jobs_queued;
     CREATE INDEX jobs_queued ON jobs (model, owner, id) WHERE status = 'queued';
     DROP INDEX jobs_running;
     CREATE INDEX jobs_running ON jobs (owner, model, lease_until) WHERE status = 'running';",
    // 3
    "CREATE TABLE engine_times (
         model TEXT PRIMARY KEY,
         per_job REAL NOT NULL,
         per_work REAL NOT NULL
     ) STRICT, WITHOUT ROWID;",
];

/// The tables with records. `turns` only has the order of owners, and `engine_times` only estimates.
const TABLES: [&str; 5] = ["keys", "accounts", "days", "jobs", "idempotency"];

/// Migrates the database to this program's schema version, in one transaction.
pub(crate) fn migrate(connection: &mut Connection) -> Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for migration in pending(&transaction)? {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "user_version", MIGRATIONS.len() as u32)?;
    Ok(transaction.commit()?)
}

/// Checks that the database has a schema version that this program knows.
pub(crate) fn check_version(connection: &Connection) -> Result<()> {
    pending(connection).map(drop)
}

/// The migrations that the database does not have.
fn pending(connection: &Connection) -> Result<&'static [&'static str]> {
    let found: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let supported = MIGRATIONS.len() as u32;
    let record = crate::DATABASE.to_owned();
    Ok(MIGRATIONS.get(found as usize..).ok_or(Error::NewerVersion { record, found, supported })?)
}

/// Whether the database is a ledger of any schema version.
pub(crate) fn is_ledger(connection: &Connection) -> Result<bool> {
    let version: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    for table in TABLES {
        let sql = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1)";
        if !connection.query_row(sql, [table], |row| row.get(0))? {
            return Ok(false);
        }
    }
    Ok(version > 0)
}

/// Whether the database is a ledger without records, or has no tables at all.
pub(crate) fn is_empty(connection: &Connection) -> Result<bool> {
    if !is_ledger(connection)? {
        let sql = "SELECT NOT EXISTS (SELECT 1 FROM sqlite_schema)";
        return Ok(connection.query_row(sql, [], |row| row.get(0))?);
    }
    for table in TABLES {
        let sql = format!("SELECT EXISTS (SELECT 1 FROM {table})");
        if connection.query_row(&sql, [], |row| row.get(0))? {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrating_twice_changes_nothing() {
        let mut connection = Connection::open_in_memory().expect("memory");
        migrate(&mut connection).expect("from nothing");
        migrate(&mut connection).expect("again");
        let version: u32 =
            connection.pragma_query_value(None, "user_version", |row| row.get(0)).expect("a number");
        assert_eq!(version as usize, MIGRATIONS.len());
    }

    #[test]
    fn all_tables_with_records_are_known() {
        let mut connection = Connection::open_in_memory().expect("memory");
        migrate(&mut connection).expect("the tables");
        let sql =
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT IN ('turns', 'engine_times')";
        let mut statement = connection.prepare(sql).expect("a statement");
        let names = statement.query_map([], |row| row.get::<_, String>(0)).expect("rows");
        let mut names: Vec<_> = names.map(|name| name.expect("a name")).collect();
        let mut known = TABLES;
        names.sort_unstable();
        known.sort_unstable();
        assert_eq!(names, known);
    }

    #[test]
    fn migration_2_takes_the_model_from_the_request() {
        let mut connection = Connection::open_in_memory().expect("memory");
        connection.execute_batch(MIGRATIONS[0]).expect("version 1");
        connection.pragma_update(None, "user_version", 1).expect("a number");
        let records = [
            (1, r#"'{"request":{"model":"org/model","request":{}}}'"#, "org/model"),
            (2, r#"'{"request":null}'"#, ""),
            (3, r#"'{"request":{"model":"cut'"#, ""),
            (4, "CAST(x'7bff' AS TEXT)", ""),
        ];
        for (id, record, _) in records {
            let sql = format!(
                "INSERT INTO jobs (owner, id, status, deleted, fingerprint, record)
                 VALUES ('acme', x'0{id}', 'queued', 0, x'', {record})"
            );
            connection.execute(&sql, []).expect("inserted");
        }
        migrate(&mut connection).expect("the later versions");
        for (id, _, model) in records {
            let sql = format!("SELECT model FROM jobs WHERE id = x'0{id}'");
            let found: String = connection.query_row(&sql, [], |row| row.get(0)).expect("a row");
            assert_eq!(found, model, "{id}");
        }
    }

    #[test]
    fn a_database_of_a_later_version_is_rejected() {
        let mut connection = Connection::open_in_memory().expect("memory");
        connection.pragma_update(None, "user_version", 99).expect("a number");
        let error: Error = migrate(&mut connection).expect_err("a later version").into();
        assert!(matches!(error, Error::NewerVersion { found: 99, .. }), "{error}");
    }
}
