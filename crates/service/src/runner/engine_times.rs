//! Engine times that survive the process. The ledger keeps the averages of each model, so that the first request after
//! a start reserves what such a job took before, and not the whole budget.

use std::sync::Arc;
use std::time::Duration;

use tintype_core::causes::causes;
use tintype_core::engine::EngineInfo;
use tintype_core::request::GenerateRequest;
use tokio::time::{Instant, timeout};

use crate::inner::Inner;
use crate::models::Model;

/// Time limit for the write at the stop, so that a ledger that never answers does not delay it.
const LAST_SAVE_TIMEOUT: Duration = Duration::from_secs(2);

impl Inner {
    /// The estimate of earlier processes for a request. Reads the ledger once per model.
    pub(crate) async fn restored_estimate(
        &self,
        model: &Model,
        info: &EngineInfo,
        request: &GenerateRequest,
    ) -> Option<Duration> {
        let read = || self.ledger.engine_times(&info.model.name);
        let times = match model.saved_times.restored.get_or_try_init(read).await {
            Ok(times) => *times,
            Err(error) => {
                // The next request tries again.
                tracing::warn!(model = model.name(), error = %causes(&error), "failed to read engine times");
                None
            }
        };
        times.map(|times| model.estimates.estimate_by(times, &info.model, request))
    }

    /// Saves the engine times of a model in the background after a job was measured, at most once a minute.
    pub(crate) fn save_engine_times(self: &Arc<Self>, model: &Arc<Model>) {
        if !model.saved_times.measured(Instant::now()) {
            return;
        }
        let (inner, model, guard) = (self.clone(), model.clone(), self.tasks.start());
        self.runtime.spawn(async move {
            inner.write_engine_times(&model).await;
            drop(guard);
        });
    }

    /// Saves the engine times that were measured since they were saved last, before the process ends.
    pub(crate) async fn save_last_engine_times(&self) {
        let due = self.models.iter().filter(|model| model.saved_times.take_due());
        let writes = futures::future::join_all(due.map(|model| self.write_engine_times(model)));
        if timeout(LAST_SAVE_TIMEOUT, writes).await.is_err() {
            tracing::warn!("failed to save engine times: the ledger did not answer in time");
        }
    }

    async fn write_engine_times(&self, model: &Model) {
        let Some(times) = model.estimates.times() else { return };
        if let Err(error) = self.ledger.save_engine_times(&model.name(), times).await {
            tracing::warn!(model = model.name(), error = %causes(&error), "failed to save engine times");
            model.saved_times.write_failed();
        }
    }
}
