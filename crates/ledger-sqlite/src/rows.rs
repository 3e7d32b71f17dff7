//! Reads and writes rows. Each kind of record has one function that writes it, so that a record and its
//! columns agree.

use std::ops::RangeInclusive;

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;
use serde::de::DeserializeOwned;
use time::{Date, OffsetDateTime};
use uuid::Uuid;

use crate::error::Result;
use tintype_ledger::accept::{IDEMPOTENCY_TTL, Idempotency};
use tintype_ledger::account::{Account, DayUsage};
use tintype_ledger::id::{Fingerprint, JobId, KeyId, OwnerId};
use tintype_ledger::job::JobRecord;
use tintype_ledger::key::KeyRecord;
use tintype_ledger::quarantine::{Quarantine, RecordName};
use tintype_ledger::stored;
use tintype_ledger::{EngineTimes, Error};

fn to_json<T: Serialize>(record: &T) -> Result<String> {
    Ok(serde_json::to_string(record).map_err(|error| Error::corrupt("a new record", error))?)
}

/// Decodes the record in a column. The text may be damaged, so it may not be UTF-8.
pub(crate) fn decode_column<T: DeserializeOwned>(
    row: &Row<'_>,
    column: usize,
    name: impl Fn() -> String,
) -> Result<T> {
    let json = row.get_ref(column)?.as_bytes().map_err(|error| Error::corrupt(name(), error))?;
    Ok(stored::decode(name, json)?)
}

/// The name of the record in a row that begins with its key.
pub(crate) fn row_name(folder: &str, row: &Row<'_>) -> String {
    let key = row.get_ref(0).ok().and_then(|key| key.as_bytes().ok()).unwrap_or_default();
    format!("{folder}/{}", String::from_utf8_lossy(key))
}

/// Nanoseconds since 1970; the type is sufficient until the year 2262.
pub(crate) fn nanos(at: OffsetDateTime) -> i64 {
    at.unix_timestamp_nanos().clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

pub(crate) fn id_bytes(id: &JobId) -> [u8; 16] {
    id.uuid().into_bytes()
}

/// Decodes a job of the columns `owner, id, status, record`.
pub(crate) fn job_from_row(row: &Row<'_>) -> Result<JobRecord> {
    let job: JobRecord = decode_column(row, 3, || job_name(row).to_string())?;
    // A change of a record that belongs to another row would leave this row as it is.
    let in_row = |column, bytes: &[u8]| row.get_ref(column).is_ok_and(|value| value.as_bytes() == Ok(bytes));
    let agrees = in_row(0, job.owner.as_str().as_bytes())
        && in_row(1, &id_bytes(&job.id))
        && in_row(2, job.status.name().as_bytes());
    if agrees {
        Ok(job)
    } else {
        Err(Error::corrupt(job_name(row).to_string(), "the record and the columns of its row differ").into())
    }
}

/// The name of the job in a row of these columns.
pub(crate) fn job_name(row: &Row<'_>) -> RecordName {
    let bytes = |column| row.get_ref(column).ok().and_then(|value| value.as_bytes().ok()).unwrap_or_default();
    let owner = std::str::from_utf8(bytes(0)).ok().and_then(|owner| owner.parse().ok());
    match (owner, Uuid::from_slice(bytes(1))) {
        (Some(owner), Ok(id)) => RecordName::Job { owner, id: id.into() },
        _ => RecordName::Other(row_name("jobs", row)),
    }
}

/// Runs a statement that selects `owner, id, status, record` of jobs, until it has found `limit` jobs.
/// Unreadable records are skipped.
pub(crate) fn readable_jobs(
    connection: &Connection,
    quarantine: &Quarantine,
    sql: &str,
    parameters: impl rusqlite::Params,
    limit: usize,
) -> Result<Vec<JobRecord>> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(parameters)?;
    let mut jobs = Vec::new();
    while jobs.len() < limit
        && let Some(row) = rows.next()?
    {
        jobs.extend(quarantine.skip_unreadable(|| job_name(row), job_from_row(row))?);
    }
    Ok(jobs)
}

/// Returns a job, even if it is deleted.
pub(crate) fn job(connection: &Connection, owner: &OwnerId, id: JobId) -> Result<Option<JobRecord>> {
    let sql = "SELECT owner, id, status, record FROM jobs WHERE owner = ?1 AND id = ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let mut found = statement.query_and_then(params![owner.as_str(), id_bytes(&id)], job_from_row)?;
    found.next().transpose()
}

/// Returns a job unless it is deleted.
pub(crate) fn visible_job(connection: &Connection, owner: &OwnerId, id: JobId) -> Result<Option<JobRecord>> {
    Ok(job(connection, owner, id)?.filter(|job| !job.deleted))
}

/// Returns the engine times of a model.
pub(crate) fn engine_times(connection: &Connection, model: &str) -> Result<Option<EngineTimes>> {
    let sql = "SELECT per_job, per_work FROM engine_times WHERE model = ?1";
    let times = |row: &Row<'_>| Ok(EngineTimes { per_job: row.get(0)?, per_work: row.get(1)? });
    Ok(connection.prepare_cached(sql)?.query_row([model], times).optional()?)
}

pub(crate) fn save_engine_times(connection: &Connection, model: &str, times: EngineTimes) -> Result<()> {
    let sql = "INSERT INTO engine_times (model, per_job, per_work) VALUES (?1, ?2, ?3)
               ON CONFLICT (model) DO UPDATE SET per_job = excluded.per_job, per_work = excluded.per_work";
    connection.prepare_cached(sql)?.execute(params![model, times.per_job, times.per_work])?;
    Ok(())
}

pub(crate) fn save_job(connection: &Connection, job: &JobRecord) -> Result<()> {
    let sql = "INSERT INTO jobs (owner, id, status, deleted, fingerprint, deadline, lease_until, record, model)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
               ON CONFLICT (owner, id) DO UPDATE SET status = excluded.status, deleted = excluded.deleted,
                   deadline = excluded.deadline, lease_until = excluded.lease_until, record = excluded.record";
    connection.prepare_cached(sql)?.execute(params![
        job.owner.as_str(),
        id_bytes(&job.id),
        job.status.name(),
        job.deleted,
        job.request_key.as_bytes(),
        job.deadline.map(nanos),
        job.lease.as_ref().map(|lease| nanos(lease.until)),
        to_json(job)?,
        job.model(),
    ])?;
    Ok(())
}

pub(crate) fn remove_job(connection: &Connection, owner: &OwnerId, id: JobId) -> Result<()> {
    let sql = "DELETE FROM jobs WHERE owner = ?1 AND id = ?2";
    connection.prepare_cached(sql)?.execute(params![owner.as_str(), id_bytes(&id)])?;
    remove_idempotency(connection, owner, id)
}

pub(crate) fn remove_idempotency(connection: &Connection, owner: &OwnerId, id: JobId) -> Result<()> {
    let sql = "DELETE FROM idempotency WHERE owner = ?1 AND job = ?2";
    connection.prepare_cached(sql)?.execute(params![owner.as_str(), id_bytes(&id)])?;
    Ok(())
}

/// Returns the fingerprint of the request body and the job of an idempotency key that has not expired.
pub(crate) fn idempotency(
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
    Ok(found.map(|(body, job)| (Fingerprint::from(body), JobId::from(Uuid::from_bytes(job)))))
}

pub(crate) fn save_idempotency(
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
pub(crate) fn change_account<T, E>(
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
        for (day, usage) in account.days.iter().filter(|(day, usage)| before.days.get(day) != Some(usage)) {
            save_day(connection, key.as_str(), *day, usage)?;
        }
    }
    Ok(changed)
}

/// Writes the usage of a key on a day.
pub(crate) fn save_day(connection: &Connection, key: &str, day: Date, usage: &DayUsage) -> Result<()> {
    let sql = "INSERT OR REPLACE INTO days (key, day, usage) VALUES (?1, ?2, ?3)";
    let row = params![key, day.to_string(), to_json(usage)?];
    connection.prepare_cached(sql)?.execute(row)?;
    Ok(())
}

/// Returns an account with the usage of `days`.
pub(crate) fn account(connection: &Connection, key: &KeyId, days: RangeInclusive<Date>) -> Result<Account> {
    let sql = "SELECT arrival, in_flight FROM accounts WHERE key = ?1";
    let found: Option<(Option<i64>, u32)> = connection
        .prepare_cached(sql)?
        .query_row([key.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let (arrival, in_flight) = found.unwrap_or_default();
    let arrival = arrival
        .map(|nanos| OffsetDateTime::from_unix_timestamp_nanos(nanos.into()))
        .transpose()
        .map_err(|error| Error::corrupt(format!("accounts/{key}"), error))?;
    let days = usage(connection, key, days)?.into_iter().collect();
    Ok(Account { arrival, in_flight, days })
}

/// Returns the usage of a key on these days.
pub(crate) fn usage(
    connection: &Connection,
    key: &KeyId,
    days: RangeInclusive<Date>,
) -> Result<Vec<(Date, DayUsage)>> {
    // SQLite plans a range query again for each new pair of bounds. Most ranges are a single day, which needs
    // no range.
    let sql = if days.start() == days.end() {
        "SELECT key, day, usage FROM days WHERE key = ?1 AND day = ?2 AND day = ?3"
    } else {
        "SELECT key, day, usage FROM days WHERE key = ?1 AND day BETWEEN ?2 AND ?3 ORDER BY day"
    };
    let mut statement = connection.prepare_cached(sql)?;
    let bounds = params![key.as_str(), days.start().to_string(), days.end().to_string()];
    statement.query_and_then(bounds, day_from_row)?.collect()
}

/// Decodes the usage of a day of the columns `key, day, usage`.
pub(crate) fn day_from_row(row: &Row<'_>) -> Result<(Date, DayUsage)> {
    let day = row.get_ref(1)?.as_str().unwrap_or_default();
    let name = || format!("{}/{day}", row_name("usage", row));
    let format = time::macros::format_description!("[year]-[month]-[day]");
    let date = Date::parse(day, format).map_err(|error| Error::corrupt(name(), error))?;
    Ok((date, decode_column(row, 2, name)?))
}

pub(crate) fn key(connection: &Connection, id: &KeyId) -> Result<Option<KeyRecord>> {
    let sql = "SELECT id, record FROM keys WHERE id = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let mut found = statement.query_and_then([id.as_str()], key_from_row)?;
    found.next().transpose()
}

/// Decodes a key of the columns `id, record`.
pub(crate) fn key_from_row(row: &Row<'_>) -> Result<KeyRecord> {
    decode_column(row, 1, || row_name("keys", row))
}

/// Returns all keys whose records are readable.
pub(crate) fn keys(connection: &Connection, quarantine: &Quarantine) -> Result<Vec<KeyRecord>> {
    let mut statement = connection.prepare_cached("SELECT id, record FROM keys ORDER BY id")?;
    let mut rows = statement.query([])?;
    let mut keys = Vec::new();
    while let Some(row) = rows.next()? {
        let name = || RecordName::Other(row_name("keys", row));
        keys.extend(quarantine.skip_unreadable(name, key_from_row(row))?);
    }
    Ok(keys)
}

pub(crate) fn save_key(connection: &Connection, key: &KeyRecord) -> Result<()> {
    let sql = "INSERT OR REPLACE INTO keys (id, record) VALUES (?1, ?2)";
    connection.prepare_cached(sql)?.execute(params![key.id.as_str(), to_json(key)?])?;
    Ok(())
}
