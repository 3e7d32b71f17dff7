//! What a process knows of a model's engine times in the ledger.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tintype_ledger::EngineTimes;
use tokio::sync::OnceCell;
use tokio::time::Instant;

/// Shortest interval between two writes of a model's times.
const SAVE_INTERVAL: Duration = Duration::from_secs(60);
/// What is known of a model's engine times in the ledger.
#[derive(Debug, Default)]
pub(crate) struct SavedTimes {
    /// The times of earlier processes, once they are read.
    pub(crate) restored: OnceCell<Option<EngineTimes>>,
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
    pub(crate) fn measured(&self, now: Instant) -> bool {
        let mut writes = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        writes.is_due = writes.next.is_some_and(|next| now < next);
        if !writes.is_due {
            writes.next = Some(now + SAVE_INTERVAL);
        }
        !writes.is_due
    }

    /// Notes that a write failed, so that it is repeated at the stop.
    pub(crate) fn write_failed(&self) {
        self.writes.lock().unwrap_or_else(PoisonError::into_inner).is_due = true;
    }

    /// Whether a job was measured since the last write; counts as a write.
    pub(crate) fn take_due(&self) -> bool {
        std::mem::take(&mut self.writes.lock().unwrap_or_else(PoisonError::into_inner).is_due)
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
        saved.write_failed();
        assert!(saved.take_due());
    }
}
