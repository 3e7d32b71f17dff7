//! The account of an API key as one object, with the job of each reservation.
//!
//! A job and its account are two objects and cannot be written together, so the reservation in the account
//! decides. It is written before the job, and a job is charged by removing its reservation, which can happen
//! only once. An [audit](BucketLedger::audit) compares reservations with jobs and repairs what a crash left
//! in between.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::cas::Change;
use crate::{BucketLedger, paths};
use tintype_ledger::Result;
use tintype_ledger::accept::NewJob;
use tintype_ledger::account::{Account, Charge, Reservation, ReuseKind, USAGE_RETENTION_DAYS};
use tintype_ledger::id::{JobId, KeyId, OwnerId};
use tintype_ledger::job::{JobRecord, RecoveryScope};
use tintype_ledger::limits::{LimitExceeded, Quota};
use tintype_ledger::policy::{Policy, utc_day};

/// The maximum time between the reservation of a job and its record. An older reservation without a job
/// belongs to a process that died.
pub(crate) const ACCEPT_GRACE: Duration = Duration::minutes(5);

/// The stored form of an account.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct AccountRecord {
    pub account: Account,
    /// The open reservations by their ids.
    #[serde(default, rename = "holds")]
    pub reservations: BTreeMap<Uuid, ReservationRecord>,
}

/// A reservation and its job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ReservationRecord {
    pub owner: OwnerId,
    pub job: JobId,
    #[serde(with = "time::serde::rfc3339")]
    since: OffsetDateTime,
    #[serde(rename = "hold")]
    pub reservation: Reservation,
}

/// How a reservation ends.
enum Resolution {
    /// The job has ended: charge its cost.
    Settle(Box<JobRecord>),
    /// No job was created.
    Release,
}

impl BucketLedger {
    pub(crate) async fn account_record(&self, key: &KeyId) -> Result<AccountRecord> {
        Ok(self.store.read(&paths::account(key)).await?.map(|versioned| versioned.record).unwrap_or_default())
    }

    /// Admits the job with this id and reserves its expected cost.
    pub(crate) async fn admit(
        &self,
        new: &NewJob,
        id: JobId,
        now: OffsetDateTime,
    ) -> Result<Result<(Reservation, Vec<Quota>), LimitExceeded>> {
        // Reservations of a process that died may be the reason why a limit is exceeded, so audit and try
        // again.
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
        // All attempts use the same id, so that a write whose answer was lost is recognised.
        let reservation_id = Uuid::new_v4();
        let admit = |record: Option<AccountRecord>| {
            let mut record = record.unwrap_or_default();
            if let Some(existing) = record.reservations.get(&reservation_id) {
                let quotas = record.account.quotas(&new.policy, now);
                return Change::Leave(Ok((existing.reservation.clone(), quotas)));
            }
            record.account.forget_days_before(utc_day(now - Duration::days(USAGE_RETENTION_DAYS)));
            match record.account.admit(&new.policy, now, new.reserve) {
                Ok(reservation) => {
                    let reservation = Reservation { id: reservation_id, ..reservation };
                    let open = ReservationRecord {
                        owner: new.owner.clone(),
                        job: id,
                        since: now,
                        reservation: reservation.clone(),
                    };
                    record.reservations.insert(reservation_id, open);
                    let quotas = record.account.quotas(&new.policy, now);
                    Change::Write(record, Ok((reservation, quotas)))
                }
                Err(exceeded) => Change::Leave(Err(exceeded)),
            }
        };
        self.store.change(&paths::account(&new.key), admit).await
    }

    /// Admits a request that an existing job answers.
    pub(crate) async fn admit_reuse(
        &self,
        key: &KeyId,
        policy: &Policy,
        kind: ReuseKind,
        now: OffsetDateTime,
    ) -> Result<Result<Vec<Quota>, LimitExceeded>> {
        let admit = |record: Option<AccountRecord>| {
            let mut record = record.unwrap_or_default();
            match record.account.admit_reuse(policy, now, kind) {
                Ok(()) => {
                    let quotas = record.account.quotas(policy, now);
                    Change::Write(record, Ok(quotas))
                }
                Err(exceeded) => Change::Leave(Err(exceeded)),
            }
        };
        self.store.change(&paths::account(key), admit).await
    }

    /// Charges a job that has ended. Repeated calls have no effect.
    pub(crate) async fn settle(&self, job: &JobRecord) -> Result<()> {
        self.resolve(&job.key, &[(job.reservation.id, Resolution::Settle(Box::new(job.clone())))]).await
    }

    /// Releases a reservation for which no job was created.
    pub(crate) async fn release(&self, key: &KeyId, reservation: &Reservation) -> Result<()> {
        self.resolve(key, &[(reservation.id, Resolution::Release)]).await
    }

    async fn resolve(&self, key: &KeyId, resolutions: &[(Uuid, Resolution)]) -> Result<()> {
        let resolve = |record: Option<AccountRecord>| {
            let mut record = record.unwrap_or_default();
            let mut changed = false;
            for (id, resolution) in resolutions {
                let Some(ReservationRecord { reservation, .. }) = record.reservations.remove(id) else {
                    continue;
                };
                changed = true;
                match resolution {
                    Resolution::Settle(job) => {
                        let cost = job.cost.unwrap_or_default();
                        let charge = Charge { cost: &cost, images: job.images.len(), model: job.model() };
                        record.account.settle(&reservation, charge);
                    }
                    Resolution::Release => record.account.release(&reservation),
                }
            }
            if changed { Change::Write(record, ()) } else { Change::Leave(()) }
        };
        self.store.change(&paths::account(key), resolve).await
    }

    /// Checks the job of every reservation: recovers lost jobs, charges ended jobs, and releases reservations
    /// without a job. Returns the number of removed reservations.
    pub(crate) async fn audit(&self, key: &KeyId, now: OffsetDateTime) -> Result<usize> {
        let record = self.account_record(key).await?;
        let mut resolutions = Vec::new();
        for open in record.reservations.values() {
            let job = self.reconcile_job(&open.owner, open.job, now, RecoveryScope::ExpiredLeases).await;
            // An unreadable job keeps its reservation.
            let Some(job) = self.skip_unreadable(job)? else { continue };
            let resolution = match job.map(|(job, _)| job) {
                Some(job) if job.reservation.id == open.reservation.id => {
                    job.status.is_final().then(|| Resolution::Settle(Box::new(job)))
                }
                _ => (now - open.since > ACCEPT_GRACE).then_some(Resolution::Release),
            };
            resolutions.extend(resolution.map(|resolution| (open.reservation.id, resolution)));
        }
        if !resolutions.is_empty() {
            self.resolve(key, &resolutions).await?;
        }
        Ok(resolutions.len())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use time::macros::datetime;
    use tintype_ledger::money::Spend;
    use tintype_ledger::stored;

    use super::*;

    #[test]
    fn the_stored_form_of_an_account_with_reservations_does_not_change() {
        let now = datetime!(2026-11-23 12:00 UTC);
        let mut record = AccountRecord::default();
        let reserve = Spend { engine_ms: 500, amount: "0.01usd".parse().ok() };
        let admitted = record.account.admit(&Policy::default(), now, reserve).expect("admitted");
        let open = ReservationRecord {
            owner: "acme".parse().expect("a name"),
            job: JobId::from(Uuid::nil()),
            since: now,
            reservation: Reservation { id: Uuid::nil(), ..admitted },
        };
        record.reservations.insert(Uuid::nil(), open);
        let nil = "00000000-0000-0000-0000-000000000000";
        let expected = json!({
            "account": {"in_flight": 1, "days": {"2026-11-23": {
                "jobs": 1, "pictures": 0, "stored": 0, "joined": 0,
                "spent": {"engine_ms": 0},
                "reserved": {"engine_ms": 500, "money": {"usd": 10_000}},
            }}},
            "holds": {nil: {
                "owner": "acme", "job": nil, "since": "2026-11-23T12:00:00Z",
                "hold": {"id": nil, "day": "2026-11-23", "reserved": {"engine_ms": 500, "amount": "0.01usd"}},
            }},
        });
        assert_eq!(serde_json::to_value(&record).expect("plain data"), expected);
        let read: AccountRecord =
            stored::decode(|| "account".to_owned(), expected.to_string().as_bytes()).expect("its own text");
        assert_eq!(serde_json::to_value(&read).expect("plain data"), expected);
        // Records of the first versions have no reservations.
        let first = br#"{"account": {"in_flight": 0, "days": {}}}"#;
        let read: AccountRecord = stored::decode(|| "account".to_owned(), first).expect("an old record");
        assert!(read.reservations.is_empty());
    }
}
