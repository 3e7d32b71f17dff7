//! A client's handle to a job.

use std::sync::Arc;
use std::time::Duration;

use tintype_core::picture::Encoded;
use tintype_core::request::DEFAULT_EXPIRY;
use tintype_ledger::id::JobId;
use tintype_ledger::job::{JobRecord, Status};
use tintype_ledger::limits::Quota;
use tokio::sync::watch;
use tokio::time::Instant;

use super::image::{Image, Links};
use crate::active_job::{ActiveJob, JobState};
use crate::error::ServiceError;
use crate::inner::Inner;
use crate::served_from::ServedFrom;

/// A handle of a client that waits for a job. Dropping it disconnects the client.
pub struct JobHandle {
    inner: Arc<Inner>,
    id: JobId,
    states: watch::Receiver<JobState>,
    /// The job's entry while the client waits. `None` after the end, so that dropping the handle does not
    /// count as a disconnect.
    active: Option<Arc<ActiveJob>>,
    source: ServedFrom,
    quotas: Vec<Quota>,
    /// How long this client's URLs are valid.
    expires_in: Duration,
}

impl JobHandle {
    /// A handle to an unfinished job, which the client has joined.
    pub(crate) fn waiting(
        inner: Arc<Inner>,
        active: Arc<ActiveJob>,
        source: ServedFrom,
        quotas: Vec<Quota>,
    ) -> Self {
        let (id, states, expires_in) = (active.id, active.states(), DEFAULT_EXPIRY);
        Self { inner, id, states, active: Some(active), source, quotas, expires_in }
    }

    /// A handle to a finished job.
    pub(crate) fn ended(inner: Arc<Inner>, job: JobRecord, source: ServedFrom, quotas: Vec<Quota>) -> Self {
        let id = job.id;
        let (_, states) = watch::channel(JobState::Ended(Arc::new(job)));
        Self { inner, id, states, active: None, source, quotas, expires_in: DEFAULT_EXPIRY }
    }

    /// A handle to a job that stops because a client canceled or deleted it.
    pub(crate) fn canceled(
        inner: Arc<Inner>,
        job: &JobRecord,
        source: ServedFrom,
        quotas: Vec<Quota>,
    ) -> Self {
        let (_, states) = watch::channel(JobState::DetachedFromProcess(ServiceError::Canceled));
        Self { inner, id: job.id, states, active: None, source, quotas, expires_in: DEFAULT_EXPIRY }
    }

    /// A handle to a job that is about to stop, for example at its deadline. The client is not one of the
    /// job's waiters and gets its end.
    pub(crate) fn observing(
        inner: Arc<Inner>,
        active: &ActiveJob,
        source: ServedFrom,
        quotas: Vec<Quota>,
    ) -> Self {
        let (id, states, expires_in) = (active.id, active.states(), DEFAULT_EXPIRY);
        Self { inner, id, states, active: None, source, quotas, expires_in }
    }

    /// Sets how long the URLs are valid.
    pub(crate) fn with_link_expiry(mut self, expires_in: Duration) -> Self {
        self.expires_in = expires_in;
        self
    }

    /// The job's id (UUID version 7). Handles to the same job have the same id.
    pub fn id(&self) -> JobId {
        self.id
    }

    /// Where the images of the response come from.
    pub fn source(&self) -> ServedFrom {
        self.source
    }

    /// The remaining quotas of the API key when the ledger accepted the request.
    pub fn quotas(&self) -> &[Quota] {
        &self.quotas
    }

    /// The states of the job. A slow reader can miss states, but not the last one.
    pub fn states(&self) -> watch::Receiver<JobState> {
        self.states.clone()
    }

    /// Detaches the job: it continues without waiters and after this process has ended, because the client
    /// fetches the result later.
    ///
    /// # Errors
    /// [`ServiceError::Ledger`].
    pub async fn detach(&self) -> Result<(), ServiceError> {
        if let Some(active) = &self.active
            && active.depends_on_waiters()
        {
            self.inner.ledger.detach(&active.owner, active.id).await?;
            active.detach();
        }
        Ok(())
    }

    /// Waits for the images and signs URLs to them.
    ///
    /// # Errors
    /// [`ServiceError::Failed`], [`ServiceError::Canceled`], [`ServiceError::Abandoned`] or
    /// [`ServiceError::Draining`] if the job ended without images, [`ServiceError::Store`] if the URLs could
    /// not be signed.
    pub async fn finished(mut self) -> Result<Image, ServiceError> {
        let (job, _) = self.wait_for_success().await?;
        self.inner.image_with_links(&job, self.source, self.expires_in).await
    }

    /// Waits for the images and returns the job, without URLs, and the image files in the order of their
    /// seeds.
    ///
    /// # Errors
    /// Those of [`finished`](Self::finished); [`ServiceError::Store`] if an image that this process does not
    /// have in memory could not be read.
    pub async fn finished_with_files(mut self) -> Result<(Image, Vec<Encoded>), ServiceError> {
        let (job, active) = self.wait_for_success().await?;
        let files = match active.and_then(|active| active.files()) {
            Some(files) => files,
            None => self.inner.read_files(&job).await?,
        };
        Ok((self.inner.image(&job, self.source, Links::default()), files))
    }

    /// Waits for the job to succeed. From then on the client is not a waiter, so that dropping the handle
    /// does not count as a disconnect.
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
                None => Err(self.cancellation()),
            },
            Ok(JobState::DetachedFromProcess(error)) => Err(error),
            Ok(_) | Err(_) => Err(ServiceError::Abandoned),
        }
    }

    /// During shutdown the service cancels jobs itself, so the client can retry.
    fn cancellation(&self) -> ServiceError {
        if self.inner.registry.is_draining() { ServiceError::Draining } else { ServiceError::Canceled }
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
