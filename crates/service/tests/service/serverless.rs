//! A process that is frozen between two requests.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use futures::future::BoxFuture;
use tintype_core::store::{
    Condition, ETag, Key, Listing, NewObject, Object, ObjectMeta, ObjectStore, PresignOptions, SignedUrl,
    StoreError,
};
use tintype_service::ledger::BucketLedger;
use tintype_service::ledger::job::{Reason, Status};
use tintype_service::{Caller, Service, ServiceSettings, Submission};
use tintype_testing::{MemoryStore, NullEngine};
use tokio::time::{Duration, Instant, sleep};

use crate::{Bench, SECOND, draft, ledger, pass};

fn serverless() -> ServiceSettings {
    ServiceSettings { single_process: false, serverless: true, ..ServiceSettings::default() }
}

/// A request whose pictures are fetched later.
fn detached(bench: &Bench, steps: i64) -> Submission {
    Submission { detached: true, ..Submission::new(bench.request("x", steps)) }
}

/// A store in memory that counts what is asked of it.
#[derive(Default)]
struct Counting {
    store: MemoryStore,
    calls: AtomicU64,
    lists: AtomicU64,
}

impl Counting {
    fn count(&self) {
        self.calls.fetch_add(1, Ordering::SeqCst);
    }

    /// How many calls since this was last asked.
    fn since(&self) -> u64 {
        self.calls.swap(0, Ordering::SeqCst)
    }
}

#[async_trait]
impl ObjectStore for Counting {
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

    async fn presign(&self, key: &Key, how: &PresignOptions) -> Result<SignedUrl, StoreError> {
        self.store.presign(key, how).await
    }
}

#[tokio::test(start_paused = true)]
async fn an_own_job_costs_nine_calls_to_the_bucket_and_no_list() {
    let store = Arc::new(Counting::default());
    let sleeper = Arc::new(|time: Duration| -> BoxFuture<'static, ()> { Box::pin(sleep(time)) });
    let ledger = Arc::new(BucketLedger::new(store.clone(), sleeper));
    let service = Service::new(serverless(), store.clone(), ledger);
    service.engine_ready(Arc::new(NullEngine::new(SECOND)));
    for calls in [
        // The account is read; it, the mark, the job and its signpost are written; the job is claimed; the picture is put; the job
        // is ended, charged, and its mark taken away.
        10, // Now the account is remembered.
        9, 9,
    ] {
        let request = service.check(draft("x", 1)).expect("valid");
        let image =
            service.generate(&Caller::anonymous(), Submission::new(request)).await.expect("a picture");
        service.wait_idle().await;
        assert_eq!((image.status, store.since()), (Status::Succeeded, calls));
    }
    assert_eq!(store.lists.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn it_is_idle_once_what_it_accepted_is_done() {
    let bench = Bench::with(serverless(), NullEngine::new(SECOND));
    bench.service.wait_idle().await;
    let handle = bench.service.submit(&Caller::anonymous(), detached(&bench, 5)).await.expect("accepted");
    let (id, began) = (handle.id(), Instant::now());
    drop(handle);
    bench.service.wait_idle().await;
    assert_eq!(began.elapsed().as_secs(), 5);
    let image = bench.service.image(&Caller::anonymous(), id, SECOND).await.expect("it is there");
    assert_eq!(image.status, Status::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn it_works_for_others_when_it_is_told_to() {
    let ledger = ledger();
    let caller = Caller::anonymous();
    let gone = Bench::on(ledger.clone(), serverless(), NullEngine::new(SECOND));
    let id = gone.service.submit(&caller, detached(&gone, 100)).await.expect("accepted").id();
    pass(1.0).await;
    gone.service.release_jobs().await;
    let other = Bench::on(ledger, serverless(), NullEngine::new(SECOND));
    pass(100.0).await;
    assert_eq!(other.engine.started(), 0, "nobody told it to");
    other.service.run_pending_jobs(Instant::now()).await;
    assert_eq!(other.engine.started(), 0, "it has no time");
    pass(100.0).await;
    other.service.run_pending_jobs(Instant::now() + SECOND).await;
    other.service.wait_idle().await;
    let image = other.service.image(&caller, id, SECOND).await.expect("it is there");
    assert_eq!((image.status, other.engine.finished()), (Status::Succeeded, 1));
}

#[tokio::test(start_paused = true)]
async fn what_it_has_no_time_for_is_handed_back() {
    let bench = Bench::with(serverless(), NullEngine::new(SECOND));
    let caller = Caller::anonymous();
    let id = bench.service.submit(&caller, detached(&bench, 100)).await.expect("accepted").id();
    pass(2.0).await;
    bench.service.release_jobs().await;
    let job = bench.ledger.job(&caller.owner, id).await.expect("a ledger").expect("a job");
    assert_eq!((job.status, job.runs), (Status::Queued, 0));
    // It works on, for the next event.
    bench.generate(bench.request("y", 1)).await.expect("a picture");
}

#[tokio::test(start_paused = true)]
async fn what_is_paid_and_not_done_in_time_is_not_made_again() {
    let bench = Bench::with(serverless(), NullEngine::new(SECOND).paid());
    let caller = Caller::anonymous();
    let id = bench.service.submit(&caller, detached(&bench, 100)).await.expect("accepted").id();
    pass(2.0).await;
    bench.service.release_jobs().await;
    let job = bench.ledger.job(&caller.owner, id).await.expect("a ledger").expect("a job");
    assert_eq!(job.status, Status::Failed(Reason::OutcomeUnknown));
    assert!(job.cost.is_some_and(|cost| cost.engine_ms >= 2_000), "{:?}", job.cost);
    pass(100.0).await;
    bench.service.run_pending_jobs(Instant::now() + SECOND).await;
    assert_eq!(bench.engine.started(), 1);
}
