//! Whether there is anything that this process has not finished.

use tokio::sync::watch;

/// Counts what goes on.
#[derive(Clone, Debug)]
pub(crate) struct Busy(watch::Sender<usize>);

/// Something that goes on until this is dropped.
#[derive(Debug)]
pub(crate) struct Doing(watch::Sender<usize>);

impl Busy {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    pub(crate) fn enter(&self) -> Doing {
        self.0.send_modify(|doing| *doing += 1);
        Doing(self.0.clone())
    }

    /// Waits until nothing goes on.
    pub(crate) async fn idle(&self) {
        // The sender lives in `self`, so this ends by the condition only.
        let _ = self.0.subscribe().wait_for(|&doing| doing == 0).await;
    }
}

impl Drop for Doing {
    fn drop(&mut self) {
        self.0.send_modify(|doing| *doing -= 1);
    }
}
