//! Reads and changes accepted jobs, each function in one transaction.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};
use time::{Date, Duration, OffsetDateTime};

use crate::error::Result;
use crate::rows;
use tintype_ledger::Error;
use tintype_ledger::accept::{IDEMPOTENCY_TTL, NewJob, QueueLimit};
use tintype_ledger::account::{Charge, USAGE_RETENTION_DAYS};
use tintype_ledger::fairness::{OwnerQueue, jobs_ahead};
use tintype_ledger::id::{JobId, OwnerId};
use tintype_ledger::job::{JobRecord, Lease, Outcome, RecoveryScope, Run, Status};
use tintype_ledger::money::Spend;
use tintype_ledger::policy::utc_day;
use tintype_ledger::quarantine::{Quarantine, RecordName};
use tintype_ledger::{ClaimReply, FinishReply, HeartbeatReply, JobPage, Load, Recovered};

/// Writes a job that was open before its change. If the job has ended, this charges the account and removes
/// the record of a deleted job. A job ends only once, so it is charged only once.
fn save(connection: &Connection, job: &JobRecord) -> Result<()> {
    if job.status.is_final() {
        let day = job.reservation.day;
        let cost = job.cost.unwrap_or_default();
        let settled = rows::change_account(connection, &job.key, day..=day, |account| {
            let charge = Charge { cost: &cost, images: job.images.len(), model: job.model() };
            account.settle(&job.reservation, charge);
            Ok::<_, std::convert::Infallible>(())
        })?;
        let Ok(()) = settled;
        if job.deleted {
            return rows::remove_job(connection, &job.owner, job.id);
        }
    }
    rows::save_job(connection, job)
}

/// Changes a job and returns it as it is afterwards; `None` if it does not exist. `change` returns whether it
/// changed the record.
pub(crate) fn change(
    connection: &Connection,
    owner: &OwnerId,
    id: JobId,
    change: impl FnOnce(&mut JobRecord) -> bool,
) -> Result<Option<JobRecord>> {
    let Some(mut job) = rows::job(connection, owner, id)? else { return Ok(None) };
    let was_final = job.status.is_final();
    if change(&mut job) {
        if was_final { rows::save_job(connection, &job)? } else { save(connection, &job)? }
    }
    Ok(Some(job))
}

pub(crate) fn claim(
    connection: &Connection,
    owner: &OwnerId,
    id: JobId,
    lease: Lease,
    now: OffsetDateTime,
) -> Result<ClaimReply> {
    let Some(mut job) = rows::visible_job(connection, owner, id)? else { return Ok(ClaimReply::NotFound) };
    // A repeated claim whose answer was lost.
    let is_repeated = job.status == Status::Running && job.lease.as_ref() == Some(&lease);
    if is_repeated {
        return Ok(ClaimReply::Granted(job));
    }
    if job.reconcile(now, RecoveryScope::ExpiredLeases) {
        save(connection, &job)?;
    }
    if job.status != Status::Queued {
        return Ok(ClaimReply::Unavailable(job));
    }
    job.start(lease, now);
    save(connection, &job)?;
    Ok(ClaimReply::Granted(job))
}

/// Like [`save`]; false if the job has ended and its key's usage is unreadable, so that it cannot be charged.
fn try_save(connection: &Connection, quarantine: &Quarantine, job: &JobRecord) -> Result<bool> {
    let saved = save(connection, job).map_err(Error::from);
    let name = saved.as_ref().err().and_then(Error::record).unwrap_or_default().to_owned();
    Ok(quarantine.skip_unreadable(|| RecordName::Other(name), saved)?.is_some())
}

pub(crate) fn claim_next(
    connection: &Connection,
    quarantine: &Quarantine,
    model: &str,
    lease: Lease,
    now: OffsetDateTime,
) -> Result<Option<JobRecord>> {
    let mut owners = owner_queues(connection, quarantine, model)?;
    while let Some(next) = (0..owners.len()).min_by_key(|index| owners[*index].rank()) {
        let owner = owners.swap_remove(next).owner;
        let sql = "SELECT owner, id, status, record FROM jobs
                   WHERE status = 'queued' AND model = ?1 AND owner = ?2 ORDER BY id";
        // The number of jobs that should end and cannot be charged.
        let mut stuck = 0;
        while let Some(mut job) =
            rows::readable_jobs(connection, quarantine, sql, [model, &owner], stuck + 1)?
                .into_iter()
                .nth(stuck)
        {
            if job.reconcile(now, RecoveryScope::ExpiredLeases) {
                stuck += usize::from(!try_save(connection, quarantine, &job)?);
                continue;
            }
            let sql =
                "INSERT INTO turns (owner, turn) SELECT ?1, coalesce(max(turn), 0) + 1 FROM turns WHERE true
                       ON CONFLICT (owner) DO UPDATE SET turn = excluded.turn";
            connection.prepare_cached(sql)?.execute([&owner])?;
            job.start(lease, now);
            save(connection, &job)?;
            return Ok(Some(job));
        }
    }
    Ok(None)
}

/// Selects owner, number of queued jobs, last turn and number of running jobs for each owner with queued jobs of a model.
pub(crate) const OWNER_QUEUES: &str = "SELECT queue.owner, queue.queued, coalesce(turns.turn, 0),
            (SELECT count(*) FROM jobs WHERE status = 'running' AND owner = queue.owner AND model = ?1)
     FROM (SELECT owner, count(*) AS queued FROM jobs
           WHERE status = 'queued' AND model = ?1 GROUP BY owner) AS queue
     LEFT JOIN turns ON turns.owner = queue.owner";

/// Returns the queues of all owners with queued jobs of a model. Unreadable jobs do not count.
fn owner_queues(
    connection: &Connection,
    quarantine: &Quarantine,
    model: &str,
) -> Result<Vec<OwnerQueue<String>>> {
    let mut statement = connection.prepare_cached(OWNER_QUEUES)?;
    let rows = statement.query_map([model], |row| {
        Ok(OwnerQueue { owner: row.get(0)?, queued: row.get(1)?, turn: row.get(2)?, running: row.get(3)? })
    })?;
    let mut queues = rows.collect::<Result<Vec<_>, _>>()?;
    let unreadable = unreadable_jobs(connection, quarantine)?;
    for unreadable in unreadable.iter().filter(|job| job.is_queued && job.model == model) {
        for queue in queues.iter_mut().filter(|queue| queue.owner == unreadable.owner.as_str()) {
            queue.queued = queue.queued.saturating_sub(1);
        }
    }
    queues.retain(|queue| queue.queued > 0);
    Ok(queues)
}

/// An open job whose record is unreadable.
struct UnreadableJob {
    owner: OwnerId,
    id: JobId,
    /// By the column of its row.
    model: String,
    /// By the column of its row: queued, or else running.
    is_queued: bool,
}

/// Returns the open jobs that this process knows to be unreadable. This forgets those that have become
/// readable, for example by a repair.
fn unreadable_jobs(connection: &Connection, quarantine: &Quarantine) -> Result<Vec<UnreadableJob>> {
    if quarantine.is_empty() {
        return Ok(Vec::new());
    }
    let mut open = Vec::new();
    for (owner, id) in quarantine.jobs() {
        let name = || RecordName::Job { owner: owner.clone(), id };
        let read = rows::job(connection, &owner, id);
        match quarantine.skip_unreadable(name, read)? {
            Some(Some(_)) => {}
            Some(None) => quarantine.remove(&name()),
            None => {
                let sql = "SELECT status, model FROM jobs WHERE owner = ?1 AND id = ?2";
                let row = params![owner.as_str(), rows::id_bytes(&id)];
                let (status, model): (String, String) =
                    connection.prepare_cached(sql)?.query_row(row, |row| Ok((row.get(0)?, row.get(1)?)))?;
                if status == "queued" || status == "running" {
                    open.push(UnreadableJob { is_queued: status == "queued", owner, id, model });
                }
            }
        }
    }
    Ok(open)
}

pub(crate) fn position(
    connection: &Connection,
    quarantine: &Quarantine,
    owner: &OwnerId,
    id: JobId,
) -> Result<Option<u64>> {
    let queued = rows::visible_job(connection, owner, id)?.filter(|job| job.status == Status::Queued);
    let Some(job) = queued else { return Ok(None) };
    let model = job.model();
    let sql = "SELECT count(*) FROM jobs WHERE status = 'queued' AND model = ?3 AND owner = ?1 AND id < ?2";
    let earlier: u32 = connection
        .prepare_cached(sql)?
        .query_row(params![owner.as_str(), rows::id_bytes(&id), model], |row| row.get(0))?;
    let is_earlier =
        |job: &&UnreadableJob| job.is_queued && job.model == model && job.owner == *owner && job.id < id;
    let unreadable = unreadable_jobs(connection, quarantine)?.iter().filter(is_earlier).count();
    let earlier = earlier.saturating_sub(unreadable as u32);
    Ok(Some(jobs_ahead(&owner_queues(connection, quarantine, model)?, &owner.as_str().to_owned(), earlier)))
}

pub(crate) fn load(connection: &Connection, quarantine: &Quarantine) -> Result<BTreeMap<String, Load>> {
    let sql = "SELECT model, status, count(*) FROM jobs WHERE status IN ('queued', 'running') GROUP BY 1, 2";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    let mut loads = BTreeMap::<String, Load>::new();
    while let Some(row) = rows.next()? {
        let (model, status, count): (String, String, u32) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let load = loads.entry(model).or_default();
        *(if status == "queued" { &mut load.queued } else { &mut load.running }) += u64::from(count);
    }
    for job in unreadable_jobs(connection, quarantine)? {
        if let Some(load) = loads.get_mut(&job.model) {
            let count = if job.is_queued { &mut load.queued } else { &mut load.running };
            *count = count.saturating_sub(1);
        }
    }
    loads.retain(|_, load| *load != Load::default());
    Ok(loads)
}

/// True if a job of this model is queued and readable.
pub(crate) fn has_queued_jobs(connection: &Connection, quarantine: &Quarantine, model: &str) -> Result<bool> {
    if !quarantine.is_empty() {
        let sql = "SELECT owner, id, status, record FROM jobs WHERE status = 'queued' AND model = ?1";
        return Ok(!rows::readable_jobs(connection, quarantine, sql, [model], 1)?.is_empty());
    }
    let sql = "SELECT EXISTS (SELECT 1 FROM jobs WHERE status = 'queued' AND model = ?1)";
    Ok(connection.prepare_cached(sql)?.query_row([model], |row| row.get(0))?)
}

/// True if another job may be queued.
pub(crate) fn has_room(connection: &Connection, new: &NewJob, limit: QueueLimit) -> Result<bool> {
    let sql = "SELECT count(*), count(*) FILTER (WHERE owner = ?1) FROM jobs
               WHERE status = 'queued' AND model = ?2";
    let (total, own): (u32, u32) = connection
        .prepare_cached(sql)?
        .query_row([new.owner.as_str(), &new.model], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(total < limit.total && own < limit.per_owner)
}

pub(crate) fn heartbeat(connection: &Connection, run: &Run, until: OffsetDateTime) -> Result<HeartbeatReply> {
    let Some(mut job) = rows::job(connection, &run.owner, run.job)? else {
        return Ok(HeartbeatReply::LeaseLost);
    };
    if !job.is_run_by(run) {
        return Ok(HeartbeatReply::LeaseLost);
    }
    if let Some(lease) = &mut job.lease {
        lease.until = until;
    }
    rows::save_job(connection, &job)?;
    Ok(if job.cancel_requested { HeartbeatReply::CancelRequested } else { HeartbeatReply::Continue })
}

pub(crate) fn finish(
    connection: &Connection,
    run: &Run,
    outcome: Outcome,
    cost: Spend,
    now: OffsetDateTime,
) -> Result<FinishReply> {
    let Some(mut job) = rows::job(connection, &run.owner, run.job)? else { return Ok(FinishReply::Stale) };
    if job.is_run_by(run) {
        job.end(outcome, cost, now);
        save(connection, &job)?;
    } else if !job.has_reported(run, &outcome, &cost) {
        return Ok(FinishReply::Stale);
    }
    Ok(if job.deleted { FinishReply::Deleted(job) } else { FinishReply::Recorded(job) })
}

pub(crate) fn delete(
    connection: &Connection,
    owner: &OwnerId,
    id: JobId,
    now: OffsetDateTime,
) -> Result<Option<JobRecord>> {
    let Some(job) = rows::visible_job(connection, owner, id)? else { return Ok(None) };
    if job.status.is_final() {
        rows::remove_job(connection, owner, id)?;
    } else {
        let mut deleted = job.clone();
        deleted.cancel(now);
        deleted.erase();
        rows::remove_idempotency(connection, owner, id)?;
        save(connection, &deleted)?;
    }
    Ok(Some(job))
}

pub(crate) fn page(
    connection: &Connection,
    quarantine: &Quarantine,
    owner: &OwnerId,
    before: Option<JobId>,
    limit: usize,
) -> Result<JobPage> {
    let sql = "SELECT owner, id, status, record FROM jobs
               WHERE owner = ?1 AND deleted = 0 AND (?2 IS NULL OR id < ?2) ORDER BY id DESC";
    let limit = limit.clamp(1, 1_000);
    let before = before.map(|id| rows::id_bytes(&id));
    let parameters = params![owner.as_str(), before];
    let mut jobs = rows::readable_jobs(connection, quarantine, sql, parameters, limit + 1)?;
    let has_more = jobs.len() > limit;
    jobs.truncate(limit);
    let next = jobs.last().filter(|_| has_more).map(|job| job.id);
    Ok(JobPage { jobs, next })
}

pub(crate) fn finished_jobs(
    connection: &Connection,
    quarantine: &Quarantine,
    accepted_before: OffsetDateTime,
    limit: usize,
) -> Result<Vec<JobRecord>> {
    let sql = "SELECT owner, id, status, record FROM jobs
               WHERE id < ?1 AND deleted = 0 AND status NOT IN ('queued', 'running') ORDER BY id";
    let before = params![rows::id_bytes(&JobId::first_at(accepted_before))];
    rows::readable_jobs(connection, quarantine, sql, before, limit.clamp(1, 1_000))
}

pub(crate) fn recover(
    connection: &Connection,
    quarantine: &Quarantine,
    now: OffsetDateTime,
    scope: RecoveryScope,
) -> Result<Recovered> {
    let sql = "SELECT owner, id, status, record FROM jobs WHERE status = 'queued' AND deadline <= ?1
               UNION ALL
               SELECT owner, id, status, record FROM jobs
               WHERE status = 'running' AND (?2 OR lease_until IS NULL OR lease_until <= ?1)";
    let lost = params![rows::nanos(now), scope == RecoveryScope::All];
    let found = rows::readable_jobs(connection, quarantine, sql, lost, usize::MAX)?;
    if !quarantine.is_empty() {
        // Forgets the records that are readable again.
        unreadable_jobs(connection, quarantine)?;
        rows::keys(connection, quarantine)?;
    }
    let mut recovered = Recovered::default();
    for mut job in found {
        if !job.reconcile(now, scope) || !try_save(connection, quarantine, &job)? {
            continue;
        }
        match job.status.is_final() {
            true => recovered.ended.push(job),
            false => recovered.requeued.push(job),
        }
    }
    remove_expired(connection, now)?;
    Ok(recovered)
}

/// Removes expired idempotency keys and usage records.
fn remove_expired(connection: &Connection, now: OffsetDateTime) -> Result<()> {
    let sql = "DELETE FROM idempotency WHERE created <= ?1";
    connection.prepare_cached(sql)?.execute([rows::nanos(now - IDEMPOTENCY_TTL)])?;
    let first: Date = utc_day(now - Duration::days(USAGE_RETENTION_DAYS));
    connection.prepare_cached("DELETE FROM days WHERE day < ?1")?.execute([first.to_string()])?;
    Ok(())
}
