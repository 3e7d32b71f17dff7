//! Follows a job without waiting for it: a follower does not keep the job running.

use std::sync::Arc;
use std::time::Duration;

use tintype_core::picture::{Encoded, Format};
use tintype_core::request::DEFAULT_EXPIRY;
use tintype_ledger::id::JobId;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::image::Image;
use super::service::Service;
use crate::active_job::JobState;
use crate::caller::Caller;
use crate::error::ServiceError;
use crate::shared_preview::SharedPreview;
use crate::watchers::WatcherGuard;

/// Shortest interval between two previews: at most five per second.
const MIN_PREVIEW_INTERVAL: Duration = Duration::from_millis(200);

/// A subscription to a job's events. Dropping it ends the subscription.
#[derive(Debug)]
pub struct JobEvents {
    /// The job when the subscription began.
    pub now: Image,
    /// `None` after the job has ended or this process no longer follows it.
    states: Option<watch::Receiver<JobState>>,
    /// The engine generates previews only while a receiver exists.
    previews: Option<watch::Receiver<Option<Arc<SharedPreview>>>>,
    /// The file format of previews.
    format: Format,
    encoding: Option<JoinHandle<Option<JobEvent>>>,
    next_preview: Instant,
    /// Counts the subscription; `None` for a client that waits for the job, and after the job has ended.
    watcher: Option<WatcherGuard>,
}

/// An event of a job.
#[derive(Clone, Debug)]
pub enum JobEvent {
    /// The job changed its state.
    StateChanged(JobState),
    /// A small preview of an unfinished image.
    Preview {
        /// Index of the image in the job, from 0.
        picture: u32,
        /// The preview's file.
        file: Encoded,
    },
}

impl Service {
    /// Subscribes to a job of the caller's owner.
    ///
    /// # Errors
    /// Those of [`image`](Self::image); for a job that has not ended, [`ServiceError::Draining`], and
    /// [`ServiceError::TooManyWatchers`] if the job or the owner has too many subscriptions.
    pub async fn follow(&self, caller: &Caller, id: JobId) -> Result<JobEvents, ServiceError> {
        let job = self.record(caller, id).await?;
        let watcher =
            if job.status.is_final() { None } else { Some(self.inner.watchers.enter(id, &job.owner)?) };
        Ok(JobEvents { watcher, ..self.follow_own(caller, id).await? })
    }

    /// Subscribes to a job for which the caller waits. The limits of subscriptions do not apply, because the
    /// queue limits the number of such clients.
    ///
    /// # Errors
    /// Those of [`image`](Self::image), and [`ServiceError::Draining`] for a job that has not ended.
    pub async fn follow_own(&self, caller: &Caller, id: JobId) -> Result<JobEvents, ServiceError> {
        let read = self.inner.registry.begin_read();
        let job = self.record(caller, id).await?;
        let (mut states, mut previews) = (None, None);
        if !job.status.is_final() {
            let active = self.inner.registry.enter(&job, self.inner.now(), &read);
            if self.inner.registry.is_draining() {
                // Other subscriptions may have received their final state already.
                return Err(ServiceError::Draining);
            }
            self.inner.watch_job(&active);
            (states, previews) = (Some(active.states()), Some(active.previews()));
            if job.is_remote() {
                self.inner.start_worker(&job);
            }
        }
        let now = self.current_image(&self.record(caller, id).await?, DEFAULT_EXPIRY).await?;
        let format = Format::default();
        Ok(JobEvents {
            now,
            states,
            previews,
            format,
            encoding: None,
            next_preview: Instant::now(),
            watcher: None,
        })
    }
}

impl JobEvents {
    /// Sets the file format of previews.
    #[must_use]
    pub fn with_format(self, format: Format) -> Self {
        Self { format, ..self }
    }

    /// The next event; `None` after the job's end. Consecutive states can be merged, but the last one is
    /// always delivered; there are at most five previews per second. The method is cancel safe.
    pub async fn next(&mut self) -> Option<JobEvent> {
        loop {
            let Self { states, previews, format, encoding, next_preview, .. } = self;
            let current = states.as_mut()?;
            tokio::select! {
                biased;
                changed = current.changed() => {
                    let state = current.borrow_and_update().clone();
                    if changed.is_err() || state.is_final() {
                        (self.states, self.previews, self.watcher) = (None, None, None);
                    }
                    return Some(JobEvent::StateChanged(state));
                }
                encoded = encoded_preview(encoding) => {
                    self.encoding = None;
                    if encoded.is_some() {
                        return encoded;
                    }
                }
                preview = next_preview_after(previews, *next_preview), if encoding.is_none() => {
                    *next_preview = Instant::now() + MIN_PREVIEW_INTERVAL;
                    let format = *format;
                    self.encoding = preview.map(|preview| tokio::spawn(encode(preview, format)));
                }
            }
        }
    }
}

/// The event of the preview that is being encoded; pending if there is none.
async fn encoded_preview(encoding: &mut Option<JoinHandle<Option<JobEvent>>>) -> Option<JobEvent> {
    match encoding {
        Some(encoding) => encoding.await.ok().flatten(),
        None => std::future::pending().await,
    }
}

/// The next preview, not before the given time.
async fn next_preview_after(
    previews: &mut Option<watch::Receiver<Option<Arc<SharedPreview>>>>,
    not_before: Instant,
) -> Option<Arc<SharedPreview>> {
    sleep_until(not_before).await;
    let Some(receiver) = previews else { return std::future::pending().await };
    if receiver.changed().await.is_err() {
        *previews = None;
        return None;
    }
    receiver.borrow_and_update().clone()
}

async fn encode(preview: Arc<SharedPreview>, format: Format) -> Option<JobEvent> {
    let file = preview.file(format).await?;
    Some(JobEvent::Preview { picture: preview.picture(), file })
}
