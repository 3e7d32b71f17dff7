//! Where records lie in the bucket.

use crate::id::{Fingerprint, JobId, KeyId, OwnerId};

pub(super) const KEYS: &str = "keys/";
pub(super) const BOOKS: &str = "usage/";
pub(super) const OPEN: &str = "jobs/open/";

/// A key's record.
pub(super) fn key(id: &KeyId) -> String {
    format!("{KEYS}{id}")
}

/// The books of one key: its account and the reservations in it.
pub(super) fn book(key: &KeyId) -> String {
    format!("{BOOKS}{key}")
}

/// The folder of every owner's jobs.
pub(super) const JOBS: &str = "jobs/by-owner/";

/// The folder of an owner's jobs.
pub(super) fn jobs(owner: &OwnerId) -> String {
    format!("{JOBS}{owner}/")
}

/// A job's record. Its id is written upside down, because a bucket is listed in ascending order and jobs are wanted
/// newest first.
pub(super) fn job(owner: &OwnerId, id: JobId) -> String {
    format!("{}{:032x}", jobs(owner), !id.uuid().as_u128())
}

/// The job whose record lies there.
pub(super) fn job_at(path: &str) -> Option<JobId> {
    let upside_down = u128::from_str_radix(path.rsplit('/').next()?, 16).ok()?;
    Some(JobId::from(uuid::Uuid::from_u128(!upside_down)))
}

/// A mark that a job may still be open. It is there before the job is and goes after the job has ended.
pub(super) fn open(owner: &OwnerId, id: JobId) -> String {
    format!("{OPEN}{owner}/{id}")
}

/// The job that a mark stands for.
pub(super) fn marked(path: &str) -> Option<(OwnerId, JobId)> {
    let (owner, id) = path.strip_prefix(OPEN)?.split_once('/')?;
    Some((owner.parse().ok()?, id.parse().ok()?))
}

/// The signpost to the newest job of a fingerprint.
pub(super) fn same(owner: &OwnerId, fingerprint: &Fingerprint) -> String {
    format!("jobs/same/{owner}/{fingerprint}")
}

/// The signpost of an idempotency key, which is any text and therefore hashed.
pub(super) fn idempotency(owner: &OwnerId, key: &str) -> String {
    format!("idem/{owner}/{}", Fingerprint::of(key.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::Duration;
    use time::macros::datetime;

    #[test]
    fn newer_jobs_are_listed_first_and_found_again() {
        let owner: OwnerId = "acme".parse().expect("a name");
        let start = datetime!(2026-11-23 12:00 UTC);
        let (older, newer) = (JobId::new(start), JobId::new(start + Duration::MILLISECOND));
        assert!(job(&owner, newer) < job(&owner, older));
        assert_eq!(job_at(&job(&owner, older)), Some(older));
        assert_eq!(marked(&open(&owner, newer)), Some((owner, newer)));
        assert_eq!(marked("jobs/open/else"), None);
    }
}
