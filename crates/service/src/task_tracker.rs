//! Whether there is anything that this process has not finished.

use tokio::sync::watch;

/// Counts what goes on.
#[derive(Clone, Debug)]
pub(crate) struct TaskTracker(watch::Sender<usize>);

/// Something that goes on until this is dropped.
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

    /// Waits until nothing goes on.
    pub(crate) async fn wait_idle(&self) {
        // The sender lives in `self`, so this ends by the condition only.
        let _ = self.0.subscribe().wait_for(|&count| count == 0).await;
    }
}

impl Drop for TaskGuard {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}
