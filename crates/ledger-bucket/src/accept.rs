//! Accepts a job in a bucket, where two objects cannot be written together.
//!
//! 1. *Pointers.* An idempotency key and a shared request key each have an object that names a job. The first
//!    writer of a pointer lets it name the job that it is about to create. Others poll for that job. If it
//!    does not appear, they create it *under the same id*, so that concurrent and retried requests result in
//!    one job.
//! 2. *Reservation.* The account gets a reservation with an id of its own.
//! 3. *Open marker.* An object marks the job as possibly open, so that a recovery finds it. It is written
//!    concurrently with step 2.
//! 4. *Job record.* The record is written on the condition that it does not exist. At this moment the job is
//!    accepted. A writer that finds an existing record releases its reservation and answers with the existing
//!    job.
//!
//! A crash before step 4 leaves pointers to a missing job (the next request that follows them creates it), a
//! reservation (an audit releases it) and a marker (a recovery removes it). After step 4 the job is accepted.

use futures::future::join;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tintype_core::store::{Condition, ETag};

use crate::accounts::ACCEPT_GRACE;
use crate::cas::{MAX_ATTEMPTS, Versioned};
use crate::{BucketLedger, paths};
use tintype_ledger::accept::{Acceptance, IDEMPOTENCY_TTL, NewJob, Reuse};
use tintype_ledger::account::ReuseKind;
use tintype_ledger::id::{Fingerprint, JobId, OwnerId};
use tintype_ledger::job::{JobRecord, Status};
use tintype_ledger::limits::{LimitExceeded, Quota};
use tintype_ledger::{Error, Result};

/// How many times a request polls for a pointer's job before it creates the job itself: about 2 s with the
/// back-off.
const MAX_POLLS: u32 = 9;

/// The object that names the job of an idempotency key or of a request key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Pointer {
    /// The job; `None` if it was not admitted.
    job: Option<JobId>,
    /// The fingerprint of the request body that the idempotency key was used with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body: Option<Fingerprint>,
    /// The time at which the pointer was written.
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
}

/// A pointer to follow, and the conditions that its job must meet.
struct PointerLookup<'a> {
    owner: &'a OwnerId,
    path: String,
    /// For an idempotency key: the fingerprint of the request body.
    body: Option<Fingerprint>,
    /// For a request key: which jobs may answer the request.
    reuse: Option<Reuse>,
}

/// A pointer that this request has written. It names the job that this request is about to create.
struct OwnPointer {
    path: String,
    body: Option<Fingerprint>,
    etag: ETag,
}

/// The result of following a pointer.
enum PointerTarget {
    /// This request must create the job with this id.
    New(OwnPointer, JobId),
    /// The job exists.
    Existing(Box<JobRecord>),
    /// The idempotency key was used with another request body.
    Conflict,
}

impl BucketLedger {
    pub(crate) async fn accept_job(&self, new: NewJob, now: OffsetDateTime) -> Result<Acceptance> {
        let idempotency = new.idempotency.as_ref().map(|idempotency| PointerLookup {
            owner: &new.owner,
            path: paths::idempotency_pointer(&new.owner, &idempotency.key),
            body: Some(idempotency.body),
            reuse: None,
        });
        let identical = new.reuse.any().then(|| PointerLookup {
            owner: &new.owner,
            path: paths::request_pointer(&new.owner, &new.request_key),
            body: None,
            reuse: Some(new.reuse),
        });
        if let Some(job) = self.stored_before_0_2(&new).await? {
            return match self.admit_reuse(&new.key, &new.policy, ReuseKind::Stored, now).await? {
                Ok(quotas) => Ok(reused(job, quotas)),
                Err(exceeded) => self.limit_exceeded(&new, exceeded, now).await,
            };
        }
        // All requests take the locks in this order, which prevents deadlocks.
        let mut locks = Vec::new();
        for lookup in idempotency.iter().chain(&identical) {
            locks.push(self.store.lock(&lookup.path).await);
        }
        for attempt in 0..MAX_ATTEMPTS {
            let mut pointers = Vec::new();
            let mut id = JobId::new(now);
            if let Some(lookup) = &idempotency {
                match self.follow(lookup, id, now).await? {
                    PointerTarget::New(pointer, named) => {
                        id = named;
                        pointers.push(pointer);
                    }
                    PointerTarget::Existing(job) => return Ok(Acceptance::Replayed { job: *job }),
                    PointerTarget::Conflict => return Ok(Acceptance::Conflict),
                }
            }
            let acceptance = match &identical {
                None => Some(self.create_job(&new, id, pointers, now).await?),
                // Without a readable pointer, the request shares no job.
                Some(lookup) => match self.skip_unreadable(self.follow(lookup, id, now).await)? {
                    None => Some(self.create_job(&new, id, pointers, now).await?),
                    Some(PointerTarget::New(pointer, named)) => {
                        if named == id || self.redirect(&mut pointers, Some(named), now).await? {
                            pointers.push(pointer);
                            Some(self.create_job(&new, named, pointers, now).await?)
                        } else {
                            None
                        }
                    }
                    Some(PointerTarget::Existing(job)) => self.reuse_job(&new, *job, pointers, now).await?,
                    Some(PointerTarget::Conflict) => return Ok(Acceptance::Conflict),
                },
            };
            match acceptance {
                Some(acceptance) => return Ok(acceptance),
                None => self.store.back_off(attempt).await?,
            }
        }
        Err(Error::Contended { record: "a pointer to a job".to_owned() })
    }

    /// A succeeded job of a version before 0.2 that answers the request. Such a job is not shared while it is in
    /// flight, and no idempotency key is stored for it: the job answers the next request too.
    async fn stored_before_0_2(&self, new: &NewJob) -> Result<Option<JobRecord>> {
        let Some(key) = new.reuse.stored.and_then(|keys| keys.before_0_2) else { return Ok(None) };
        if new.idempotency.is_some() {
            return Ok(None);
        }
        let path = paths::request_pointer(&new.owner, &key);
        let pointer = self.skip_unreadable(self.store.read::<Pointer>(&path).await)?.flatten();
        let Some(id) = pointer.and_then(|pointer| pointer.record.job) else { return Ok(None) };
        let job = self.skip_unreadable(self.job_record(&new.owner, id).await)?.flatten();
        Ok(job.filter(|job| job.status == Status::Succeeded && new.reuse.matches(job)))
    }

    /// Follows a pointer. If it does not lead to a job that answers the request, this writes the pointer so
    /// that it names a job to create: `own`, or the job that another request named and did not create.
    async fn follow(
        &self,
        lookup: &PointerLookup<'_>,
        own: JobId,
        now: OffsetDateTime,
    ) -> Result<PointerTarget> {
        let PointerLookup { owner, path, body, reuse } = lookup;
        for attempt in 0..MAX_ATTEMPTS {
            let (id, condition) = match self.store.read::<Pointer>(path).await? {
                None => (own, Condition::Absent),
                Some(Versioned { record: pointer, etag }) => {
                    let is_expired = body.is_some() && pointer.at + IDEMPOTENCY_TTL <= now;
                    let mut named = pointer.job.filter(|_| !is_expired);
                    let mut job = None;
                    if let Some(id) = named {
                        let read = self.job_record(owner, id).await;
                        job = match body {
                            // The client must receive the outcome of this job.
                            Some(_) => read?,
                            None => self.skip_unreadable(read)?.unwrap_or_else(|| {
                                named = None;
                                None
                            }),
                        };
                    }
                    let is_void = job
                        .as_ref()
                        .is_some_and(|job| job.deleted || (body.is_some() && !job.answers_retries()));
                    let id = match (named, job) {
                        (Some(_), _) if !is_void && pointer.body != *body => {
                            return Ok(PointerTarget::Conflict);
                        }
                        (_, Some(job)) if !is_void && reuse.is_none_or(|reuse| reuse.matches(&job)) => {
                            return Ok(PointerTarget::Existing(Box::new(job)));
                        }
                        (Some(_), None) if attempt < MAX_POLLS => {
                            self.store.back_off(attempt).await?;
                            continue;
                        }
                        (Some(named), None) => named,
                        (None, _) | (_, Some(_)) => own,
                    };
                    (id, Condition::Unchanged(etag))
                }
            };
            let pointer = Pointer { job: Some(id), body: *body, at: now };
            if let Some(etag) = self.store.write(path, &pointer, condition).await? {
                let pointer = OwnPointer { path: path.clone(), body: *body, etag };
                return Ok(PointerTarget::New(pointer, id));
            }
            self.store.back_off(attempt).await?;
        }
        Err(Error::Contended { record: path.clone() })
    }

    /// Lets this request's pointers name another job, or no job. False if another request has overwritten one
    /// of them.
    async fn redirect(
        &self,
        pointers: &mut [OwnPointer],
        to: Option<JobId>,
        now: OffsetDateTime,
    ) -> Result<bool> {
        for own in pointers {
            let pointer = Pointer { job: to, body: own.body, at: now };
            match self.store.write(&own.path, &pointer, Condition::Unchanged(own.etag.clone())).await? {
                Some(etag) => own.etag = etag,
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Answers the request with an existing job. `None` if another request has overwritten one of the
    /// pointers: then the caller must start again.
    async fn reuse_job(
        &self,
        new: &NewJob,
        job: JobRecord,
        mut pointers: Vec<OwnPointer>,
        now: OffsetDateTime,
    ) -> Result<Option<Acceptance>> {
        if !self.redirect(&mut pointers, Some(job.id), now).await? {
            return Ok(None);
        }
        let kind = if job.status.is_final() { ReuseKind::Stored } else { ReuseKind::Joined };
        match self.admit_reuse(&new.key, &new.policy, kind, now).await? {
            Ok(quotas) => Ok(Some(reused(job, quotas))),
            Err(exceeded) => {
                self.redirect(&mut pointers, None, now).await?;
                Ok(Some(self.limit_exceeded(new, exceeded, now).await?))
            }
        }
    }

    /// Creates the job with this id. Other requests may be creating the same job.
    async fn create_job(
        &self,
        new: &NewJob,
        id: JobId,
        mut pointers: Vec<OwnPointer>,
        now: OffsetDateTime,
    ) -> Result<Acceptance> {
        if let Some(limit) = new.queue
            && !self.has_room(new, limit).await?
        {
            self.redirect(&mut pointers, None, now).await?;
            return Ok(Acceptance::QueueFull);
        }
        // A crash may leave one without the other. Both must exist before the job record does.
        let (admitted, marked) = join(self.admit(new, id, now), self.write_marker(&new.owner, id)).await;
        let (reservation, quotas) = match admitted? {
            Ok(admitted) => admitted,
            Err(exceeded) => {
                self.remove_marker(&new.owner, id).await?;
                // Another request that named this job may have created it in the meantime.
                if let Some(job) = self.job_record(&new.owner, id).await? {
                    return Ok(already_created(new, job, Vec::new()));
                }
                self.redirect(&mut pointers, None, now).await?;
                return self.limit_exceeded(new, exceeded, now).await;
            }
        };
        marked?;
        let job = new.clone().into_record(id, reservation, now);
        let path = paths::job(&new.owner, id);
        let write_job = self.store.write(&path, &job, Condition::Absent);
        let (written, ()) = join(write_job, self.write_request_pointer(new, id, now)).await;
        if written?.is_none() {
            let existing = self.job_record(&new.owner, id).await?;
            let existing = existing.ok_or_else(|| Error::Contended { record: path })?;
            // Equal reservations mean that an earlier attempt of this write succeeded and its answer was
            // lost.
            if existing.reservation.id != job.reservation.id {
                self.release(&new.key, &job.reservation).await?;
                return Ok(already_created(new, existing, quotas));
            }
        }
        if now - id.created() > ACCEPT_GRACE / 2 {
            // A process that died named this job long ago. A recovery may have just removed the marker as a
            // leftover.
            self.write_marker(&new.owner, id).await?;
        }
        Ok(Acceptance::Accepted { job, quotas })
    }

    /// Writes the pointer of the job's request key, so that later requests find the job. A request that
    /// followed this pointer has already written it. A failure is ignored, because the job is accepted
    /// without the pointer.
    async fn write_request_pointer(&self, new: &NewJob, id: JobId, now: OffsetDateTime) {
        if !new.reuse.any() {
            let pointer = Pointer { job: Some(id), body: None, at: now };
            let path = paths::request_pointer(&new.owner, &new.request_key);
            let _ = self.store.write(&path, &pointer, Condition::Always).await;
        }
    }

    async fn limit_exceeded(
        &self,
        new: &NewJob,
        exceeded: LimitExceeded,
        now: OffsetDateTime,
    ) -> Result<Acceptance> {
        let quotas = self.account_record(&new.key).await?.account.quotas(&new.policy, now);
        Ok(Acceptance::LimitExceeded { exceeded, quotas })
    }
}

/// The answer to a request whose job another request has created.
fn already_created(new: &NewJob, job: JobRecord, quotas: Vec<Quota>) -> Acceptance {
    if new.idempotency.is_some() { Acceptance::Replayed { job } } else { reused(job, quotas) }
}

fn reused(job: JobRecord, quotas: Vec<Quota>) -> Acceptance {
    if job.status.is_final() {
        Acceptance::Stored { job, quotas }
    } else {
        Acceptance::Joined { job, quotas }
    }
}
