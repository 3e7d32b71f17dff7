//! Why there is no picture, by meaning. What status that becomes is the dialect's business.

use std::sync::Arc;
use std::time::Duration;

use tintype_core::engine::EngineError;
use tintype_core::store::StoreError;
use tintype_core::violation::Violation;
use tintype_picture::PictureError;
use tokio::task::JoinError;

/// Why there is no picture. `Clone`, because everybody who waits for a job is told.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ServiceError {
    /// The engine still loads its model.
    #[error("the model is still being loaded")]
    NotReady,
    /// The engine could not be started and will not be; the cause was logged when that happened.
    #[error("the model could not be loaded")]
    NoEngine,
    /// The service is shutting down and takes no new work.
    #[error("the service is shutting down")]
    Draining,
    /// As many requests wait as may.
    #[error("the queue is full")]
    QueueFull {
        /// When a place is likely to be free.
        retry_after: Duration,
    },
    /// The request breaks these rules; never empty.
    #[error("the request is not valid")]
    Invalid(Vec<Violation>),
    /// Stopped before it was finished: nobody waited for it, or the service shut down.
    #[error("the work was stopped before it was finished")]
    Abandoned,
    /// The engine broke.
    #[error("the engine made no picture")]
    Engine(#[source] Arc<EngineError>),
    /// The picture could not be made into a file.
    #[error("the picture could not be encoded")]
    Encode(#[source] Arc<PictureError>),
    /// The picture could not be stored, or its link not be signed.
    #[error("the picture could not be stored")]
    Store(#[source] Arc<StoreError>),
    /// A part of the service panicked.
    #[error("a part of the service broke down")]
    Panicked(#[source] Arc<JoinError>),
}

impl From<EngineError> for ServiceError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Abandoned => Self::Abandoned,
            EngineError::Failed(_) => Self::Engine(Arc::new(error)),
        }
    }
}

impl From<PictureError> for ServiceError {
    fn from(error: PictureError) -> Self {
        Self::Encode(Arc::new(error))
    }
}

impl From<StoreError> for ServiceError {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

impl From<JoinError> for ServiceError {
    fn from(error: JoinError) -> Self {
        Self::Panicked(Arc::new(error))
    }
}
