//! The record of a job, and its states.
//!
//! ```text
//! queued ──start──▶ running ──end──▶ succeeded · failed · canceled
//!   ▲  └──cancel, deadline──▶ …        │
//!   └──────────── requeue ◀────────────┘  the worker died or shut down
//! ```
//! A job with a [receipt](JobRecord::receipt) is a *remote job*: a remote service works on it and continues
//! even if the worker dies. A queued remote job waits for a worker that queries its result.
//!
//! The changes of a record are pure functions. A ledger must read, change and write a record in one atomic
//! step.

mod changes;
mod events_key;
mod salvage;
mod stored_status;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use tintype_core::picture::Format;

use crate::account::Reservation;
use crate::id::{Fingerprint, JobId, KeyId, OwnerId, WorkerId};
use crate::money::Spend;
use stored_status::StoredStatus;

pub use events_key::EventsKey;

/// The maximum number of runs of a local job. A job that crashes its process fails after this number of runs.
pub const MAX_RUNS: u32 = 3;
/// The maximum number of runs of a remote job. It is higher because querying a result costs almost nothing,
/// and a worker may be restarted often before the result is available.
pub const MAX_REMOTE_RUNS: u32 = 20;

/// Why a job failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The engine or the model failed.
    Engine,
    /// The images could not be encoded or stored.
    Store,
    /// The image store was full. Nothing was charged.
    StoreFull,
    /// The job did not end before its deadline.
    Deadline,
    /// The worker stopped the job because it used more than twice its reservation.
    Overrun,
    /// A paid call was interrupted. The remote service may have executed and charged it, so it is not
    /// repeated.
    OutcomeUnknown,
    /// The process died during each of [`MAX_RUNS`] runs.
    Crashed,
    /// The remote engine cannot be called, for example because this server has no credentials for it. Nothing
    /// was generated or charged.
    EngineUnavailable,
    /// A remote engine had no capacity. No image was generated, so the client can send the request again,
    /// also with the same idempotency key.
    Busy,
    /// A remote model returned an error and generated no image.
    Model,
    /// The stored record of the job was damaged, and a repair of the ledger ended the job.
    UnreadableRecord,
    /// The model computed NaN or infinity instead of an image.
    NotFinite,
}

impl Reason {
    /// The name in the API and in stored records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Engine => "engine",
            Self::Store => "store",
            Self::StoreFull => "store_full",
            Self::Deadline => "deadline",
            Self::Overrun => "overrun",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::Crashed => "crashed",
            Self::EngineUnavailable => "engine_unavailable",
            Self::Busy => "busy",
            Self::Model => "model",
            Self::UnreadableRecord => "unreadable_record",
            Self::NotFinite => "not_finite",
        }
    }
}

/// Why a job failed, with the remote service's error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The reason.
    pub reason: Reason,
    /// The error of the remote engine or model; `None` for other failures.
    pub upstream_error: Option<UpstreamError>,
}

impl From<Reason> for Failure {
    fn from(reason: Reason) -> Self {
        Self { reason, upstream_error: None }
    }
}

/// The error that a remote engine or model returned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamError {
    /// The HTTP status of the model's response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The message for the client; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Seconds after which a retry may succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
}

/// The state of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "StoredStatus", try_from = "StoredStatus")]
pub enum Status {
    /// The job is accepted and waits for a worker.
    Queued,
    /// A worker runs the job.
    Running,
    /// The images are stored.
    Succeeded,
    /// The job ended without images.
    Failed(Reason),
    /// The job was stopped: a client canceled it, or its client disconnected.
    Canceled,
}

impl Status {
    /// True if the job has ended: its status never changes again.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }

    /// The name in the API and in stored records.
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

/// What happens to a running job whose worker dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnWorkerLoss {
    /// The job is queued again. Jobs of local engines run at least once and are charged once.
    Requeue,
    /// The job fails with [`Reason::OutcomeUnknown`] and is charged the reserved amount, because the remote
    /// service may have charged the call, and budgets must include that. A job with a receipt is queued
    /// instead, because a worker can query its result.
    OutcomeUnknown,
}

/// A worker's exclusive right to run a job. It ends at `until` unless a heartbeat extends it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The worker that runs the job.
    pub worker: WorkerId,
    /// The time at which the lease expires.
    #[serde(with = "time::serde::rfc3339")]
    pub until: OffsetDateTime,
}

/// An image of a job, in the object store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredImage {
    /// The object key.
    pub key: String,
    /// The seed of the image.
    pub seed: u64,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// The file format.
    pub format: Format,
}

/// The stored record of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobRecord {
    /// The id.
    pub id: JobId,
    /// The owner.
    pub owner: OwnerId,
    /// The API key of the request, whose account is charged.
    pub key: KeyId,
    /// The name of the model; empty in records of versions before 0.2. See [`model`](Self::model).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub model: String,
    /// The request, in a form that the worker reads. The ledger does not interpret it, except for the model of
    /// records of versions before 0.2.
    pub request: Value,
    /// Equal for requests that may share a job in flight.
    #[serde(rename = "fingerprint")]
    pub request_key: Fingerprint,
    /// Equal for jobs with the same images, once the job has succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picture_key: Option<Fingerprint>,
    /// What happens to the job if its worker dies.
    #[serde(rename = "interrupted")]
    pub on_worker_loss: OnWorkerLoss,
    /// The state.
    pub status: Status,
    /// The time at which the job was accepted.
    #[serde(with = "time::serde::rfc3339")]
    pub created: OffsetDateTime,
    /// The start of the latest run; for a remote job, the start of the run that submitted it to the remote
    /// service.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub started: Option<OffsetDateTime>,
    /// The time at which the job ended.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub finished: Option<OffsetDateTime>,
    /// The time at which the job fails if it has not ended. The ledger applies it to queued and lost jobs;
    /// the worker stops a running job.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub deadline: Option<OffsetDateTime>,
    /// The cost that was reserved at admission.
    #[serde(rename = "hold")]
    pub reservation: Reservation,
    /// The error of the remote engine or model that made the job fail.
    #[serde(default, rename = "said", skip_serializing_if = "Option::is_none")]
    pub upstream_error: Option<UpstreamError>,
    /// The charged cost, once the job has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Spend>,
    /// The images, once the job has succeeded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<StoredImage>,
    /// Warnings for the client. The ledger does not interpret them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Value>,
    /// The idempotency key of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// The process in which a client waits for the job. If it is set, the job is canceled when that client
    /// disconnects; if not, the job runs without a client. The ledger only stores it.
    #[serde(default, rename = "attended", skip_serializing_if = "Option::is_none")]
    pub waiter: Option<WorkerId>,
    /// The number of runs that were started.
    #[serde(default)]
    pub runs: u32,
    /// The data with which the engine queries the result of a remote job; `None` for other jobs and for ended
    /// jobs. The ledger does not interpret it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<String>,
    /// The lease of the worker that runs the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
    /// Whether the job was canceled or deleted while it was running.
    #[serde(default)]
    pub cancel_requested: bool,
    /// The time at which a client first received the images.
    #[serde(
        default,
        rename = "collected",
        with = "time::serde::rfc3339::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub delivered: Option<OffsetDateTime>,
    /// The secret of the job's event URL; `None` in records of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events_key: Option<EventsKey>,
    /// Whether the owner deleted the job. A deleted job is invisible to its owner.
    #[serde(default)]
    pub deleted: bool,
}

/// One run of a job. After a worker has lost its lease, the ledger rejects reports of its run.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Run {
    /// The job's owner.
    pub owner: OwnerId,
    /// The job.
    pub job: JobId,
    /// The number of the run, from 1.
    pub number: u32,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The images are stored.
    Succeeded {
        /// All images of the job, in order.
        images: Vec<StoredImage>,
        /// Warnings for the client.
        warnings: Vec<Value>,
        /// Equal for jobs with the same images; `None` if the job's images must not answer other requests.
        picture_key: Option<Fingerprint>,
    },
    /// The run ended without images.
    Failed(Failure),
    /// The worker stopped the run on request.
    Canceled,
}

/// Which running jobs count as lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecoveryScope {
    /// Jobs whose lease has expired.
    ExpiredLeases,
    /// All running jobs. For a deployment with a single process, at its start, when no other worker can
    /// exist.
    All,
}

#[cfg(test)]
mod tests;
