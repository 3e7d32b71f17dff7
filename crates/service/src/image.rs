//! A job as its owner sees it: what was asked for, how far it has come, and links to its pictures.

use std::time::Duration;

use time::OffsetDateTime;
use tintype_core::causes::causes;
use tintype_core::engine::Progress;
use tintype_core::picture::{Encoded, Format};
use tintype_core::request::GenerateRequest;
use tintype_core::store::{Key, PresignOptions, StoreError};
use tintype_ledger::id::JobId;
use tintype_ledger::job::{JobRecord, Status, StoredImage, UpstreamError};
use tintype_ledger::money::Spend;

use crate::active_job::JobState;
use crate::error::ServiceError;
use crate::service::Inner;
use crate::stored_request::StoredRequest;
use crate::warning::WarningMessage;

/// Two looks at the clock may be so far apart, and links live whole seconds.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(2);

/// How a request was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServedFrom {
    /// By a job of its own, which it pays for.
    Made,
    /// By an identical job in flight, which another request pays for.
    Joined,
    /// By pictures that are there already.
    Stored,
    /// As it was answered before: it has that request's idempotency key.
    Replayed,
}

impl ServedFrom {
    /// The name as metrics have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Made => "made",
            Self::Joined => "joined",
            Self::Stored => "stored",
            Self::Replayed => "replayed",
        }
    }
}

/// A job as its owner sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// The job's id, UUID version 7.
    pub id: JobId,
    /// Where it is.
    pub status: Status,
    /// The model that it was, or is to be, made with; `None` if the record cannot be read any more.
    pub model: Option<String>,
    /// What was asked for; `None` if the record cannot be read any more.
    pub request: Option<GenerateRequest>,
    /// When it was accepted.
    pub created: OffsetDateTime,
    /// When it was last begun.
    pub started: Option<OffsetDateTime>,
    /// When it ended.
    pub finished: Option<OffsetDateTime>,
    /// When it is given up if it has not ended.
    pub deadline: Option<OffsetDateTime>,
    /// How many jobs come before it while it waits; not told in lists.
    pub position: Option<u64>,
    /// How far the engine has come with it.
    pub progress: Option<Progress>,
    /// As many as were asked for, in the order of their seeds, once it has succeeded.
    pub pictures: Vec<LinkedPicture>,
    /// When the first of the links stops working, or was to.
    pub expires_at: Option<OffsetDateTime>,
    /// What a remote engine said, if it has failed by that.
    pub upstream_error: Option<UpstreamError>,
    /// What this request was charged for it: nothing if another one pays. `None` until that is known.
    pub cost: Option<Spend>,
    /// How the request was answered.
    pub source: ServedFrom,
    /// What the client should know.
    pub warnings: Vec<WarningMessage>,
}

/// A picture with a link to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkedPicture {
    /// The signed link.
    pub url: String,
    /// It ends before it was to, because the credentials do that signed it: only a new one would work for longer.
    pub cut_short: bool,
    /// The key under which the store has it.
    pub key: String,
    /// Seed of its noise.
    pub seed: u64,
    /// Pixels per row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Its file format.
    pub format: Format,
}

/// Links to a job's pictures; none as long as there are no pictures, or nobody asks for links.
#[derive(Debug, Default)]
pub(crate) struct Links {
    pictures: Vec<LinkedPicture>,
    expires_at: Option<OffsetDateTime>,
}

impl Inner {
    /// A job with these links to its pictures, without its place in the queue: that takes a look at all that wait.
    pub(crate) fn image(&self, job: &JobRecord, source: ServedFrom, links: Links) -> Image {
        let stored = StoredRequest::read(job);
        let Links { pictures, expires_at } = links;
        let cost = match source {
            ServedFrom::Made | ServedFrom::Replayed => job.cost,
            ServedFrom::Joined | ServedFrom::Stored => job.cost.map(|_| self.estimates.spend(Duration::ZERO)),
        };
        Image {
            id: job.id,
            status: if job.is_remote() { Status::Running } else { job.status },
            model: stored.as_ref().map(|stored| stored.model.clone()),
            request: stored.map(|stored| stored.request),
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
            warnings: job.warnings.iter().filter_map(WarningMessage::read).collect(),
        }
    }

    /// A job with fresh links to its pictures.
    ///
    /// # Errors
    /// [`ServiceError::Store`] if they cannot be signed.
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

    /// Somebody is given a job's pictures: no retry comes for them any more. Of one whose client waited for it that is known
    /// without.
    pub(crate) fn mark_delivered(&self, job: &JobRecord) {
        if job.delivered.is_some() {
            return;
        }
        let (ledger, owner, id) = (self.ledger.clone(), job.owner.clone(), job.id);
        let guard = self.tasks.start();
        // Nobody is to wait for it; what is lost of it is a retry that gets these pictures once more.
        self.runtime.spawn(async move {
            if let Err(error) = ledger.mark_delivered(&owner, id, OffsetDateTime::now_utc()).await {
                tracing::warn!(job = %id, error = %causes(&error), "failed to mark job as delivered");
            }
            drop(guard);
        });
    }

    /// A job's pictures as the store has them.
    ///
    /// # Errors
    /// [`ServiceError::Store`] if one cannot be read.
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

    /// A link to a stored picture, and when it stops working.
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

    /// Whether any of a job's pictures is not in the store any more: lifecycle rules and people delete too.
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
