//! Operations of an owner on existing jobs.

use std::time::Duration;

use time::Date;
use tintype_core::request::DEFAULT_EXPIRY;
use tintype_core::store::{Key, PresignOptions, StoreError};
use tintype_ledger::account::DayUsage;
use tintype_ledger::id::JobId;
use tintype_ledger::job::{JobRecord, Status};
use tintype_ledger::limits::Quota;

use super::image::Image;
use super::keys::require_identity;
use super::service::Service;
use crate::active_job::{JobState, StopReason};
use crate::caller::Caller;
use crate::error::ServiceError;
use crate::runner::{discard, is_image_key};
use crate::served_from::ServedFrom;
use crate::settings::Topology;

/// Maximum number of jobs on a page.
pub const MAX_PAGE: usize = 100;

/// A page of an owner's jobs, newest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// The jobs.
    pub images: Vec<Image>,
    /// The `before` parameter of the next page, if there is one.
    pub next: Option<JobId>,
}

impl Service {
    /// A job of the caller's owner with new links.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`], [`ServiceError::Ledger`], [`ServiceError::Store`].
    pub async fn image(
        &self,
        caller: &Caller,
        id: JobId,
        expires_in: Duration,
    ) -> Result<Image, ServiceError> {
        let job = self.current_record(caller, id).await?;
        self.current_image(&job, expires_in).await
    }

    /// The view of a job with new links and its queue position.
    pub(crate) async fn current_image(
        &self,
        job: &JobRecord,
        expires_in: Duration,
    ) -> Result<Image, ServiceError> {
        let image = self.inner.image_with_links(job, ServedFrom::Made, expires_in).await?;
        if job.status == Status::Succeeded && job.waiter.is_none() {
            self.inner.mark_delivered(job);
        }
        let position = match image.status {
            Status::Queued => self.inner.ledger.position(&job.owner, job.id).await?,
            _ => None,
        };
        Ok(Image { position, ..image })
    }

    /// The owner's jobs before `before`, newest first, at most `limit` (1 to [`MAX_PAGE`]).
    ///
    /// # Errors
    /// [`ServiceError::Ledger`], [`ServiceError::Store`].
    pub async fn images(
        &self,
        caller: &Caller,
        before: Option<JobId>,
        limit: usize,
    ) -> Result<Page, ServiceError> {
        require_identity(caller)?;
        let page = self.inner.ledger.jobs(&caller.owner, before, limit.clamp(1, MAX_PAGE)).await?;
        let mut images = Vec::with_capacity(page.jobs.len());
        for job in &page.jobs {
            images.push(self.inner.image_with_links(job, ServedFrom::Made, DEFAULT_EXPIRY).await?);
        }
        Ok(Page { images, next: page.next })
    }

    /// A new presigned URL of one of a job's images.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`] also if the job has no image of this index, [`ServiceError::NoPictures`]
    /// for a job without images.
    pub async fn picture(&self, caller: &Caller, id: JobId, index: usize) -> Result<String, ServiceError> {
        let job = self.current_record(caller, id).await?;
        if job.status != Status::Succeeded {
            return Err(ServiceError::NoPictures);
        }
        let stored = job.images.get(index).ok_or(ServiceError::NotFound("image"))?;
        Ok(self.inner.sign(stored, DEFAULT_EXPIRY).await?.0)
    }

    /// The URL of an image in the store, without a signature.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`] for a key that is not an image's, [`ServiceError::Store`].
    pub async fn object_url(&self, key: &str) -> Result<String, ServiceError> {
        let key = Some(key).filter(|key| is_image_key(key)).and_then(|key| Key::new(key).ok());
        let key = key.ok_or(ServiceError::NotFound("image"))?;
        let options = PresignOptions { expires_in: DEFAULT_EXPIRY, content_disposition: None };
        let url = self.inner.store.presign(&key, &options).await?.url;
        Ok(url.split_once('?').map_or(&*url, |(url, _)| url).to_owned())
    }

    /// Cancels a job. A queued job ends at once; a running job stops at its next step.
    ///
    /// # Errors
    /// Those of [`image`](Self::image).
    pub async fn cancel(&self, caller: &Caller, id: JobId) -> Result<Image, ServiceError> {
        require_identity(caller)?;
        let canceled = self.inner.ledger.cancel(&caller.owner, id, self.inner.now()).await?;
        let job = canceled.ok_or(ServiceError::NotFound("image"))?;
        self.stop_here(&job).await;
        self.inner.image_with_links(&job, ServedFrom::Made, DEFAULT_EXPIRY).await
    }

    /// Deletes a job and its images. Its cost stays charged.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`], [`ServiceError::Ledger`], [`ServiceError::Store`] if an image could not
    /// be deleted.
    pub async fn delete(&self, caller: &Caller, id: JobId) -> Result<(), ServiceError> {
        require_identity(caller)?;
        let job = self.record(caller, id).await?;
        for image in &job.images {
            let key = Key::new(image.key.clone()).map_err(|_| StoreError::NotFound)?;
            self.inner.store.delete(&key).await?;
        }
        let deleted = self.inner.ledger.delete(&caller.owner, id, self.inner.now()).await?;
        if let Some(last) = deleted {
            // The job may have succeeded since its record was read.
            let rest: Vec<_> =
                last.images.iter().filter(|image| !job.images.contains(image)).cloned().collect();
            discard(&*self.inner.store, &rest).await;
            self.stop_here(&last).await;
        }
        Ok(())
    }

    /// The daily usage of the caller's key from `from` to `to`.
    ///
    /// # Errors
    /// [`ServiceError::Ledger`].
    pub async fn usage(
        &self,
        caller: &Caller,
        from: Date,
        to: Date,
    ) -> Result<Vec<(Date, DayUsage)>, ServiceError> {
        Ok(self.inner.ledger.usage(&caller.key, from, to).await?)
    }

    /// The remaining quotas of the caller's key.
    ///
    /// # Errors
    /// [`ServiceError::Ledger`].
    pub async fn quotas(&self, caller: &Caller) -> Result<Vec<Quota>, ServiceError> {
        let now = self.inner.now();
        Ok(self.inner.ledger.quotas(&caller.key, &caller.policy, now).await?)
    }

    pub(crate) async fn record(&self, caller: &Caller, id: JobId) -> Result<JobRecord, ServiceError> {
        let job = if self.inner.settings.topology == Topology::SingleProcess {
            self.inner.ledger.job(&caller.owner, id).await?
        } else {
            // The process that ran the job may have died.
            self.inner.ledger.reconcile(&caller.owner, id, self.inner.now()).await?
        };
        job.ok_or(ServiceError::NotFound("image"))
    }

    /// The record of a job; a remote job is polled first.
    async fn current_record(&self, caller: &Caller, id: JobId) -> Result<JobRecord, ServiceError> {
        let job = self.record(caller, id).await?;
        if self.inner.poll_remote(&job).await { self.record(caller, id).await } else { Ok(job) }
    }

    /// Stops a job in this process that was canceled or deleted in the ledger.
    async fn stop_here(&self, job: &JobRecord) {
        match self.inner.registry.get(job.id) {
            Some(active) if job.status == Status::Running => active.stop(StopReason::Canceled),
            Some(_) if job.status.is_final() => self.inner.record_end(job.clone()).await,
            Some(active) => {
                // Deleted while it was queued.
                active.stop(StopReason::Canceled);
                self.inner.registry.close(job.id, JobState::DetachedFromProcess(ServiceError::Canceled));
            }
            None => {}
        }
    }
}
