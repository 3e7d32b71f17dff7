//! What somebody who waits for a job holds.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tintype_core::engine::Warning;
use tintype_core::picture::Format;
use tintype_core::request::GenerateRequest;
use tintype_core::store::{Key, ObjectStore, Presign};
use tokio::sync::watch;
use uuid::Uuid;

use crate::error::ServiceError;
use crate::job::{Job, Made, State};
use crate::queue::Queue;

/// A place among those who wait for a job. Dropping it is hanging up.
pub struct Ticket {
    job: Arc<Job>,
    queue: Arc<Queue>,
    store: Arc<dyn ObjectStore>,
    /// How long the links shall work that this holder gets.
    expires_in: Duration,
    /// The holder has the result: leaving now is not hanging up.
    served: bool,
}

/// A job's pictures with links to them.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// The job's id, UUID version 7.
    pub id: Uuid,
    /// What was made.
    pub request: Arc<GenerateRequest>,
    /// As many as were asked for, in the order of their seeds; never empty.
    pub images: Vec<FinishedImage>,
    /// When the first of the links stops working.
    pub expires_at: OffsetDateTime,
    /// Seconds that the engine was busy.
    pub engine_seconds: f64,
    /// What the client should know.
    pub warnings: Vec<Warning>,
}

/// A picture with a link to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinishedImage {
    /// The signed link.
    pub url: String,
    /// Where it is in the store.
    pub key: Key,
    /// Seed of its noise.
    pub seed: u64,
    /// Pixels per row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Its file format.
    pub format: Format,
}

impl Ticket {
    pub(crate) fn new(
        job: Arc<Job>,
        queue: Arc<Queue>,
        store: Arc<dyn ObjectStore>,
        expires_in: Duration,
    ) -> Self {
        Self { job, queue, store, expires_in, served: false }
    }

    /// The job's id, UUID version 7. Two tickets of one job have the same.
    pub fn id(&self) -> Uuid {
        self.job.id
    }

    /// The job's states as they come. A slow reader misses some, never the last one.
    pub fn states(&self) -> watch::Receiver<State> {
        self.job.states()
    }

    /// Waits for the pictures and signs links to them.
    ///
    /// # Errors
    /// What the job ended with, or [`ServiceError::Store`] if the links could not be signed.
    pub async fn finished(mut self) -> Result<Finished, ServiceError> {
        let mut states = self.job.states();
        // The sender lives in the job, which this ticket keeps.
        let last = states.wait_for(State::is_final).await.map(|state| state.clone());
        let result = match last {
            Ok(State::Succeeded(made)) => self.sign(&made).await,
            Ok(State::Failed(error)) => Err(error),
            Ok(_) | Err(_) => Err(ServiceError::Abandoned),
        };
        self.served = true;
        result
    }

    async fn sign(&self, made: &Made) -> Result<Finished, ServiceError> {
        let how = Presign { expires_in: self.expires_in, content_disposition: None };
        let mut images = Vec::with_capacity(made.images.len());
        let mut expires_at = None;
        for image in &made.images {
            let signed = self.store.presign(&image.key, &how).await?;
            expires_at.get_or_insert(signed.expires_at);
            images.push(FinishedImage {
                url: signed.url,
                key: image.key.clone(),
                seed: image.seed,
                width: image.width,
                height: image.height,
                format: image.format,
            });
        }
        Ok(Finished {
            id: self.job.id,
            request: self.job.request.clone(),
            images,
            expires_at: expires_at.unwrap_or_else(OffsetDateTime::now_utc),
            engine_seconds: made.engine_seconds,
            warnings: made.warnings.clone(),
        })
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.served {
            self.queue.leave(&self.job);
        }
    }
}
