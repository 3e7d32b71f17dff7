//! Finds records that cannot be read, and ends the jobs of damaged ones.

use serde::de::DeserializeOwned;
use time::OffsetDateTime;
use tintype_core::store::Condition;

use crate::accept::Pointer;
use crate::accounts::AccountRecord;
use crate::{BucketLedger, paths};
use tintype_ledger::Result;
use tintype_ledger::id::{JobId, OwnerId};
use tintype_ledger::job::JobRecord;
use tintype_ledger::key::KeyRecord;
use tintype_ledger::quarantine::{Repair, UnreadableRecord};

impl BucketLedger {
    /// Returns all records that cannot be decoded.
    pub(crate) async fn check_all(&self) -> Result<Vec<UnreadableRecord>> {
        let mut found = Vec::new();
        self.check_records::<JobRecord>(paths::JOBS, &mut found).await?;
        self.check_records::<KeyRecord>(paths::KEYS, &mut found).await?;
        self.check_records::<AccountRecord>(paths::ACCOUNTS, &mut found).await?;
        self.check_records::<Pointer>(paths::REQUEST_KEYS, &mut found).await?;
        self.check_records::<Pointer>(paths::IDEMPOTENCY_KEYS, &mut found).await?;
        Ok(found)
    }

    async fn check_records<T: DeserializeOwned + Send>(
        &self,
        prefix: &str,
        found: &mut Vec<UnreadableRecord>,
    ) -> Result<()> {
        let mut listed = self.store.list(prefix, None, usize::MAX).await?;
        listed.retain(|path| path != paths::PROBE);
        for (path, read) in self.store.read_each::<T>(listed).await? {
            found.extend(read.err().map(|error| UnreadableRecord::new(paths::name(&path), &error)));
        }
        Ok(())
    }

    /// Ends the jobs whose records are damaged, and releases their reservations.
    pub(crate) async fn repair_all(&self, now: OffsetDateTime) -> Result<Repair> {
        let (damaged, left): (Vec<_>, Vec<_>) =
            self.check_all().await?.into_iter().partition(|record| record.damaged_job().is_some());
        let mut repair = Repair { left, reservations_released: true, ..Repair::default() };
        if damaged.is_empty() {
            return Ok(Repair { reservations_released: false, ..repair });
        }
        let paths = self.store.list(paths::ACCOUNTS, None, usize::MAX).await?;
        let accounts = self.store.read_each::<AccountRecord>(paths).await?;
        repair.reservations_released = accounts.iter().all(|(_, account)| account.is_ok());
        let accounts: Vec<_> =
            accounts.into_iter().filter_map(|(path, account)| Some((path, account.ok()?))).collect();
        for record in damaged {
            let Some((owner, id)) = record.damaged_job() else { continue };
            if self.end_damaged(owner, id, &accounts, now).await? {
                self.store.quarantine.remove(&record.name);
                repair.ended.push(record);
            } else {
                repair.left.push(record);
            }
        }
        Ok(repair)
    }

    /// Replaces a damaged record. False if another process has changed it.
    async fn end_damaged(
        &self,
        owner: &OwnerId,
        id: JobId,
        accounts: &[(String, AccountRecord)],
        now: OffsetDateTime,
    ) -> Result<bool> {
        let path = paths::job(owner, id);
        let Some(damaged) = self.store.read_damaged(&path).await? else { return Ok(false) };
        let mut job = JobRecord::from_damaged(owner.clone(), id, &damaged.record, now);
        // The account has the key and the reservation of an open job, which the record may have lost.
        for (path, account) in accounts {
            let key = path.strip_prefix(paths::ACCOUNTS).and_then(|key| key.parse().ok());
            let open = account.reservations.values().find(|open| open.owner == *owner && open.job == id);
            if let (Some(key), Some(open)) = (key, open) {
                (job.key, job.reservation) = (key, open.reservation.clone());
            }
        }
        if self.store.write(&path, &job, Condition::Unchanged(damaged.etag)).await?.is_none() {
            return Ok(false);
        }
        self.skip_unreadable(self.settle_ended(&job).await)?;
        Ok(true)
    }
}
