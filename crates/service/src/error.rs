//! Why there is no answer of the kind that was asked for, by meaning. What status that becomes is the dialect's business.

use std::sync::Arc;
use std::time::Duration;

use tintype_core::store::StoreError;
use tintype_core::violation::Violation;
use tintype_ledger::job::Failure;
use tintype_ledger::limits::{LimitExceeded, Quota};
use tintype_ledger::money::Currency;
use tokio::task::JoinError;

/// Why there is no answer. `Clone`, because everybody who waits for a job is told.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ServiceError {
    /// The engine still loads its model.
    #[error("the model is still loading")]
    NotReady,
    /// The engine could not be started and will not be; the cause was logged when that happened.
    #[error("the model failed to load")]
    NoEngine,
    /// The service is shutting down and takes no new work.
    #[error("the service is shutting down")]
    Draining,
    /// No key, or none that is good.
    #[error("invalid API key: {0}")]
    Unauthenticated(KeyError),
    /// Only an admin key may do this.
    #[error("an API key with admin rights is required")]
    NotAdmin,
    /// As many requests wait as may.
    #[error("the queue is full")]
    QueueFull {
        /// When a place is likely to be free.
        retry_after: Duration,
    },
    /// A limit of the key does not let it in.
    #[error(transparent)]
    LimitExceeded(Box<LimitRejection>),
    /// The key has a budget in a currency in which nothing here has a price, so that it would never be used up.
    #[error("the API key has a budget in {0}, but no price is set in {0}")]
    Unpriced(Currency),
    /// The request breaks these rules; never empty.
    #[error("invalid request")]
    Invalid(Vec<Violation>),
    /// The idempotency key was used for another request.
    #[error("the idempotency key was used for another request")]
    IdempotencyConflict,
    /// No such job or key, or not the caller's.
    #[error("{0} not found")]
    NotFound(&'static str),
    /// The job has no picture yet, or never will.
    #[error("the job has no images")]
    NoPictures,
    /// Stopped because the client, or another with the same key, said so.
    #[error("the job was canceled")]
    Canceled,
    /// Not finished here: nobody waited for it, or the service shut down.
    #[error("the job was stopped before it finished")]
    Abandoned,
    /// The job failed; the cause was logged when that happened.
    #[error("the job failed: {}", .0.reason.name())]
    Failed(Failure),
    /// A link could not be signed, or a picture not be deleted.
    #[error("the object store failed")]
    Store(#[source] Arc<StoreError>),
    /// The ledger is not to be had.
    #[error("the ledger failed")]
    Ledger(#[source] Arc<tintype_ledger::Error>),
    /// A part of the service panicked.
    #[error("a task of the service panicked")]
    Panicked(#[source] Arc<JoinError>),
}

/// What is wrong with the key that was, or was not, presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// There is none.
    #[error("missing")]
    Missing,
    /// It does not look like a key of ours, or was mistyped.
    #[error("malformed")]
    Malformed,
    /// No such key.
    #[error("unknown")]
    Unknown,
    /// Its time is over.
    #[error("expired")]
    Expired,
    /// It was taken back.
    #[error("revoked")]
    Revoked,
}

/// A limit that does not let a request in, and what is left of all of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{exceeded}")]
pub struct LimitRejection {
    /// The limit, and when to come back.
    pub exceeded: LimitExceeded,
    /// What is left of the key's limits.
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
