//! Accepting a job, in one transaction.

use rusqlite::{Connection, params};
use time::OffsetDateTime;

use super::{jobs, rows};
use crate::accept::{Acceptance, NewJob};
use crate::account::ReuseKind;
use crate::error::Result;
use crate::id::JobId;
use crate::job::JobRecord;
use crate::limits::LimitExceeded;
use crate::policy::utc_day;

pub(super) fn accept(connection: &Connection, new: NewJob, now: OffsetDateTime) -> Result<Acceptance> {
    if let Some(idempotency) = &new.idempotency
        && let Some((body, job)) = rows::idempotency(connection, &new.owner, &idempotency.key, now)?
        && let Some(job) = rows::visible(connection, &new.owner, job)?.filter(JobRecord::answers_retries)
    {
        let same = body == idempotency.body;
        return Ok(if same { Acceptance::Replayed { job } } else { Acceptance::Conflict });
    }
    if let Some(job) = reusable(connection, &new)? {
        return share(connection, new, job, now);
    }
    if let Some(limit) = new.queue
        && !jobs::has_room(connection, &new.owner, limit)?
    {
        return Ok(Acceptance::QueueFull);
    }
    let days = (new.policy.first_day(now), utc_day(now));
    let admitted = rows::change_account(connection, &new.key, days, |account| {
        let reservation = account.admit(&new.policy, now, new.reserve)?;
        Ok((reservation, account.quotas(&new.policy, now)))
    })?;
    let (reservation, quotas) = match admitted {
        Ok(admitted) => admitted,
        Err(exceeded) => return refuse(connection, &new, exceeded, now),
    };
    let (idempotency, begin) = (new.idempotency.clone(), new.start_with.clone());
    let mut job = new.into_record(JobId::new(now), reservation, now);
    if let Some(lease) = begin
        && !jobs::any_waits(connection)?
    {
        job.start(lease, now);
    }
    rows::save_job(connection, &job)?;
    if let Some(idempotency) = idempotency {
        rows::save_idempotency(connection, &job.owner, &idempotency, job.id, now)?;
    }
    Ok(Acceptance::Accepted { job, quotas })
}

/// The newest earlier job that will do.
fn reusable(connection: &Connection, new: &NewJob) -> Result<Option<JobRecord>> {
    if !new.reuse.any() {
        return Ok(None);
    }
    let sql = "SELECT record FROM jobs
               WHERE owner = ?1 AND fingerprint = ?2 AND deleted = 0
                 AND (status IN ('queued', 'running') OR (status = 'succeeded' AND ?3))
               ORDER BY id DESC LIMIT 64";
    let finished = new.reuse.stored || new.reuse.retry.is_some();
    let same = params![new.owner.as_str(), new.fingerprint.as_bytes(), finished];
    Ok(rows::jobs(connection, sql, same)?.into_iter().find(|job| new.reuse.matches(job)))
}

/// Answers with another job, which costs a turn in the rate and nothing else.
fn share(connection: &Connection, new: NewJob, job: JobRecord, now: OffsetDateTime) -> Result<Acceptance> {
    let how = if job.status.is_final() { ReuseKind::Stored } else { ReuseKind::Joined };
    let days = (new.policy.first_day(now), utc_day(now));
    let shared = rows::change_account(connection, &new.key, days, |account| {
        account.admit_reuse(&new.policy, now, how)?;
        Ok(account.quotas(&new.policy, now))
    })?;
    let quotas = match shared {
        Ok(quotas) => quotas,
        Err(exceeded) => return refuse(connection, &new, exceeded, now),
    };
    if let Some(idempotency) = &new.idempotency {
        rows::save_idempotency(connection, &new.owner, idempotency, job.id, now)?;
    }
    Ok(match how {
        ReuseKind::Joined => Acceptance::Joined { job, quotas },
        ReuseKind::Stored => Acceptance::Stored { job, quotas },
    })
}

fn refuse(
    connection: &Connection,
    new: &NewJob,
    exceeded: LimitExceeded,
    now: OffsetDateTime,
) -> Result<Acceptance> {
    let days = (new.policy.first_day(now), utc_day(now));
    let quotas = rows::account(connection, &new.key, days)?.quotas(&new.policy, now);
    Ok(Acceptance::LimitExceeded { exceeded, quotas })
}
