//! The owner's view of a job: the request, the progress and links to the images.

use std::time::Duration;

use time::OffsetDateTime;
use tintype_core::causes::causes;
use tintype_core::engine::Progress;
use tintype_core::picture::{Encoded, Format};
use tintype_core::request::GenerateRequest;
use tintype_core::store::{Key, PresignOptions, StoreError};
use tintype_ledger::id::JobId;
use tintype_ledger::job::{EventsKey, JobRecord, Status, StoredImage, UpstreamError};
use tintype_ledger::money::{Amount, Spend};

use crate::active_job::JobState;
use crate::error::ServiceError;
use crate::inner::Inner;
use crate::served_from::ServedFrom;
use crate::stored_request::StoredRequest;
use crate::warning::WarningMessage;

/// Tolerance when two expiry times are compared; presigned URLs have a resolution of 1 s.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(2);

/// The owner's view of a job.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// The job's id, UUID version 7.
    pub id: JobId,
    /// The job's status.
    pub status: Status,
    /// The model's name; `None` if the record is unreadable.
    pub model: Option<String>,
    /// The request; `None` if the record is unreadable.
    pub request: Option<GenerateRequest>,
    /// Time of acceptance.
    pub created: OffsetDateTime,
    /// Start time of the latest run.
    pub started: Option<OffsetDateTime>,
    /// Time at which the job ended.
    pub finished: Option<OffsetDateTime>,
    /// Time at which the job fails if it has not ended.
    pub deadline: Option<OffsetDateTime>,
    /// Number of queued jobs before this one; `None` in lists and when not queued.
    pub position: Option<u64>,
    /// Progress of the engine.
    pub progress: Option<Progress>,
    /// The images in the order of their seeds; empty until the job has succeeded.
    pub pictures: Vec<LinkedPicture>,
    /// Expiry of the first link; the requested expiry if the URL is cut short.
    pub expires_at: Option<OffsetDateTime>,
    /// The remote engine's error, if the job failed with one.
    pub upstream_error: Option<UpstreamError>,
    /// Cost charged to this request: zero if another request pays, `None` until known.
    pub cost: Option<Spend>,
    /// How the request was answered.
    pub source: ServedFrom,
    /// The secret of the job's event URL; `None` for jobs of earlier versions.
    pub events_key: Option<EventsKey>,
    /// Warnings for the client.
    pub warnings: Vec<WarningMessage>,
}

/// No engine time and no amount, in the currency of a cost.
fn free(cost: &Spend) -> Spend {
    Spend { engine_ms: 0, amount: cost.amount.map(|amount| Amount { micros: 0, ..amount }) }
}

/// An image with a presigned URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkedPicture {
    /// The presigned URL.
    pub url: String,
    /// The URL expires earlier than requested because the signing credentials expire then.
    pub cut_short: bool,
    /// The object key in the store.
    pub key: String,
    /// The seed of the initial noise.
    pub seed: u64,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// The file format.
    pub format: Format,
}

/// Links to a job's images; empty if there are no images or no links were requested.
#[derive(Debug, Default)]
pub(crate) struct Links {
    pictures: Vec<LinkedPicture>,
    expires_at: Option<OffsetDateTime>,
}

impl Inner {
    /// The view of a job with these links and without its queue position, which needs a scan of the queue.
    pub(crate) fn image(&self, job: &JobRecord, source: ServedFrom, links: Links) -> Image {
        let stored = StoredRequest::read(job);
        let Links { pictures, expires_at } = links;
        let cost = match source {
            ServedFrom::Made | ServedFrom::Replayed => job.cost,
            ServedFrom::Joined | ServedFrom::Stored => job.cost.map(|cost| free(&cost)),
        };
        Image {
            id: job.id,
            status: if job.is_remote() { Status::Running } else { job.status },
            model: stored.as_ref().map(|stored| stored.model.clone()),
            request: stored.map(|stored| stored.request()),
            created: job.created,
            started: job.started,
            finished: job.finished,
            deadline: job.deadline,
            position: None,
            progress: self.progress(job),
            pictures,
            expires_at,
            upstream_error: job.upstream_error.clone(),
            cost,
            source,
            events_key: job.events_key,
            warnings: job.warnings.iter().filter_map(WarningMessage::read).collect(),
        }
    }

    /// The view of a job with new links to its images.
    ///
    /// # Errors
    /// [`ServiceError::Store`] if a URL cannot be signed.
    pub(crate) async fn image_with_links(
        &self,
        job: &JobRecord,
        source: ServedFrom,
        expires_in: Duration,
    ) -> Result<Image, ServiceError> {
        let mut links = Links::default();
        for stored in &job.images {
            let requested = OffsetDateTime::now_utc() + expires_in;
            let (url, until) = self.sign(stored, expires_in).await?;
            let cut_short = until + CLOCK_TOLERANCE < requested;
            links.expires_at.get_or_insert(if cut_short { requested } else { until });
            let StoredImage { key, seed, width, height, format } = stored.clone();
            links.pictures.push(LinkedPicture { url, cut_short, key, seed, width, height, format });
        }
        Ok(self.image(job, source, links))
    }

    /// Records in the ledger that a client received the images, so that no retry reuses the job. A job with
    /// a waiter does not need this.
    pub(crate) fn mark_delivered(&self, job: &JobRecord) {
        if job.delivered.is_some() {
            return;
        }
        let (ledger, owner, id) = (self.ledger.clone(), job.owner.clone(), job.id);
        let guard = self.tasks.start();
        // The response does not wait for the ledger. If the record is lost, a retry can receive the same
        // images again.
        self.runtime.spawn(async move {
            if let Err(error) = ledger.mark_delivered(&owner, id, ledger.now()).await {
                tracing::warn!(job = %id, error = %causes(&error), "failed to mark job as delivered");
            }
            drop(guard);
        });
    }

    /// Reads a job's images from the store.
    ///
    /// # Errors
    /// [`ServiceError::Store`] if an image cannot be read.
    pub(crate) async fn read_files(&self, job: &JobRecord) -> Result<Vec<Encoded>, ServiceError> {
        let mut files = Vec::with_capacity(job.images.len());
        for stored in &job.images {
            let key = Key::new(stored.key.clone()).map_err(|_| StoreError::NotFound)?;
            let bytes = self.store.get(&key, None).await?.bytes;
            files.push(Encoded { format: stored.format, bytes });
        }
        Ok(files)
    }

    fn progress(&self, job: &JobRecord) -> Option<Progress> {
        if job.status != Status::Running {
            return None;
        }
        let active = self.registry.get(job.id)?;
        let states = active.states();
        match *states.borrow() {
            JobState::Running(progress) => Some(progress),
            JobState::Storing => Some(Progress::Decoding),
            _ => None,
        }
    }

    /// A presigned URL of a stored image, and its expiry.
    pub(crate) async fn sign(
        &self,
        stored: &StoredImage,
        expires_in: Duration,
    ) -> Result<(String, OffsetDateTime), ServiceError> {
        let key = Key::new(stored.key.clone()).map_err(|_| StoreError::NotFound)?;
        let signed =
            self.store.presign(&key, &PresignOptions { expires_in, content_disposition: None }).await?;
        Ok((signed.url, signed.expires_at))
    }

    /// Whether an image of a job is missing in the store: life-cycle rules and operators delete images too.
    pub(crate) async fn has_missing_images(&self, job: &JobRecord) -> Result<bool, ServiceError> {
        for stored in &job.images {
            let Ok(key) = Key::new(stored.key.clone()) else { return Ok(true) };
            match self.store.head(&key).await {
                Ok(_) => {}
                Err(StoreError::NotFound) => return Ok(true),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(false)
    }
}
