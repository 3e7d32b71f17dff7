//! A process with a wrong clock, which learns the bucket's time from the first response.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use time::Duration;
use tintype_core::store::{
    ETag, Key, Listing, NewObject, Object, ObjectMeta, PresignOptions, SignedUrl, StoreError,
};
use tintype_testing::ledger::{accepted, at, claimed, new_job};

use super::*;

/// How far the process's clock is ahead of the bucket's.
const AHEAD: Duration = Duration::minutes(10);

/// The store as a process with a wrong clock sees it.
#[derive(Default)]
struct WrongClockStore {
    store: Arc<MemoryStore>,
    has_responded: AtomicBool,
}

impl WrongClockStore {
    fn responding(&self) -> &MemoryStore {
        self.has_responded.store(true, Ordering::Relaxed);
        &self.store
    }
}

#[async_trait]
impl ObjectStore for WrongClockStore {
    fn clock_offset(&self) -> Duration {
        if self.has_responded.load(Ordering::Relaxed) { -AHEAD } else { Duration::ZERO }
    }

    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Object, StoreError> {
        self.responding().get(key, range).await
    }

    async fn head(&self, key: &Key) -> Result<ObjectMeta, StoreError> {
        self.responding().head(key).await
    }

    async fn put_if(&self, key: &Key, object: NewObject, condition: Condition) -> Result<ETag, StoreError> {
        self.responding().put_if(key, object, condition).await
    }

    async fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Listing, StoreError> {
        self.responding().list(prefix, after, limit).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.responding().delete(key).await
    }

    async fn presign(&self, key: &Key, options: &PresignOptions) -> Result<SignedUrl, StoreError> {
        self.store.presign(key, options).await
    }
}

#[test]
fn the_first_recovery_of_a_process_whose_clock_is_ahead_takes_no_job() {
    let wrong = WrongClockStore::default();
    let right = BucketLedger::new(wrong.store.clone(), fast_sleep());
    let job = block_on(accepted(&right, new_job("acme", "a"), 0));
    let running = block_on(claimed(&right, &job, 0));
    let ledger = BucketLedger::new(Arc::new(wrong), fast_sleep());
    let recover = |now| block_on(ledger.recover(now, RecoveryScope::ExpiredLeases)).expect("recovered");
    // The lease ends a minute after the claim.
    assert_eq!(recover(at(30) + AHEAD), Recovered::default());
    let found = block_on(right.job(&job.owner, job.id)).expect("read").expect("the job");
    assert!(found.is_run_by(&running.run()));
    // From now on the caller's time is the bucket's.
    assert_eq!(recover(at(61)).requeued.len(), 1);
}
