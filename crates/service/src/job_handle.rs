//! What somebody who waits for a job holds.

use std::sync::Arc;
use std::time::Duration;

use tintype_core::picture::Encoded;
use tintype_core::request::DEFAULT_EXPIRY;
use tintype_ledger::id::JobId;
use tintype_ledger::job::{JobRecord, Status};
use tintype_ledger::limits::Quota;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::active_job::{ActiveJob, JobState};
use crate::error::ServiceError;
use crate::image::{Image, Links, ServedFrom};
use crate::service::Inner;

/// A place among those who wait for a job. Dropping it is hanging up.
pub struct JobHandle {
    inner: Arc<Inner>,
    id: JobId,
    states: watch::Receiver<JobState>,
    /// The job's entry, as long as the holder waits for it: leaving with the result is not hanging up.
    active: Option<Arc<ActiveJob>>,
    source: ServedFrom,
    quotas: Vec<Quota>,
    /// How long the links shall work that this holder gets.
    expires_in: Duration,
}

impl JobHandle {
    /// A ticket for a job on its way, which its holder has joined.
    pub(crate) fn waiting(
        inner: Arc<Inner>,
        active: Arc<ActiveJob>,
        (source, quotas): (ServedFrom, Vec<Quota>),
    ) -> Self {
        let (id, states, expires_in) = (active.id, active.states(), DEFAULT_EXPIRY);
        Self { inner, id, states, active: Some(active), source, quotas, expires_in }
    }

    /// A ticket for a job that has ended.
    pub(crate) fn ended(
        inner: Arc<Inner>,
        job: JobRecord,
        (source, quotas): (ServedFrom, Vec<Quota>),
    ) -> Self {
        let id = job.id;
        let (_, states) = watch::channel(JobState::Ended(Arc::new(job)));
        Self { inner, id, states, active: None, source, quotas, expires_in: DEFAULT_EXPIRY }
    }

    /// The same ticket, whose links work for so long.
    pub(crate) fn with_link_expiry(mut self, expires_in: Duration) -> Self {
        self.expires_in = expires_in;
        self
    }

    /// The job's id, UUID version 7. Two tickets of one job have the same.
    pub fn id(&self) -> JobId {
        self.id
    }

    /// How the order is answered.
    pub fn source(&self) -> ServedFrom {
        self.source
    }

    /// What is left of the key's limits, as the ledger said when it let the order in.
    pub fn quotas(&self) -> &[Quota] {
        &self.quotas
    }

    /// The job's states as they come. A slow reader misses some, never the last one.
    pub fn states(&self) -> watch::Receiver<JobState> {
        self.states.clone()
    }

    /// Whoever holds this will come back for the pictures: from now on they are made whether anybody waits or not, also after
    /// this process has ended.
    ///
    /// # Errors
    /// [`ServiceError::Ledger`].
    pub async fn detach(&self) -> Result<(), ServiceError> {
        if let Some(active) = &self.active
            && active.is_attended()
        {
            self.inner.ledger.detach(&active.owner, active.id).await?;
            active.detach();
        }
        Ok(())
    }

    /// Waits for the pictures and signs links to them.
    ///
    /// # Errors
    /// [`ServiceError::Failed`], [`ServiceError::Canceled`], [`ServiceError::Abandoned`] or [`ServiceError::Draining`] if there
    /// are none, [`ServiceError::Store`] if the links could not be signed.
    pub async fn finished(mut self) -> Result<Image, ServiceError> {
        let (job, _) = self.wait_for_success().await?;
        self.inner.image_with_links(&job, self.source, self.expires_in).await
    }

    /// Waits for the pictures themselves: the job, without links to them, and their files in the order of their seeds.
    ///
    /// # Errors
    /// Those of [`finished`](Self::finished); [`ServiceError::Store`] if a picture that was made earlier, or by another process,
    /// could not be read.
    pub async fn finished_with_files(mut self) -> Result<(Image, Vec<Encoded>), ServiceError> {
        let (job, active) = self.wait_for_success().await?;
        let files = match active.and_then(|active| active.files()) {
            Some(files) => files,
            None => self.inner.read_files(&job).await?,
        };
        Ok((self.inner.image(&job, self.source, Links::default()), files))
    }

    /// Waits for a good end. From then on the holder does not wait any more, so that leaving is not hanging up.
    async fn wait_for_success(&mut self) -> Result<(Arc<JobRecord>, Option<Arc<ActiveJob>>), ServiceError> {
        let last = self.states.wait_for(JobState::is_final).await.map(|state| state.clone());
        let active = self.active.take();
        match last {
            Ok(JobState::Ended(job)) => match job.failure() {
                Some(failure) => Err(ServiceError::Failed(failure)),
                None if job.status == Status::Succeeded => {
                    if self.source != ServedFrom::Made || job.waiter.is_none() {
                        self.inner.mark_delivered(&job);
                    }
                    Ok((job, active))
                }
                None => Err(self.canceled()),
            },
            Ok(JobState::DetachedFromProcess(why)) => Err(why),
            Ok(_) | Err(_) => Err(ServiceError::Abandoned),
        }
    }

    /// Of two clients of a canceled job one may have said so; the others only see it gone.
    fn canceled(&self) -> ServiceError {
        if self.inner.registry.is_draining() { ServiceError::Abandoned } else { ServiceError::Canceled }
    }
}

impl Drop for JobHandle {
    fn drop(&mut self) {
        let Some(active) = self.active.take() else { return };
        let until = Instant::now() + self.inner.settings.abandon_after;
        if self.inner.registry.leave(&active, until) {
            self.inner.cancel_if_disconnected_at(&active, until);
        }
    }
}
