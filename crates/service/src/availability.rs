//! Watches whether a remote engine can be called, and reports it in the log and in the readiness.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tintype_core::causes::causes;
use tintype_core::engine::{CallObstacle, EngineError};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use crate::service::Inner;

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
    fn record(&self, result: Result<(), EngineError>) {
        let (obstacle, error) = match result {
            Err(EngineError::Unavailable { obstacle, source }) => (Some(obstacle), Some(source)),
            // Other errors show no obstacle: the check itself may not be permitted.
            Ok(()) | Err(_) => (None, None),
        };
        let last = self.obstacle.send_replace(obstacle);
        match (obstacle, error) {
            (Some(obstacle), Some(error)) if last != Some(obstacle) => {
                tracing::warn!(
                    reason = %obstacle,
                    error = %causes(&*error),
                    "remote engine cannot be called, /readyz answers 503 until it can"
                );
            }
            (None, _) if last.is_some() => tracing::info!("remote engine can be called again"),
            _ => {}
        }
    }
}

/// Checks a remote engine at once and then periodically, until the service is dropped.
pub(crate) async fn watch_engine(inner: Weak<Inner>, availability: Arc<Availability>) {
    // Neither the service nor its engine is kept between two checks.
    while let Some(engine) = inner.upgrade().and_then(|inner| inner.loaded_engine().cloned()) {
        let Some(check) = engine.availability_check() else { return };
        availability.record(timeout(TIMEOUT, check.check()).await.unwrap_or(Ok(())));
        drop(engine);
        let interval = if availability.obstacle().is_some() { RETRY_INTERVAL } else { INTERVAL };
        let _ = timeout(interval, availability.requested.notified()).await;
    }
}
