//! Serverless processes, which are frozen between two requests.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use futures::future::BoxFuture;
use tintype_core::store::{
    Condition, ETag, Key, Listing, NewObject, Object, ObjectMeta, ObjectStore, PresignOptions, SignedUrl,
    StoreError,
};
use tintype_ledger::job::{Reason, Status};
use tintype_ledger_bucket::BucketLedger;
use tintype_service::{Caller, Service, ServiceSettings, Submission, Topology};
use tintype_testing::{MemoryStore, NullEngine};
use tokio::time::{Duration, Instant, sleep};

use crate::{Harness, SECOND, draft, ledger, wait_seconds};

fn serverless() -> ServiceSettings {
    ServiceSettings { topology: Topology::Serverless, ..ServiceSettings::default() }
}

/// A detached request.
fn detached(harness: &Harness, steps: i64) -> Submission {
    Submission { detached: true, ..Submission::new(harness.request("x", steps)) }
}

/// A store in memory that counts its calls.
#[derive(Default)]
struct CountingStore {
    store: MemoryStore,
    calls: AtomicU64,
    lists: AtomicU64,
}

impl CountingStore {
    fn count(&self) {
        self.calls.fetch_add(1, Ordering::SeqCst);
    }

    /// The number of calls since the last call of this method.
    fn take_count(&self) -> u64 {
        self.calls.swap(0, Ordering::SeqCst)
    }
}

#[async_trait]
impl ObjectStore for CountingStore {
    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Object, StoreError> {
        self.count();
        self.store.get(key, range).await
    }

    async fn head(&self, key: &Key) -> Result<ObjectMeta, StoreError> {
        self.count();
        self.store.head(key).await
    }

    async fn put_if(&self, key: &Key, object: NewObject, condition: Condition) -> Result<ETag, StoreError> {
        self.count();
        self.store.put_if(key, object, condition).await
    }

    async fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Listing, StoreError> {
        self.count();
        self.lists.fetch_add(1, Ordering::SeqCst);
        self.store.list(prefix, after, limit).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.count();
        self.store.delete(key).await
    }

    async fn presign(&self, key: &Key, options: &PresignOptions) -> Result<SignedUrl, StoreError> {
        self.store.presign(key, options).await
    }
}

#[tokio::test(start_paused = true)]
async fn an_own_job_takes_nine_calls_to_the_bucket_and_no_list() {
    let store = Arc::new(CountingStore::default());
    let sleeper = Arc::new(|time: Duration| -> BoxFuture<'static, ()> { Box::pin(sleep(time)) });
    let ledger = Arc::new(BucketLedger::new(store.clone(), sleeper));
    let service = Service::new(serverless(), store.clone(), ledger);
    service.engine_ready(Arc::new(NullEngine::new(SECOND)));
    for calls in [
        // Read the account; write it, the mark, the job and its index entry; claim the job; put the image;
        // finish the job, charge it, and delete the mark. Save the engine times.
        11, // From now on the account is cached, and the engine times are saved once a minute.
        9, 9,
    ] {
        let request = service.check(None, draft("x", 1)).expect("valid");
        let image =
            service.generate(&Caller::anonymous(), Submission::new(request)).await.expect("a picture");
        service.wait_idle().await;
        assert_eq!((image.status, store.take_count()), (Status::Succeeded, calls));
    }
    assert_eq!(store.lists.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn it_is_idle_once_its_jobs_have_ended() {
    let harness = Harness::with(serverless(), NullEngine::new(SECOND));
    harness.service.wait_idle().await;
    let handle = harness.service.submit(&Caller::anonymous(), detached(&harness, 5)).await.expect("accepted");
    let (id, began) = (handle.id(), Instant::now());
    drop(handle);
    harness.service.wait_idle().await;
    assert_eq!(began.elapsed().as_secs(), 5);
    let image = harness.service.image(&Caller::anonymous(), id, SECOND).await.expect("it is there");
    assert_eq!(image.status, Status::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn it_runs_jobs_of_other_processes_on_request_only() {
    let ledger = ledger();
    let caller = Caller::anonymous();
    let first = Harness::on(ledger.clone(), serverless(), NullEngine::new(SECOND));
    let id = first.service.submit(&caller, detached(&first, 100)).await.expect("accepted").id();
    wait_seconds(1.0).await;
    first.service.release_jobs().await;
    let other = Harness::on(ledger, serverless(), NullEngine::new(SECOND));
    wait_seconds(100.0).await;
    assert_eq!(other.engine.started(), 0, "no run of pending jobs was requested");
    other.service.run_pending_jobs(Instant::now()).await;
    assert_eq!(other.engine.started(), 0, "the time limit has passed");
    wait_seconds(100.0).await;
    other.service.run_pending_jobs(Instant::now() + SECOND).await;
    other.service.wait_idle().await;
    let image = other.service.image(&caller, id, SECOND).await.expect("it is there");
    assert_eq!((image.status, other.engine.finished()), (Status::Succeeded, 1));
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_job_returns_to_the_queue() {
    let harness = Harness::with(serverless(), NullEngine::new(SECOND));
    let caller = Caller::anonymous();
    let id = harness.service.submit(&caller, detached(&harness, 100)).await.expect("accepted").id();
    wait_seconds(2.0).await;
    harness.service.release_jobs().await;
    let job = harness.ledger.job(&caller.owner, id).await.expect("a ledger").expect("a job");
    assert_eq!((job.status, job.runs), (Status::Queued, 0));
    // The process goes on with the next event.
    harness.generate(harness.request("y", 1)).await.expect("a picture");
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_paid_job_is_not_run_again() {
    let harness = Harness::with(serverless(), NullEngine::new(SECOND).paid());
    let caller = Caller::anonymous();
    let id = harness.service.submit(&caller, detached(&harness, 100)).await.expect("accepted").id();
    wait_seconds(2.0).await;
    harness.service.release_jobs().await;
    let job = harness.ledger.job(&caller.owner, id).await.expect("a ledger").expect("a job");
    assert_eq!(job.status, Status::Failed(Reason::OutcomeUnknown));
    assert!(job.cost.is_some_and(|cost| cost.engine_ms >= 2_000), "{:?}", job.cost);
    wait_seconds(100.0).await;
    harness.service.run_pending_jobs(Instant::now() + SECOND).await;
    assert_eq!(harness.engine.started(), 1);
}
