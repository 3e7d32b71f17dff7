//! Reads and writes rows. Each kind of record has one function that writes it, so that a record and its
//! columns agree.

use std::ops::RangeInclusive;

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;
use serde::de::DeserializeOwned;
use time::{Date, OffsetDateTime};

use crate::accept::{IDEMPOTENCY_TTL, Idempotency};
use crate::account::{Account, DayUsage};
use crate::error::{Error, Result};
use crate::id::{Fingerprint, JobId, KeyId, OwnerId};
use crate::job::JobRecord;
use crate::key::KeyRecord;

/// The names of records in error messages.
const JOB: &str = "a job record";
const KEY: &str = "a key record";
const ACCOUNT: &str = "an account record";
const USAGE: &str = "a usage record";

fn to_json<T: Serialize>(name: &str, record: &T) -> Result<String> {
    serde_json::to_string(record).map_err(|error| Error::corrupt(name, error))
}

fn from_json<T: DeserializeOwned>(name: &str, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| Error::corrupt(name, error))
}

/// Nanoseconds since 1970; the type is sufficient until the year 2262.
pub(super) fn nanos(at: OffsetDateTime) -> i64 {
    at.unix_timestamp_nanos().clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

pub(super) fn id_bytes(id: &JobId) -> [u8; 16] {
    id.uuid().into_bytes()
}

/// Decodes the job record in the first column.
fn job_from_row(row: &Row<'_>) -> Result<JobRecord> {
    from_json(JOB, row.get_ref(0)?.as_str().map_err(|error| Error::corrupt(JOB, error))?)
}

/// Runs a statement that selects the column `record` of jobs.
pub(super) fn select_jobs(
    connection: &Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
) -> Result<Vec<JobRecord>> {
    let mut statement = connection.prepare_cached(sql)?;
    statement.query_and_then(parameters, job_from_row)?.collect()
}

/// Returns a job, even if it is deleted.
pub(super) fn job(connection: &Connection, owner: &OwnerId, id: JobId) -> Result<Option<JobRecord>> {
    let sql = "SELECT record FROM jobs WHERE owner = ?1 AND id = ?2";
    Ok(select_jobs(connection, sql, params![owner.as_str(), id_bytes(&id)])?.pop())
}

/// Returns a job unless it is deleted.
pub(super) fn visible_job(connection: &Connection, owner: &OwnerId, id: JobId) -> Result<Option<JobRecord>> {
    Ok(job(connection, owner, id)?.filter(|job| !job.deleted))
}

pub(super) fn save_job(connection: &Connection, job: &JobRecord) -> Result<()> {
    let sql = "INSERT INTO jobs (owner, id, status, deleted, fingerprint, deadline, lease_until, record)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
               ON CONFLICT (owner, id) DO UPDATE SET status = excluded.status, deleted = excluded.deleted,
                   deadline = excluded.deadline, lease_until = excluded.lease_until, record = excluded.record";
    connection.prepare_cached(sql)?.execute(params![
        job.owner.as_str(),
        id_bytes(&job.id),
        job.status.name(),
        job.deleted,
        job.fingerprint.as_bytes(),
        job.deadline.map(nanos),
        job.lease.as_ref().map(|lease| nanos(lease.until)),
        to_json(JOB, job)?,
    ])?;
    Ok(())
}

pub(super) fn remove_job(connection: &Connection, owner: &OwnerId, id: JobId) -> Result<()> {
    let sql = "DELETE FROM jobs WHERE owner = ?1 AND id = ?2";
    connection.prepare_cached(sql)?.execute(params![owner.as_str(), id_bytes(&id)])?;
    remove_idempotency(connection, owner, id)
}

pub(super) fn remove_idempotency(connection: &Connection, owner: &OwnerId, id: JobId) -> Result<()> {
    let sql = "DELETE FROM idempotency WHERE owner = ?1 AND job = ?2";
    connection.prepare_cached(sql)?.execute(params![owner.as_str(), id_bytes(&id)])?;
    Ok(())
}

/// Returns the fingerprint of the request body and the job of an idempotency key that has not expired.
pub(super) fn idempotency(
    connection: &Connection,
    owner: &OwnerId,
    key: &str,
    now: OffsetDateTime,
) -> Result<Option<(Fingerprint, JobId)>> {
    let sql = "SELECT body, job FROM idempotency WHERE owner = ?1 AND key = ?2 AND created > ?3";
    let key = Fingerprint::of(key.as_bytes());
    let oldest = nanos(now - IDEMPOTENCY_TTL);
    let found: Option<([u8; 32], [u8; 16])> = connection
        .prepare_cached(sql)?
        .query_row(params![owner.as_str(), key.as_bytes(), oldest], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(found.map(|(body, job)| (Fingerprint::from(body), JobId::from(uuid::Uuid::from_bytes(job)))))
}

pub(super) fn save_idempotency(
    connection: &Connection,
    owner: &OwnerId,
    idempotency: &Idempotency,
    job: JobId,
    now: OffsetDateTime,
) -> Result<()> {
    let sql =
        "INSERT OR REPLACE INTO idempotency (owner, key, body, job, created) VALUES (?1, ?2, ?3, ?4, ?5)";
    let key = Fingerprint::of(idempotency.key.as_bytes());
    let row =
        params![owner.as_str(), key.as_bytes(), idempotency.body.as_bytes(), id_bytes(&job), nanos(now)];
    connection.prepare_cached(sql)?.execute(row)?;
    Ok(())
}

/// Reads an account with the usage of `days`, calls `change`, and writes the account unless `change` returns
/// an error.
pub(super) fn change_account<T, E>(
    connection: &Connection,
    key: &KeyId,
    days: RangeInclusive<Date>,
    change: impl FnOnce(&mut Account) -> Result<T, E>,
) -> Result<Result<T, E>> {
    let before = account(connection, key, days)?;
    let mut account = before.clone();
    let changed = change(&mut account);
    if changed.is_ok() {
        let sql = "INSERT OR REPLACE INTO accounts (key, arrival, in_flight) VALUES (?1, ?2, ?3)";
        let row = params![key.as_str(), account.arrival.map(nanos), account.in_flight];
        connection.prepare_cached(sql)?.execute(row)?;
        let sql = "INSERT OR REPLACE INTO days (key, day, usage) VALUES (?1, ?2, ?3)";
        for (day, usage) in account.days.iter().filter(|(day, usage)| before.days.get(day) != Some(usage)) {
            let row = params![key.as_str(), day.to_string(), to_json(USAGE, usage)?];
            connection.prepare_cached(sql)?.execute(row)?;
        }
    }
    Ok(changed)
}

/// Returns an account with the usage of `days`.
pub(super) fn account(connection: &Connection, key: &KeyId, days: RangeInclusive<Date>) -> Result<Account> {
    let sql = "SELECT arrival, in_flight FROM accounts WHERE key = ?1";
    let found: Option<(Option<i64>, u32)> = connection
        .prepare_cached(sql)?
        .query_row([key.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let (arrival, in_flight) = found.unwrap_or_default();
    let arrival = arrival
        .map(|nanos| OffsetDateTime::from_unix_timestamp_nanos(nanos.into()))
        .transpose()
        .map_err(|error| Error::corrupt(ACCOUNT, error))?;
    let days = usage(connection, key, days)?.into_iter().collect();
    Ok(Account { arrival, in_flight, days })
}

/// Returns the usage of a key on these days.
pub(super) fn usage(
    connection: &Connection,
    key: &KeyId,
    days: RangeInclusive<Date>,
) -> Result<Vec<(Date, DayUsage)>> {
    // SQLite plans a range query again for each new pair of bounds. Most ranges are a single day, which needs
    // no range.
    let sql = if days.start() == days.end() {
        "SELECT day, usage FROM days WHERE key = ?1 AND day = ?2 AND day = ?3"
    } else {
        "SELECT day, usage FROM days WHERE key = ?1 AND day BETWEEN ?2 AND ?3 ORDER BY day"
    };
    let mut statement = connection.prepare_cached(sql)?;
    let bounds = params![key.as_str(), days.start().to_string(), days.end().to_string()];
    let rows = statement.query_and_then(bounds, |row| {
        let (day, usage): (String, String) = (row.get(0)?, row.get(1)?);
        let format = time::macros::format_description!("[year]-[month]-[day]");
        let day = Date::parse(&day, format).map_err(|error| Error::corrupt(USAGE, error))?;
        Ok((day, from_json(USAGE, &usage)?))
    })?;
    rows.collect()
}

pub(super) fn key(connection: &Connection, id: &KeyId) -> Result<Option<KeyRecord>> {
    let sql = "SELECT record FROM keys WHERE id = ?1";
    let found: Option<String> =
        connection.prepare_cached(sql)?.query_row([id.as_str()], |row| row.get(0)).optional()?;
    found.map(|text| from_json(KEY, &text)).transpose()
}

pub(super) fn keys(connection: &Connection) -> Result<Vec<KeyRecord>> {
    let mut statement = connection.prepare_cached("SELECT record FROM keys ORDER BY id")?;
    let rows = statement.query_and_then([], |row| from_json(KEY, &row.get::<_, String>(0)?))?;
    rows.collect()
}

pub(super) fn save_key(connection: &Connection, key: &KeyRecord) -> Result<()> {
    let sql = "INSERT OR REPLACE INTO keys (id, record) VALUES (?1, ?2)";
    connection.prepare_cached(sql)?.execute(params![key.id.as_str(), to_json(KEY, key)?])?;
    Ok(())
}
