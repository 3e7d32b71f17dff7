//! Counts the unfinished tasks of this process.

use tokio::sync::watch;

/// A counter of unfinished tasks.
#[derive(Clone, Debug)]
pub(crate) struct TaskTracker(watch::Sender<usize>);

/// An unfinished task; dropping the guard ends it.
#[derive(Debug)]
pub(crate) struct TaskGuard(watch::Sender<usize>);

impl TaskTracker {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    pub(crate) fn start(&self) -> TaskGuard {
        self.0.send_modify(|count| *count += 1);
        TaskGuard(self.0.clone())
    }

    /// Waits until no task is unfinished.
    pub(crate) async fn wait_idle(&self) {
        // `self` owns the sender, so the wait ends only when the condition holds.
        let _ = self.0.subscribe().wait_for(|&count| count == 0).await;
    }
}

impl Drop for TaskGuard {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}
