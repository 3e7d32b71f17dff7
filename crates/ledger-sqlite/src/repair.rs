//! Finds records that cannot be read, and ends the jobs of damaged ones.

use std::collections::{BTreeMap, HashMap};

use rusqlite::{Connection, Row, params};
use time::{Date, OffsetDateTime};

use crate::error::Result;
use crate::rows;
use tintype_ledger::Error;
use tintype_ledger::account::Reservation;
use tintype_ledger::id::{JobId, KeyId, OwnerId};
use tintype_ledger::job::JobRecord;
use tintype_ledger::money::Totals;
use tintype_ledger::quarantine::{RecordName, Repair, UnreadableRecord};
use tintype_ledger::stored::Members;

/// Returns all records that cannot be decoded.
pub(crate) fn check(connection: &Connection) -> Result<Vec<UnreadableRecord>> {
    let mut found = Vec::new();
    let jobs = "SELECT owner, id, status, record FROM jobs ORDER BY owner, id";
    scan(connection, jobs, &mut found, |row| (rows::job_name(row), rows::job_from_row(row).map(drop)))?;
    let keys = "SELECT id, record FROM keys ORDER BY id";
    scan(connection, keys, &mut found, |row| {
        (RecordName::Other(rows::row_name("keys", row)), rows::key_from_row(row).map(drop))
    })?;
    let days = "SELECT key, day, usage FROM days ORDER BY key, day";
    scan(connection, days, &mut found, |row| {
        let read = rows::day_from_row(row).map_err(Error::from);
        let name = read.as_ref().err().and_then(|error| error.record()).unwrap_or_default().to_owned();
        (RecordName::Other(name), read.map(drop).map_err(Into::into))
    })?;
    Ok(found)
}

/// Reads all rows of a statement and adds those that cannot be decoded to `found`.
fn scan(
    connection: &Connection,
    sql: &str,
    found: &mut Vec<UnreadableRecord>,
    read: impl Fn(&Row<'_>) -> (RecordName, Result<()>),
) -> Result<()> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (name, read) = read(row);
        match read.map_err(Error::from) {
            Ok(()) => {}
            Err(error) if error.is_unreadable() => found.push(UnreadableRecord::new(name, &error)),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Ends the jobs whose records are damaged, and releases their reservations.
pub(crate) fn repair(connection: &Connection, now: OffsetDateTime) -> Result<Repair> {
    let (ended, left): (Vec<_>, Vec<_>) =
        check(connection)?.into_iter().partition(|record| record.damaged_job().is_some());
    for (owner, id) in ended.iter().filter_map(UnreadableRecord::damaged_job) {
        end_damaged(connection, owner, id, now)?;
    }
    let reservations_released = !ended.is_empty() && recount_reservations(connection)?;
    Ok(Repair { ended, left, reservations_released })
}

fn end_damaged(connection: &Connection, owner: &OwnerId, id: JobId, now: OffsetDateTime) -> Result<()> {
    let sql = "SELECT record, deleted FROM jobs WHERE owner = ?1 AND id = ?2";
    let row = params![owner.as_str(), rows::id_bytes(&id)];
    let (members, deleted) = connection.prepare(sql)?.query_row(row, |row| {
        let json = row.get_ref(0)?.as_bytes().unwrap_or_default();
        Ok((Members::read(json), row.get::<_, bool>(1)?))
    })?;
    if deleted {
        return rows::remove_job(connection, owner, id);
    }
    rows::save_job(connection, &JobRecord::from_damaged(owner.clone(), id, &members, now))
}

/// What the open jobs of a key have reserved.
#[derive(Default)]
struct OpenJobs {
    count: u32,
    reserved: BTreeMap<Date, Totals>,
}

/// Sets the reservations of all keys to those of the open jobs: a damaged record may have lost the amount
/// that it had reserved. False, without a change, if the reservation of an open job cannot be read.
fn recount_reservations(connection: &Connection) -> Result<bool> {
    let Some(open) = open_jobs(connection)? else { return Ok(false) };
    let none = OpenJobs::default();
    let sql = "SELECT key, in_flight FROM accounts";
    let accounts: Vec<(String, u32)> = connection
        .prepare(sql)?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (key, in_flight) in accounts {
        let count = open.get(&key).unwrap_or(&none).count;
        if count != in_flight {
            connection.execute("UPDATE accounts SET in_flight = ?2 WHERE key = ?1", params![key, count])?;
        }
    }
    let mut statement = connection.prepare("SELECT key, day, usage FROM days")?;
    let mut days = statement.query([])?;
    let mut changed = Vec::new();
    while let Some(row) = days.next()? {
        let key: String = row.get(0)?;
        // An unreadable day stays as it is.
        let Ok((day, mut usage)) = rows::day_from_row(row) else { continue };
        let reserved = open.get(&key).unwrap_or(&none).reserved.get(&day).cloned().unwrap_or_default();
        if usage.reserved != reserved {
            usage.reserved = reserved;
            changed.push((key, day, usage));
        }
    }
    for (key, day, usage) in changed {
        rows::save_day(connection, &key, day, &usage)?;
    }
    Ok(true)
}

/// The open jobs by key. `None` if the key or the reservation of one cannot be read.
fn open_jobs(connection: &Connection) -> Result<Option<HashMap<String, OpenJobs>>> {
    let mut open = HashMap::<String, OpenJobs>::new();
    let mut statement =
        connection.prepare("SELECT record FROM jobs WHERE status IN ('queued', 'running')")?;
    let mut jobs = statement.query([])?;
    while let Some(row) = jobs.next()? {
        let members = Members::read(row.get_ref(0)?.as_bytes().unwrap_or_default());
        let (Some(key), Some(reservation)) =
            (members.get::<KeyId>("key"), members.get::<Reservation>("hold"))
        else {
            return Ok(None);
        };
        let of_key = open.entry(key.as_str().to_owned()).or_default();
        of_key.count += 1;
        of_key.reserved.entry(reservation.day).or_default().add(&reservation.reserved);
    }
    Ok(Some(open))
}
