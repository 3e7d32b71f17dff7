//! The service's errors. The APIs map them to status codes.

use std::sync::Arc;
use std::time::Duration;

use tintype_core::store::StoreError;
use tintype_core::violation::Violation;
use tintype_ledger::job::Failure;
use tintype_ledger::limits::{LimitExceeded, Quota};
use tintype_ledger::money::Currency;
use tokio::task::JoinError;

/// An error of the service. It is `Clone` because every client that waits for a job receives it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ServiceError {
    /// The engine is loading its model.
    #[error("the model is still loading")]
    NotReady,
    /// The engine could not be started and will not start later; the cause is in the log.
    #[error("the model failed to load")]
    NoEngine,
    /// The service has no model with this name or alias.
    #[error("unknown model `{0}`")]
    UnknownModel(String),
    /// The API key is not allowed to use this model.
    #[error("the API key is not allowed to use the model `{0}`")]
    ModelNotAllowed(String),
    /// The service is shutting down: it accepts no new jobs, and does not finish the jobs that are left.
    #[error("the service is shutting down")]
    Draining,
    /// The API key is missing or invalid.
    #[error("invalid API key: {0}")]
    Unauthenticated(KeyError),
    /// The call requires an API key with admin rights.
    #[error("an API key with admin rights is required")]
    NotAdmin,
    /// The queue has reached its limit.
    #[error("the queue is full")]
    QueueFull {
        /// Estimated time until the queue has room.
        retry_after: Duration,
    },
    /// The job or its owner has the maximum number of event streams.
    #[error("the limit of {limit} event streams is reached")]
    TooManyWatchers {
        /// What the limit applies to.
        scope: WatcherScope,
        /// The maximum number of streams.
        limit: usize,
    },
    /// The request exceeds a quota of the API key.
    #[error(transparent)]
    LimitExceeded(Box<LimitRejection>),
    /// The API key has a budget in a currency without a price, so usage could never be charged to it.
    #[error("the API key has a budget in {0}, but no price is set in {0}")]
    Unpriced(Currency),
    /// The violations of the request; never empty.
    #[error("invalid request")]
    Invalid(Vec<Violation>),
    /// The idempotency key was used for a different request.
    #[error("the idempotency key was used for another request")]
    IdempotencyConflict,
    /// The named resource does not exist or belongs to another owner.
    #[error("{0} not found")]
    NotFound(&'static str),
    /// The job has no images yet, or ended without images.
    #[error("the job has no images")]
    NoPictures,
    /// The job was canceled by a client of its owner.
    #[error("the job was canceled")]
    Canceled,
    /// The job was stopped before it finished, because no client waited for it.
    #[error("the job was stopped because no client waited for it")]
    Abandoned,
    /// The job failed; the cause is in the log.
    #[error("the job failed: {}", .0.reason.name())]
    Failed(Failure),
    /// The object store failed to sign a URL, or to read, write or delete an image.
    #[error("the object store failed")]
    Store(#[source] Arc<StoreError>),
    /// A call to the ledger failed.
    #[error("the ledger failed")]
    Ledger(#[source] Arc<tintype_ledger::Error>),
    /// A task of the service panicked.
    #[error("a task of the service panicked")]
    Panicked(#[source] Arc<JoinError>),
}

/// Why an API key is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The request has no key.
    #[error("missing")]
    Missing,
    /// The text is not a well-formed key.
    #[error("malformed")]
    Malformed,
    /// The ledger has no such key.
    #[error("unknown")]
    Unknown,
    /// The key has expired.
    #[error("expired")]
    Expired,
    /// The key was revoked.
    #[error("revoked")]
    Revoked,
    /// The token of an event URL is not valid for the job, or its key or the job no longer exists.
    #[error("invalid event token")]
    InvalidToken,
    /// The token of an event URL has expired.
    #[error("expired event token")]
    ExpiredToken,
}

/// The quota that a request exceeds, and the state of all quotas of the key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{exceeded}")]
pub struct LimitRejection {
    /// The exceeded limit, and when a retry can succeed.
    pub exceeded: LimitExceeded,
    /// The remaining quotas of the key.
    pub quotas: Vec<Quota>,
}

impl From<StoreError> for ServiceError {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

impl From<tintype_ledger::Error> for ServiceError {
    fn from(error: tintype_ledger::Error) -> Self {
        Self::Ledger(Arc::new(error))
    }
}

impl From<JoinError> for ServiceError {
    fn from(error: JoinError) -> Self {
        Self::Panicked(Arc::new(error))
    }
}

/// What a limit of event streams applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatcherScope {
    /// The streams of one job.
    Job,
    /// The streams of all jobs of one owner.
    Owner,
}
