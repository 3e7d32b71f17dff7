//! Watching a job without waiting for it: whoever only watches does not keep it alive.

use std::sync::Arc;
use std::time::Duration;

use tintype_core::causes::causes;
use tintype_core::engine::Preview;
use tintype_core::picture::{Encoded, Format};
use tintype_core::request::DEFAULT_EXPIRY;
use tintype_ledger::id::JobId;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::active_job::JobState;
use crate::caller::Caller;
use crate::error::ServiceError;
use crate::image::Image;
use crate::service::Service;

/// The shortest time between two previews: five a second are motion enough.
const PAUSE: Duration = Duration::from_millis(200);

/// A job that is being watched. Dropping it is looking away.
#[derive(Debug)]
pub struct JobEvents {
    /// The job as it was when this began.
    pub now: Image,
    /// None once the job has ended, or is out of this process's sight.
    states: Option<watch::Receiver<JobState>>,
    /// The engine makes previews only as long as somebody has this.
    previews: Option<watch::Receiver<Option<Arc<Preview>>>>,
    /// What their files are to be.
    format: Format,
    encoding: Option<JoinHandle<Option<JobEvent>>>,
    next_preview: Instant,
}

/// Something that happened to a job.
#[derive(Clone, Debug)]
pub enum JobEvent {
    /// It has come this far.
    StateChanged(JobState),
    /// A picture in the making, small.
    Preview {
        /// Which of the job's pictures it is, from 0.
        picture: u32,
        /// The file.
        file: Encoded,
    },
}

impl Service {
    /// Watches a job of the caller's.
    ///
    /// # Errors
    /// Those of [`image`](Self::image), and [`ServiceError::Draining`] for a job that has not ended.
    pub async fn follow(&self, caller: &Caller, id: JobId) -> Result<JobEvents, ServiceError> {
        let asking = self.inner.registry.asking();
        let job = self.record(caller, id).await?;
        let (mut states, mut previews) = (None, None);
        if !job.status.is_final() {
            let active = self.inner.registry.enter(&job, &asking);
            if self.inner.registry.is_draining() {
                // Those who watch may have been told already that there is nothing more to see.
                return Err(ServiceError::Draining);
            }
            self.inner.look_after(&active);
            (states, previews) = (Some(active.states()), Some(active.previews()));
            if job.is_remote() {
                self.inner.begin(&job);
            }
        }
        let now = self.shown(&self.record(caller, id).await?, DEFAULT_EXPIRY).await?;
        let format = Format::default();
        Ok(JobEvents { now, states, previews, format, encoding: None, next_preview: Instant::now() })
    }
}

impl JobEvents {
    /// The same with previews in this format.
    #[must_use]
    pub fn in_format(self, format: Format) -> Self {
        Self { format, ..self }
    }

    /// What happens next; nothing after the job's end. States that follow each other closely may be told as one, the last
    /// one always is; of previews there are at most five a second. The future may be dropped and nothing is lost.
    pub async fn next(&mut self) -> Option<JobEvent> {
        loop {
            let Self { states, previews, format, encoding, next_preview, .. } = self;
            let current = states.as_mut()?;
            tokio::select! {
                biased;
                changed = current.changed() => {
                    let state = current.borrow_and_update().clone();
                    if changed.is_err() || state.is_final() {
                        (self.states, self.previews) = (None, None);
                    }
                    return Some(JobEvent::StateChanged(state));
                }
                encoded = encoded(encoding) => {
                    self.encoding = None;
                    if encoded.is_some() {
                        return encoded;
                    }
                }
                preview = arrived(previews, *next_preview), if encoding.is_none() => {
                    *next_preview = Instant::now() + PAUSE;
                    let format = *format;
                    self.encoding =
                        preview.map(|preview| tokio::task::spawn_blocking(move || encode(&preview, format)));
                }
            }
        }
    }
}

/// The file that is being made, if one is and it can be.
async fn encoded(encoding: &mut Option<JoinHandle<Option<JobEvent>>>) -> Option<JobEvent> {
    match encoding {
        Some(encoding) => encoding.await.ok().flatten(),
        None => std::future::pending().await,
    }
}

/// The next preview, not before then.
async fn arrived(
    previews: &mut Option<watch::Receiver<Option<Arc<Preview>>>>,
    not_before: Instant,
) -> Option<Arc<Preview>> {
    sleep_until(not_before).await;
    let Some(receiver) = previews else { return std::future::pending().await };
    if receiver.changed().await.is_err() {
        *previews = None;
        return None;
    }
    receiver.borrow_and_update().clone()
}

fn encode(preview: &Preview, format: Format) -> Option<JobEvent> {
    match tintype_picture::encode_preview(&preview.pixels, format) {
        Ok(file) => Some(JobEvent::Preview { picture: preview.picture, file }),
        Err(error) => {
            tracing::warn!(error = %causes(&error), "a preview could not be encoded");
            None
        }
    }
}
