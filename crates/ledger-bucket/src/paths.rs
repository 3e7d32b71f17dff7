//! The object keys of records in the bucket.

use tintype_ledger::id::{Fingerprint, JobId, KeyId, OwnerId};
use tintype_ledger::quarantine::RecordName;
use tintype_ledger::stored;

pub(crate) const KEYS: &str = "keys/";
pub(crate) const ACCOUNTS: &str = "usage/";
pub(crate) const OPEN_MARKERS: &str = "jobs/open/";

/// A key's record.
pub(crate) fn key(id: &KeyId) -> String {
    format!("{KEYS}{id}")
}

/// The account of a key, with its reservations.
pub(crate) fn account(key: &KeyId) -> String {
    format!("{ACCOUNTS}{key}")
}

/// The prefix of all job records.
pub(crate) const JOBS: &str = "jobs/by-owner/";

/// The prefix of an owner's job records.
pub(crate) fn jobs(owner: &OwnerId) -> String {
    format!("{JOBS}{owner}/")
}

/// A job's record. The path contains the complement of the job's id: a bucket is listed in ascending order,
/// and jobs are listed newest first.
pub(crate) fn job(owner: &OwnerId, id: JobId) -> String {
    format!("{}{:032x}", jobs(owner), !id.uuid().as_u128())
}

/// The job id in the path of a job's record.
pub(crate) fn parse_job(path: &str) -> Option<JobId> {
    let complement = u128::from_str_radix(path.rsplit('/').next()?, 16).ok()?;
    Some(JobId::from(uuid::Uuid::from_u128(!complement)))
}

/// The prefix of the pointers of request keys.
pub(crate) const REQUEST_KEYS: &str = "jobs/same/";

/// The prefix of the pointers of idempotency keys.
pub(crate) const IDEMPOTENCY_KEYS: &str = "idem/";

/// An object that is written and deleted to check that the bucket can be written.
pub(crate) const PROBE: &str = "idem/probe";

/// The version of the form in which the record at this path is written (see [`stored::VERSION`]).
pub(crate) fn version(path: &str) -> u32 {
    if path.starts_with(JOBS) { stored::VERSION } else { 1 }
}

/// The name of the record at this path.
pub(crate) fn name(path: &str) -> RecordName {
    let owner = || path.strip_prefix(JOBS)?.split_once('/')?.0.parse().ok();
    match (owner(), parse_job(path)) {
        (Some(owner), Some(id)) => RecordName::Job { owner, id },
        _ => RecordName::Other(path.to_owned()),
    }
}

/// The marker of a job that may be open. It is written before the job's record and removed after the job has
/// ended.
pub(crate) fn open_marker(owner: &OwnerId, id: JobId) -> String {
    format!("{OPEN_MARKERS}{owner}/{id}")
}

/// The owner and the job in the path of an open marker.
pub(crate) fn parse_open_marker(path: &str) -> Option<(OwnerId, JobId)> {
    let (owner, id) = path.strip_prefix(OPEN_MARKERS)?.split_once('/')?;
    Some((owner.parse().ok()?, id.parse().ok()?))
}

/// The engine times of a model. Its name is any text, so the path contains its hash. The prefix is not one of records
/// that a backup or a check reads.
pub(crate) fn engine_times(model: &str) -> String {
    format!("jobs/times/{}", Fingerprint::of(model.as_bytes()))
}

/// The pointer to the newest job of a request key.
pub(crate) fn request_pointer(owner: &OwnerId, key: &Fingerprint) -> String {
    format!("{REQUEST_KEYS}{owner}/{key}")
}

/// The pointer of an idempotency key. The key is any text, so the path contains its hash.
pub(crate) fn idempotency_pointer(owner: &OwnerId, key: &str) -> String {
    format!("{IDEMPOTENCY_KEYS}{owner}/{}", Fingerprint::of(key.as_bytes()))
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
        assert_eq!(parse_job(&job(&owner, older)), Some(older));
        assert_eq!(parse_open_marker(&open_marker(&owner, newer)), Some((owner, newer)));
        assert_eq!(parse_open_marker("jobs/open/else"), None);
    }
}
