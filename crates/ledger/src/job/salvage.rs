//! Ends a job whose record is damaged.

use time::OffsetDateTime;
use uuid::Uuid;

use super::{JobRecord, OnWorkerLoss, Reason, Status};
use crate::account::Reservation;
use crate::id::{Fingerprint, JobId, KeyId, OwnerId};
use crate::money::Spend;
use crate::policy::utc_day;
use crate::stored::Members;

/// The key of a job whose record does not have it any more. No account has this name, because the ids of
/// keys are hexadecimal.
const UNKNOWN_KEY: &str = "unknown";

impl JobRecord {
    /// A failed job in place of a damaged record, with the members of that record that can be read.
    pub fn from_damaged(owner: OwnerId, id: JobId, members: &Members, now: OffsetDateTime) -> Self {
        let created = members.time("created").unwrap_or_else(|| id.created());
        let unknown_key = || -> KeyId { UNKNOWN_KEY.parse().expect("a valid name") };
        let no_reservation = || Reservation { id: Uuid::nil(), day: utc_day(created), reserved: Spend::ZERO };
        Self {
            id,
            owner,
            key: members.get("key").unwrap_or_else(unknown_key),
            request: members.get("request").unwrap_or_default(),
            model: members.get("model").unwrap_or_default(),
            picture_key: None,
            request_key: members.get("fingerprint").unwrap_or_else(|| Fingerprint::of(&[])),
            on_worker_loss: members.get("interrupted").unwrap_or(OnWorkerLoss::Requeue),
            status: Status::Failed(Reason::UnreadableRecord),
            created,
            started: members.time("started"),
            finished: Some(members.time("finished").unwrap_or(now)),
            deadline: members.time("deadline"),
            reservation: members.get("hold").unwrap_or_else(no_reservation),
            upstream_error: None,
            cost: Some(members.get("cost").unwrap_or(Spend::ZERO)),
            // Kept so that a deletion of the job deletes its images.
            images: members.get("images").unwrap_or_default(),
            warnings: members.get("warnings").unwrap_or_default(),
            idempotency_key: members.get("idempotency_key"),
            waiter: None,
            runs: members.get("runs").unwrap_or(0),
            receipt: None,
            lease: None,
            cancel_requested: members.get("cancel_requested").unwrap_or(false),
            delivered: members.time("collected"),
            events_key: members.get("events_key"),
            deleted: members.get("deleted").unwrap_or(false),
        }
    }
}
