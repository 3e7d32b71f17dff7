//! Accepting a job in a bucket, where no two objects are written together.
//!
//! 1. *Signposts.* An idempotency key and a shared fingerprint each are an object that names a job. Whoever writes it
//!    first names its own job; the others wait for that job to appear, and after a while make it themselves *under
//!    that name*, so that however many try, one name is one job.
//! 2. *Reservation* in the account, under an id of its own.
//! 3. *Mark* that the job may be open, for whoever recovers; at the same time as 2.
//! 4. *The job*, written only if it is not there: this is the moment of acceptance. Who comes second gives its
//!    reservation back and answers with the job that is there.
//!
//! A crash before 4 leaves a signpost to nothing (made good by the next who follows it), a reservation (given back by
//! an audit) and a mark (removed by a recovery); after 4 the job is accepted.

use futures::future::join;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tintype_core::store::{Condition, ETag};

use super::accounts::GRACE;
use super::cas::{Seen, TRIES};
use super::{BucketLedger, paths};
use crate::accept::{Acceptance, IDEMPOTENCY_TTL, NewJob, Reuse};
use crate::account::ReuseKind;
use crate::error::{Error, Result};
use crate::id::{Fingerprint, JobId, OwnerId};
use crate::job::JobRecord;
use crate::limits::{LimitExceeded, Quota};

/// How many looks a signpost's job is given to appear before somebody else makes it: about two seconds.
const PATIENCE: u32 = 9;

/// Says which job an idempotency key or a fingerprint stands for.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Signpost {
    /// The job; none if it was not let in after all.
    job: Option<JobId>,
    /// The body that the idempotency key was used with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body: Option<Fingerprint>,
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
}

/// What somebody is looking for along a signpost.
struct Sought<'a> {
    owner: &'a OwnerId,
    path: String,
    /// For an idempotency key: the body that it must have been used with.
    body: Option<Fingerprint>,
    /// For a fingerprint: which jobs will do.
    reuse: Option<Reuse>,
}

/// A signpost that we have written, and that names the job we are about to make.
struct Ours {
    path: String,
    body: Option<Fingerprint>,
    etag: ETag,
}

/// Where a signpost leads.
enum Way {
    /// To the job that we are to make, under this id.
    Make(Ours, JobId),
    /// To a job that is there.
    There(Box<JobRecord>),
    /// The idempotency key stands for another body.
    Conflict,
}

impl BucketLedger {
    pub(super) async fn accept_job(&self, new: NewJob, now: OffsetDateTime) -> Result<Acceptance> {
        let idempotency = new.idempotency.as_ref().map(|given| Sought {
            owner: &new.owner,
            path: paths::idempotency(&new.owner, &given.key),
            body: Some(given.body),
            reuse: None,
        });
        let same = new.reuse.any().then(|| Sought {
            owner: &new.owner,
            path: paths::same(&new.owner, &new.fingerprint),
            body: None,
            reuse: Some(new.reuse),
        });
        // Always in this order, so that nobody waits in a circle.
        let mut lines = Vec::new();
        for sought in idempotency.iter().chain(&same) {
            lines.push(self.cells.line(&sought.path).await);
        }
        for attempt in 0..TRIES {
            let mut posts = Vec::new();
            let mut id = JobId::new(now);
            if let Some(sought) = &idempotency {
                match self.follow(sought, id, now).await? {
                    Way::Make(ours, named) => {
                        id = named;
                        posts.push(ours);
                    }
                    Way::There(job) => return Ok(Acceptance::Replayed { job: *job }),
                    Way::Conflict => return Ok(Acceptance::Conflict),
                }
            }
            let answer = match &same {
                None => Some(self.make(&new, id, posts, now).await?),
                Some(sought) => match self.follow(sought, id, now).await? {
                    Way::Make(ours, named) => {
                        if named == id || self.point(&mut posts, Some(named), now).await? {
                            posts.push(ours);
                            Some(self.make(&new, named, posts, now).await?)
                        } else {
                            None
                        }
                    }
                    Way::There(job) => self.share(&new, *job, posts, now).await?,
                    Way::Conflict => return Ok(Acceptance::Conflict),
                },
            };
            match answer {
                Some(answer) => return Ok(answer),
                None => self.cells.wait(attempt).await?,
            }
        }
        Err(Error::Contended { record: "a signpost".to_owned() })
    }

    /// Follows a signpost until it leads to a job that will do, or makes it name one to be made: `own`, or the one
    /// that somebody announced and did not make.
    async fn follow(&self, sought: &Sought<'_>, own: JobId, now: OffsetDateTime) -> Result<Way> {
        let Sought { owner, path, body, reuse } = sought;
        for attempt in 0..TRIES {
            let (name, condition) = match self.cells.read::<Signpost>(path).await? {
                None => (own, Condition::Absent),
                Some(Seen { record: post, etag }) => {
                    let forgotten = body.is_some() && post.at + IDEMPOTENCY_TTL <= now;
                    let named = post.job.filter(|_| !forgotten);
                    let job = match named {
                        Some(named) => self.record(owner, named).await?,
                        None => None,
                    };
                    let void = job
                        .as_ref()
                        .is_some_and(|job| job.deleted || (body.is_some() && !job.answers_retries()));
                    let name = match (named, job) {
                        (Some(_), _) if !void && post.body != *body => return Ok(Way::Conflict),
                        (_, Some(job)) if !void && reuse.is_none_or(|reuse| reuse.matches(&job)) => {
                            return Ok(Way::There(Box::new(job)));
                        }
                        (Some(_), None) if attempt < PATIENCE => {
                            self.cells.wait(attempt).await?;
                            continue;
                        }
                        (Some(named), None) => named,
                        (None, _) | (_, Some(_)) => own,
                    };
                    (name, Condition::Unchanged(etag))
                }
            };
            let post = Signpost { job: Some(name), body: *body, at: now };
            if let Some(etag) = self.cells.write(path, &post, condition).await? {
                return Ok(Way::Make(Ours { path: path.clone(), body: *body, etag }, name));
            }
            self.cells.wait(attempt).await?;
        }
        Err(Error::Contended { record: path.clone() })
    }

    /// Points our signposts elsewhere. False if somebody took one over.
    async fn point(&self, posts: &mut [Ours], to: Option<JobId>, now: OffsetDateTime) -> Result<bool> {
        for ours in posts {
            let post = Signpost { job: to, body: ours.body, at: now };
            match self.cells.write(&ours.path, &post, Condition::Unchanged(ours.etag.clone())).await? {
                Some(etag) => ours.etag = etag,
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Answers with another job. `None` if our signposts were taken over: look again.
    async fn share(
        &self,
        new: &NewJob,
        job: JobRecord,
        mut posts: Vec<Ours>,
        now: OffsetDateTime,
    ) -> Result<Option<Acceptance>> {
        if !self.point(&mut posts, Some(job.id), now).await? {
            return Ok(None);
        }
        let how = if job.status.is_final() { ReuseKind::Stored } else { ReuseKind::Joined };
        match self.admit_reuse((&new.key, &new.policy), how, now).await? {
            Ok(quotas) => Ok(Some(shared(job, quotas))),
            Err(exceeded) => {
                self.point(&mut posts, None, now).await?;
                Ok(Some(self.refuse(new, exceeded, now).await?))
            }
        }
    }

    /// Makes the job under this id, which others may be making too.
    async fn make(
        &self,
        new: &NewJob,
        id: JobId,
        mut posts: Vec<Ours>,
        now: OffsetDateTime,
    ) -> Result<Acceptance> {
        if let Some(limit) = new.queue
            && !self.has_room(&new.owner, limit).await?
        {
            self.point(&mut posts, None, now).await?;
            return Ok(Acceptance::QueueFull);
        }
        // Each may be there without the other; both are there before the job is.
        let (admitted, marked) = join(self.admit(new, id, now), self.mark(&new.owner, id)).await;
        let (reservation, quotas) = match admitted? {
            Ok(admitted) => admitted,
            Err(exceeded) => {
                self.unmark(&new.owner, id).await?;
                // Whoever announced this job may have made it after all.
                if let Some(job) = self.record(&new.owner, id).await? {
                    return Ok(came_second(new, job, Vec::new()));
                }
                self.point(&mut posts, None, now).await?;
                return self.refuse(new, exceeded, now).await;
            }
        };
        marked?;
        let job = new.clone().into_record(id, reservation, now);
        let path = paths::job(&new.owner, id);
        let (written, _) =
            join(self.cells.write(&path, &job, Condition::Absent), self.signpost(new, id, now)).await;
        if written?.is_none() {
            let first =
                self.record(&new.owner, id).await?.ok_or_else(|| Error::Contended { record: path })?;
            // Ours all the same if an earlier attempt of this very write got through unheard.
            if first.reservation.id != job.reservation.id {
                self.release(&new.key, &job.reservation).await?;
                return Ok(came_second(new, first, quotas));
            }
        }
        if now - id.created() > GRACE / 2 {
            // Announced long ago by somebody who died: a recovery may just have taken the mark of that for a leftover.
            self.mark(&new.owner, id).await?;
        }
        Ok(Acceptance::Accepted { job, quotas })
    }

    /// For whoever looks for a job of this fingerprint later; written already if this one was looked for by it. The job is accepted
    /// whether this succeeds or not.
    async fn signpost(&self, new: &NewJob, id: JobId, now: OffsetDateTime) {
        if !new.reuse.any() {
            let post = Signpost { job: Some(id), body: None, at: now };
            let same = paths::same(&new.owner, &new.fingerprint);
            let _ = self.cells.write(&same, &post, Condition::Always).await;
        }
    }

    async fn refuse(&self, new: &NewJob, exceeded: LimitExceeded, now: OffsetDateTime) -> Result<Acceptance> {
        let quotas = self.book(&new.key).await?.account.quotas(&new.policy, now);
        Ok(Acceptance::LimitExceeded { exceeded, quotas })
    }
}

fn came_second(new: &NewJob, job: JobRecord, quotas: Vec<Quota>) -> Acceptance {
    if new.idempotency.is_some() { Acceptance::Replayed { job } } else { shared(job, quotas) }
}

fn shared(job: JobRecord, quotas: Vec<Quota>) -> Acceptance {
    if job.status.is_final() {
        Acceptance::Stored { job, quotas }
    } else {
        Acceptance::Joined { job, quotas }
    }
}
