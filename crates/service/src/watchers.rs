//! The limits of event streams: each one costs memory and the encoding of every event.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tintype_ledger::id::{JobId, OwnerId};

use crate::error::{ServiceError, WatcherScope};

/// The open event streams of this process.
pub(crate) struct Watchers {
    per_job: usize,
    per_owner: usize,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    jobs: HashMap<JobId, usize>,
    owners: HashMap<OwnerId, usize>,
}

/// An open event stream; dropping the guard ends it.
pub(crate) struct WatcherGuard {
    watchers: Arc<Watchers>,
    job: JobId,
    owner: OwnerId,
}

impl std::fmt::Debug for WatcherGuard {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("WatcherGuard").field("job", &self.job).finish_non_exhaustive()
    }
}

impl Watchers {
    /// Limits for one job and for all jobs of an owner.
    pub(crate) fn new(per_job: usize, per_owner: usize) -> Arc<Self> {
        Arc::new(Self { per_job, per_owner, counts: Mutex::default() })
    }

    /// Opens a stream.
    ///
    /// # Errors
    /// [`ServiceError::TooManyWatchers`] if the job or the owner has reached its limit.
    pub(crate) fn enter(self: &Arc<Self>, job: JobId, owner: &OwnerId) -> Result<WatcherGuard, ServiceError> {
        let mut counts = self.counts();
        let full = |count: Option<&usize>, limit: usize| count.copied().unwrap_or(0) >= limit;
        if full(counts.jobs.get(&job), self.per_job) {
            return Err(ServiceError::TooManyWatchers { scope: WatcherScope::Job, limit: self.per_job });
        }
        if full(counts.owners.get(owner), self.per_owner) {
            return Err(ServiceError::TooManyWatchers { scope: WatcherScope::Owner, limit: self.per_owner });
        }
        *counts.jobs.entry(job).or_default() += 1;
        *counts.owners.entry(owner.clone()).or_default() += 1;
        Ok(WatcherGuard { watchers: self.clone(), job, owner: owner.clone() })
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for WatcherGuard {
    fn drop(&mut self) {
        let mut counts = self.watchers.counts();
        decrement(&mut counts.jobs, &self.job);
        decrement(&mut counts.owners, &self.owner);
    }
}

/// Decrements a count, and removes it at 0.
fn decrement<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn job() -> JobId {
        Uuid::now_v7().to_string().parse().expect("a job id")
    }

    fn scope(result: Result<WatcherGuard, ServiceError>) -> Option<WatcherScope> {
        match result {
            Ok(_) => None,
            Err(ServiceError::TooManyWatchers { scope, .. }) => Some(scope),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn jobs_and_owners_have_limits() {
        let watchers = Watchers::new(2, 3);
        let (alice, bob): (OwnerId, OwnerId) =
            ("alice".parse().expect("an owner"), "bob".parse().expect("an owner"));
        let (first, second, third) = (job(), job(), job());
        let mut open =
            vec![watchers.enter(first, &alice).expect("room"), watchers.enter(first, &alice).expect("room")];
        assert_eq!(scope(watchers.enter(first, &alice)), Some(WatcherScope::Job));
        open.push(watchers.enter(second, &alice).expect("room"));
        assert_eq!(scope(watchers.enter(second, &alice)), Some(WatcherScope::Owner));
        assert_eq!(scope(watchers.enter(third, &bob)), None);
        open.remove(0);
        assert_eq!(scope(watchers.enter(first, &alice)), None);
        drop(open);
        assert!(watchers.counts().jobs.is_empty() && watchers.counts().owners.is_empty());
    }
}
