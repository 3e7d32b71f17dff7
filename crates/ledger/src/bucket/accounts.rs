//! The books of one key as one object: its account, and which job each reservation is for.
//!
//! A job and its account are two objects and cannot be written together. So the reservation in the books decides:
//! it is made before the job is, and a job is charged by taking it out, which can happen once only. What a crash
//! leaves in between is found by looking at the jobs ([`BucketLedger::audit`]).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::cas::Change;
use super::{BucketLedger, paths};
use crate::accept::NewJob;
use crate::account::{Account, Reservation, ReuseKind, USAGE_RETENTION_DAYS};
use crate::error::Result;
use crate::id::{JobId, KeyId, OwnerId};
use crate::job::{JobRecord, RecoveryScope};
use crate::limits::{LimitExceeded, Quota};
use crate::policy::{Policy, utc_day};

/// How long accepting a job may take from its reservation to its record. A reservation older than that whose job is
/// not there belongs to a process that died.
pub(super) const GRACE: Duration = Duration::minutes(5);

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Book {
    pub account: Account,
    #[serde(default)]
    holds: BTreeMap<Uuid, Held>,
}

/// A reservation and the job it is for.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Held {
    owner: OwnerId,
    job: JobId,
    #[serde(with = "time::serde::rfc3339")]
    since: OffsetDateTime,
    #[serde(rename = "hold")]
    reservation: Reservation,
}

/// What is to be done with a reservation.
enum Verdict {
    Settle(Box<JobRecord>),
    Release,
}

impl BucketLedger {
    pub(super) async fn book(&self, key: &KeyId) -> Result<Book> {
        Ok(self.cells.read(&paths::book(key)).await?.map(|seen| seen.record).unwrap_or_default())
    }

    /// Lets a job in under this id and reserves for it.
    pub(super) async fn admit(
        &self,
        new: &NewJob,
        id: JobId,
        now: OffsetDateTime,
    ) -> Result<Result<(Reservation, Vec<Quota>), LimitExceeded>> {
        // A refusal may be owed to what a crash left: look once, then ask again.
        let first = self.try_admit(new, id, now).await?;
        match first {
            Err(_) if self.audit(&new.key, now).await? > 0 => self.try_admit(new, id, now).await,
            _ => Ok(first),
        }
    }

    async fn try_admit(
        &self,
        new: &NewJob,
        id: JobId,
        now: OffsetDateTime,
    ) -> Result<Result<(Reservation, Vec<Quota>), LimitExceeded>> {
        // The same in every attempt, so that one that got through unheard is recognised.
        let hold_id = Uuid::new_v4();
        let admit = |book: Option<Book>| {
            let mut book = book.unwrap_or_default();
            if let Some(held) = book.holds.get(&hold_id) {
                return Change::Leave(Ok((held.reservation.clone(), book.account.quotas(&new.policy, now))));
            }
            book.account.forget_days_before(utc_day(now - Duration::days(USAGE_RETENTION_DAYS)));
            match book.account.admit(&new.policy, now, new.reserve) {
                Ok(reservation) => {
                    let reservation = Reservation { id: hold_id, ..reservation };
                    let held = Held {
                        owner: new.owner.clone(),
                        job: id,
                        since: now,
                        reservation: reservation.clone(),
                    };
                    book.holds.insert(hold_id, held);
                    let quotas = book.account.quotas(&new.policy, now);
                    Change::Write(book, Ok((reservation, quotas)))
                }
                Err(exceeded) => Change::Leave(Err(exceeded)),
            }
        };
        self.cells.change(&paths::book(&new.key), admit).await
    }

    /// Lets in a request that another job answers.
    pub(super) async fn admit_reuse(
        &self,
        (key, policy): (&KeyId, &Policy),
        how: ReuseKind,
        now: OffsetDateTime,
    ) -> Result<Result<Vec<Quota>, LimitExceeded>> {
        let admit = |book: Option<Book>| {
            let mut book = book.unwrap_or_default();
            match book.account.admit_reuse(policy, now, how) {
                Ok(()) => {
                    let quotas = book.account.quotas(policy, now);
                    Change::Write(book, Ok(quotas))
                }
                Err(exceeded) => Change::Leave(Err(exceeded)),
            }
        };
        self.cells.change(&paths::book(key), admit).await
    }

    /// Charges a job that has ended. Only the first time does anything.
    pub(super) async fn settle(&self, job: &JobRecord) -> Result<()> {
        self.clear(&job.key, &[(job.reservation.id, Verdict::Settle(Box::new(job.clone())))]).await
    }

    /// Gives back a reservation that no job was made for.
    pub(super) async fn release(&self, key: &KeyId, reservation: &Reservation) -> Result<()> {
        self.clear(key, &[(reservation.id, Verdict::Release)]).await
    }

    async fn clear(&self, key: &KeyId, verdicts: &[(Uuid, Verdict)]) -> Result<()> {
        let clear = |book: Option<Book>| {
            let mut book = book.unwrap_or_default();
            let mut changed = false;
            for (id, verdict) in verdicts {
                let Some(Held { reservation, .. }) = book.holds.remove(id) else { continue };
                changed = true;
                match verdict {
                    Verdict::Settle(job) => {
                        book.account.settle(&reservation, &job.cost.unwrap_or_default(), job.images.len());
                    }
                    Verdict::Release => book.account.release(&reservation),
                }
            }
            if changed { Change::Write(book, ()) } else { Change::Leave(()) }
        };
        self.cells.change(&paths::book(key), clear).await
    }

    /// Looks at the job of every reservation: ends those that nobody will end any more, charges those that have
    /// ended, gives back what no job was made for. How many reservations went.
    pub(super) async fn audit(&self, key: &KeyId, now: OffsetDateTime) -> Result<usize> {
        let book = self.book(key).await?;
        let mut verdicts = Vec::new();
        for held in book.holds.values() {
            let job = self.try_reconcile(&held.owner, held.job, (now, RecoveryScope::ExpiredLeases)).await?;
            let verdict = match job.map(|(job, _)| job) {
                Some(job) if job.reservation.id == held.reservation.id => {
                    job.status.is_final().then(|| Verdict::Settle(Box::new(job)))
                }
                _ => (now - held.since > GRACE).then_some(Verdict::Release),
            };
            verdicts.extend(verdict.map(|verdict| (held.reservation.id, verdict)));
        }
        if !verdicts.is_empty() {
            self.clear(key, &verdicts).await?;
        }
        Ok(verdicts.len())
    }
}
