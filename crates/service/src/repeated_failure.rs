//! The log lines of an operation that is repeated while it fails.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The shortest interval between two log lines.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Counts the failures of an operation, so that only the first of a series is logged at once, and then at
/// most one line per minute.
#[derive(Debug, Default)]
pub(crate) struct RepeatedFailure(Mutex<Series>);

#[derive(Debug, Default)]
struct Series {
    /// The failures since the last log line.
    unlogged: u64,
    last_line: Option<Instant>,
}

impl RepeatedFailure {
    /// Counts a failure. Returns the number of failures since the last log line if a line is due.
    pub(crate) fn record(&self) -> Option<u64> {
        let mut series = self.series();
        series.unlogged += 1;
        let now = Instant::now();
        if series.last_line.is_some_and(|last| now < last + LOG_INTERVAL) {
            return None;
        }
        series.last_line = Some(now);
        Some(std::mem::take(&mut series.unlogged))
    }

    /// Ends the series, because the operation succeeded.
    pub(crate) fn reset(&self) {
        *self.series() = Series::default();
    }

    fn series(&self) -> MutexGuard<'_, Series> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_series_has_one_line_per_minute() {
        let failure = RepeatedFailure::default();
        let mut lines = Vec::new();
        for second in 0..150 {
            lines.extend(failure.record().map(|failures| (second, failures)));
            advance(Duration::from_secs(1)).await;
        }
        assert_eq!(lines, [(0, 1), (60, 60), (120, 60)]);
        failure.reset();
        assert_eq!(failure.record(), Some(1), "a new series");
    }
}
