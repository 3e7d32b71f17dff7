//! Watches whether a remote engine can be called, and reports it in the log and in the readiness.

use std::sync::Weak;
use std::time::Duration;

use tokio::time::timeout;

use crate::models::Model;

/// Interval between checks of an engine that can be called.
const INTERVAL: Duration = Duration::from_secs(5 * 60);
/// The same for an engine that cannot be called, so that the readiness follows soon after a correction.
const RETRY_INTERVAL: Duration = Duration::from_secs(15);
/// Time limit of one check. A check without a result shows no obstacle.
const TIMEOUT: Duration = Duration::from_secs(10);

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
        let _ = timeout(interval, availability.check_requested()).await;
    }
}
