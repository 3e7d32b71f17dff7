//! Whether a remote engine can be called.

use tintype_core::causes::causes;
use tintype_core::engine::{CallObstacle, EngineError};
use tokio::sync::{Notify, watch};

/// Whether the remote engine can be called, as far as it is known.
#[derive(Debug)]
pub(crate) struct Availability {
    obstacle: watch::Sender<Option<CallObstacle>>,
    requested: Notify,
}

impl Availability {
    pub(crate) fn new() -> Self {
        Self { obstacle: watch::Sender::new(None), requested: Notify::new() }
    }

    /// Why the engine cannot be called.
    pub(crate) fn obstacle(&self) -> Option<CallObstacle> {
        *self.obstacle.borrow()
    }

    /// Requests a check before the next regular one, because a call has failed.
    pub(crate) fn check_now(&self) {
        self.requested.notify_one();
    }

    /// Waits until a check is requested.
    pub(crate) async fn check_requested(&self) {
        self.requested.notified().await;
    }

    /// Records the result of a check, and logs it if it differs from the last one.
    pub(crate) fn record(&self, model: &str, result: Result<(), EngineError>) {
        let (obstacle, error) = match result {
            Err(EngineError::Unavailable { obstacle, source }) => (Some(obstacle), Some(source)),
            // Other errors show no obstacle: the check itself may not be permitted.
            Ok(()) | Err(_) => (None, None),
        };
        let last = self.obstacle.send_replace(obstacle);
        match (obstacle, error) {
            (Some(obstacle), Some(error)) if last != Some(obstacle) => {
                tracing::warn!(
                    model,
                    reason = %obstacle,
                    error = %causes(&*error),
                    "remote engine cannot be called, /readyz answers 503 until it can"
                );
            }
            (None, _) if last.is_some() => tracing::info!(model, "remote engine can be called again"),
            _ => {}
        }
    }
}
