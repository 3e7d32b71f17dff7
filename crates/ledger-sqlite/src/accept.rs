//! Accepts a job, in one transaction.

use std::ops::RangeInclusive;

use rusqlite::{Connection, params};
use time::{Date, OffsetDateTime};

use crate::error::Result;
use crate::{jobs, rows};
use tintype_ledger::accept::{Acceptance, NewJob};
use tintype_ledger::account::ReuseKind;
use tintype_ledger::id::JobId;
use tintype_ledger::job::JobRecord;
use tintype_ledger::limits::LimitExceeded;
use tintype_ledger::policy::utc_day;
use tintype_ledger::quarantine::Quarantine;

pub(crate) fn accept(
    connection: &Connection,
    quarantine: &Quarantine,
    new: NewJob,
    now: OffsetDateTime,
) -> Result<Acceptance> {
    if let Some(idempotency) = &new.idempotency
        && let Some((body, job)) = rows::idempotency(connection, &new.owner, &idempotency.key, now)?
        && let Some(job) = rows::visible_job(connection, &new.owner, job)?.filter(JobRecord::answers_retries)
    {
        let same = body == idempotency.body;
        return Ok(if same { Acceptance::Replayed { job } } else { Acceptance::Conflict });
    }
    if let Some(job) = reusable_job(connection, quarantine, &new)? {
        return reuse_job(connection, new, job, now);
    }
    if let Some(limit) = new.queue
        && !jobs::has_room(connection, &new, limit)?
    {
        return Ok(Acceptance::QueueFull);
    }
    let admitted = rows::change_account(connection, &new.key, counted_days(&new, now), |account| {
        let reservation = account.admit(&new.policy, now, new.reserve)?;
        Ok((reservation, account.quotas(&new.policy, now)))
    })?;
    let (reservation, quotas) = match admitted {
        Ok(admitted) => admitted,
        Err(exceeded) => return limit_exceeded(connection, &new, exceeded, now),
    };
    let (idempotency, start_with) = (new.idempotency.clone(), new.start_with.clone());
    let mut job = new.into_record(JobId::new(now), reservation, now);
    if let Some(lease) = start_with
        && !jobs::has_queued_jobs(connection, quarantine, &job.model)?
    {
        job.start(lease, now);
    }
    rows::save_job(connection, &job)?;
    if let Some(idempotency) = idempotency {
        rows::save_idempotency(connection, &job.owner, &idempotency, job.id, now)?;
    }
    Ok(Acceptance::Accepted { job, quotas })
}

/// The days whose usage counts towards the key's budgets.
fn counted_days(new: &NewJob, now: OffsetDateTime) -> RangeInclusive<Date> {
    new.policy.first_day(now)..=utc_day(now)
}

/// Returns the newest earlier job that may answer the request.
fn reusable_job(connection: &Connection, quarantine: &Quarantine, new: &NewJob) -> Result<Option<JobRecord>> {
    if !new.reuse.any() {
        return Ok(None);
    }
    let sql = "SELECT owner, id, status, record FROM jobs
               WHERE owner = ?1 AND fingerprint IN (?2, ?4) AND deleted = 0
                 AND (status IN ('queued', 'running') OR (status = 'succeeded' AND ?3))
               ORDER BY id DESC LIMIT 64";
    let finished = new.reuse.stored.is_some() || new.reuse.retry.is_some();
    let before_0_2 = new.reuse.stored.and_then(|keys| keys.before_0_2).unwrap_or(new.request_key);
    let identical = params![new.owner.as_str(), new.request_key.as_bytes(), finished, before_0_2.as_bytes()];
    let jobs = rows::readable_jobs(connection, quarantine, sql, identical, usize::MAX)?;
    Ok(jobs.into_iter().find(|job| new.reuse.matches(job)))
}

/// Answers the request with an earlier job. This counts towards the rate limit only.
fn reuse_job(
    connection: &Connection,
    new: NewJob,
    job: JobRecord,
    now: OffsetDateTime,
) -> Result<Acceptance> {
    let kind = if job.status.is_final() { ReuseKind::Stored } else { ReuseKind::Joined };
    let admitted = rows::change_account(connection, &new.key, counted_days(&new, now), |account| {
        account.admit_reuse(&new.policy, now, kind)?;
        Ok(account.quotas(&new.policy, now))
    })?;
    let quotas = match admitted {
        Ok(quotas) => quotas,
        Err(exceeded) => return limit_exceeded(connection, &new, exceeded, now),
    };
    if let Some(idempotency) = &new.idempotency {
        rows::save_idempotency(connection, &new.owner, idempotency, job.id, now)?;
    }
    Ok(match kind {
        ReuseKind::Joined => Acceptance::Joined { job, quotas },
        ReuseKind::Stored => Acceptance::Stored { job, quotas },
    })
}

fn limit_exceeded(
    connection: &Connection,
    new: &NewJob,
    exceeded: LimitExceeded,
    now: OffsetDateTime,
) -> Result<Acceptance> {
    let account = rows::account(connection, &new.key, counted_days(new, now))?;
    let quotas = account.quotas(&new.policy, now);
    Ok(Acceptance::LimitExceeded { exceeded, quotas })
}
