//! Watches whether a remote engine can be called, and reports it in the log and in the readiness.

use std::sync::Weak;
use std::time::Duration;

use tintype_core::causes::causes;
use tintype_core::engine::{CallObstacle, EngineError};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use crate::models::Model;

/// Interval between checks of an engine that can be called.
const INTERVAL: Duration = Duration::from_secs(5 * 60);
/// The same for an engine that cannot be called, so that the readiness follows soon after a correction.
const RETRY_INTERVAL: Duration = Duration::from_secs(15);
/// Time limit of one check. A check without a result shows no obstacle.
const TIMEOUT: Duration = Duration::from_secs(10);

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

    /// Records the result of a check, and logs it if it differs from the last one.
    fn record(&self, model: &str, result: Result<(), EngineError>) {
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

/// Checks the remote engine of a model at once and then periodically, until the service is dropped or the engine is
/// unloaded.
pub(crate) async fn watch_engine(model: Weak<Model>) {
    // Neither the model nor its engine is kept between two checks.
    while let Some((model, engine)) = model.upgrade().and_then(|model| Some((model.clone(), model.engine()?)))
    {
        let Some(check) = engine.availability_check() else { return };
        let availability = model.availability.clone();
        availability.record(&model.name(), timeout(TIMEOUT, check.check()).await.unwrap_or(Ok(())));
        drop((model, engine));
        let interval = if availability.obstacle().is_some() { RETRY_INTERVAL } else { INTERVAL };
        let _ = timeout(interval, availability.requested.notified()).await;
    }
}
