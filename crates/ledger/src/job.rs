//! Jobs: what is kept of one from the moment it is accepted, and the states it goes through.
//!
//! ```text
//! queued ──start──▶ running ──end──▶ succeeded · failed · canceled
//!   ▲  └──cancel, deadline──▶ …        │
//!   └──────────── lose ◀───────────────┘  the worker died
//! ```
//! A job with a receipt is in the hands of others, who go on with it whatever becomes of its worker. Queued, it waits for
//! somebody to ask them for the result.
//!
//! The changes are pure; whoever keeps jobs makes reading, changing and writing one step.

mod changes;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use tintype_core::picture::Format;

use crate::account::Reservation;
use crate::id::{Fingerprint, JobId, KeyId, OwnerId, WorkerId};
use crate::money::Spend;

/// How often a job is begun before it is given up: one that brings the process down with it must not do so for ever.
pub const MAX_RUNS: u32 = 3;
/// The same for a job that others work on: to ask for its result again costs next to nothing, and until it is there machines
/// may be restarted often.
pub const MAX_REMOTE_RUNS: u32 = 20;

/// Why a job failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The engine broke, or the model did.
    Engine,
    /// The pictures could not be encoded or stored.
    Store,
    /// It did not end before its deadline.
    Deadline,
    /// It took more than twice what was reserved for it, and was stopped.
    Overrun,
    /// A paid call was interrupted: it may have been carried out and paid for. It is not made again.
    OutcomeUnknown,
    /// The process died under it [`MAX_RUNS`] times.
    Crashed,
    /// A remote engine took no work then. Nothing was made, so it may be asked for again, also with the same idempotency
    /// key.
    Busy,
    /// A remote model answered with an error of its own, and made nothing.
    Model,
}

impl Reason {
    /// The name as the API shows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Engine => "engine",
            Self::Store => "store",
            Self::Deadline => "deadline",
            Self::Overrun => "overrun",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::Crashed => "crashed",
            Self::Busy => "busy",
            Self::Model => "model",
        }
    }
}

/// Why a job failed, with what is known beyond the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The reason.
    pub reason: Reason,
    /// What somebody else said about it.
    pub upstream_error: Option<UpstreamError>,
}

impl From<Reason> for Failure {
    fn from(reason: Reason) -> Self {
        Self { reason, upstream_error: None }
    }
}

/// What a remote engine or model said when it made nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamError {
    /// The status that a model answered with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Its words for the client; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// In how many seconds it is worth another try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
}

/// Where a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "is", content = "reason", rename_all = "snake_case")]
pub enum Status {
    /// Accepted, waiting for a worker.
    Queued,
    /// A worker has it.
    Running,
    /// Its pictures are stored.
    Succeeded,
    /// There is no picture.
    Failed(Reason),
    /// Stopped because nobody wants it any more.
    Canceled,
}

impl Status {
    /// True once nothing more happens to the job.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }

    /// The name as the API shows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed(_) => "failed",
            Self::Canceled => "canceled",
        }
    }
}

/// What becomes of a running job whose worker died.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnWorkerLoss {
    /// It is run again: a local engine, at least once and charged once.
    Requeue,
    /// It fails as [`Reason::OutcomeUnknown`] and is charged what was reserved: somebody may have been paid, and a
    /// budget must count that. Unless there is a receipt, so that those who work on it can be asked.
    OutcomeUnknown,
}

/// A worker's hold on a job; without a heartbeat it ends by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Who has it.
    pub worker: WorkerId,
    /// Until when.
    #[serde(with = "time::serde::rfc3339")]
    pub until: OffsetDateTime,
}

/// A picture of a job, in the object store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredImage {
    /// The object's key.
    pub key: String,
    /// The seed of this picture.
    pub seed: u64,
    /// Pixels per row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// The file's format.
    pub format: Format,
}

/// A job as the ledger keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobRecord {
    /// Its id.
    pub id: JobId,
    /// Whose it is.
    pub owner: OwnerId,
    /// The key it was asked for with, whose account pays.
    pub key: KeyId,
    /// The request as the service wrote it down; the ledger does not look inside.
    pub request: Value,
    /// Equal for requests that may share a picture.
    pub fingerprint: Fingerprint,
    /// What a dead worker means.
    #[serde(rename = "interrupted")]
    pub on_worker_loss: OnWorkerLoss,
    /// Where it is.
    pub status: Status,
    /// When it was accepted.
    #[serde(with = "time::serde::rfc3339")]
    pub created: OffsetDateTime,
    /// When a worker last took it; of a job that others work on, when it was given to them.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub started: Option<OffsetDateTime>,
    /// When it ended.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub finished: Option<OffsetDateTime>,
    /// When it is given up if it has not ended. A running one is stopped by its worker; this is for those that wait.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub deadline: Option<OffsetDateTime>,
    /// What was reserved for it.
    #[serde(rename = "hold")]
    pub reservation: Reservation,
    /// What a remote engine said, if it has failed by that.
    #[serde(default, rename = "said", skip_serializing_if = "Option::is_none")]
    pub upstream_error: Option<UpstreamError>,
    /// What it was charged, once it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Spend>,
    /// Its pictures, once it has succeeded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<StoredImage>,
    /// What the client should know, as the service wrote it down.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Value>,
    /// The idempotency key it was asked for with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// The process in which a client waits for it, if it is made for that client alone; without it, it is made whether
    /// anybody waits or not. The ledger only remembers it.
    #[serde(default, rename = "attended", skip_serializing_if = "Option::is_none")]
    pub waiter: Option<WorkerId>,
    /// How often it was begun.
    #[serde(default)]
    pub runs: u32,
    /// How to ask for the result those who work on it, as the engine wrote it down; the ledger does not look inside. Gone once
    /// the job has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<String>,
    /// Who runs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
    /// Somebody asked that it be stopped while it was running.
    #[serde(default)]
    pub cancel_requested: bool,
    /// When somebody was first given its pictures.
    #[serde(
        default,
        rename = "collected",
        with = "time::serde::rfc3339::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub delivered: Option<OffsetDateTime>,
    /// Its owner deleted it: nobody is shown it any more.
    #[serde(default)]
    pub deleted: bool,
}

/// One attempt at a job. A worker that was taken for dead holds one that is no longer good.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Run {
    /// Whose job.
    pub owner: OwnerId,
    /// Which job.
    pub job: JobId,
    /// Which attempt, from 1.
    pub number: u32,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// With pictures.
    Succeeded {
        /// All of them, in order.
        images: Vec<StoredImage>,
        /// What the client should know.
        warnings: Vec<Value>,
    },
    /// Without.
    Failed(Failure),
    /// Stopped because nobody wanted it any more.
    Canceled,
}

/// Which running jobs count as lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecoveryScope {
    /// Those whose lease has run out.
    ExpiredLeases,
    /// All of them: for the one process of a laptop as it starts, when nobody else can be running anything.
    All,
}

#[cfg(test)]
mod tests;
