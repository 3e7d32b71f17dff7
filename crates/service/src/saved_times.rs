//! Engine times that survive the process. The ledger keeps the averages of each model, so that the first request after
//! a start reserves what such a job took before, and not the whole budget.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tintype_core::causes::causes;
use tintype_core::engine::EngineInfo;
use tintype_core::request::GenerateRequest;
use tintype_ledger::EngineTimes;
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout};

use crate::inner::Inner;
use crate::models::Model;

/// Shortest interval between two writes of a model's times.
const SAVE_INTERVAL: Duration = Duration::from_secs(60);
/// Time limit for the write at the stop, so that a ledger that never answers does not delay it.
const LAST_SAVE_TIMEOUT: Duration = Duration::from_secs(2);

/// What is known of a model's engine times in the ledger.
#[derive(Debug, Default)]
pub(crate) struct SavedTimes {
    /// The times of earlier processes, once they are read.
    restored: OnceCell<Option<EngineTimes>>,
    writes: Mutex<Writes>,
}

#[derive(Debug, Default)]
struct Writes {
    /// When the times may be written again; `None` before the first write.
    next: Option<Instant>,
    /// A job was measured since the last write.
    is_due: bool,
}

impl SavedTimes {
    /// Notes that a job was measured. True if the times should be written now.
    fn measured(&self, now: Instant) -> bool {
        let mut writes = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        writes.is_due = writes.next.is_some_and(|next| now < next);
        if !writes.is_due {
            writes.next = Some(now + SAVE_INTERVAL);
        }
        !writes.is_due
    }

    /// Whether a job was measured since the last write; counts as a write.
    fn take_due(&self) -> bool {
        std::mem::take(&mut self.writes.lock().unwrap_or_else(PoisonError::into_inner).is_due)
    }
}

impl Inner {
    /// The estimate of earlier processes for a request. Reads the ledger once per model.
    pub(crate) async fn restored_estimate(
        &self,
        model: &Model,
        info: &EngineInfo,
        request: &GenerateRequest,
    ) -> Option<Duration> {
        let read = || async {
            self.ledger.engine_times(&model.name()).await.unwrap_or_else(|error| {
                tracing::warn!(model = model.name(), error = %causes(&error), "failed to read engine times");
                None
            })
        };
        let times = *model.saved_times.restored.get_or_init(read).await;
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
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_after_the_first_job_and_then_once_a_minute() {
        let (saved, start) = (SavedTimes::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(saved.measured(at(0)));
        assert!(!saved.take_due(), "nothing is left to write");
        assert!(!saved.measured(at(59)));
        assert!(saved.measured(at(60)));
        assert!(!saved.measured(at(61)));
        assert!(saved.take_due() && !saved.take_due());
    }
}
