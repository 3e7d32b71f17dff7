//! Jobs on a remote engine, which continues when the submitting process ends.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tintype_core::request::Draft;
use tintype_core::store::{
    Condition, ETag, Key, Listing, NewObject, Object, ObjectMeta, ObjectStore, PresignOptions, SignedUrl,
    StoreError,
};
use tintype_service::ledger::Ledger;
use tintype_service::ledger::id::JobId;
use tintype_service::ledger::job::{JobRecord, Reason, Status};
use tintype_service::{
    Caller, Image, JobEvent, ServedFrom, Service, ServiceError, ServiceSettings, Submission,
};
use tintype_testing::{Fault, MemoryStore, NullEngine, RemoteJobsEngine, RemoteService};
use tokio::time::Instant;

use crate::{SECOND, draft, ledger_in, pass};

/// The store of one process. It fails after the process is killed.
#[derive(Default)]
struct Reach {
    store: Arc<MemoryStore>,
    dead: AtomicBool,
}

impl Reach {
    async fn alive(&self) -> &MemoryStore {
        if self.dead.load(Ordering::SeqCst) {
            std::future::pending().await
        }
        &self.store
    }

    fn kill(&self) {
        self.dead.store(true, Ordering::SeqCst);
    }
}

#[async_trait]
impl ObjectStore for Reach {
    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Object, StoreError> {
        self.alive().await.get(key, range).await
    }

    async fn head(&self, key: &Key) -> Result<ObjectMeta, StoreError> {
        self.alive().await.head(key).await
    }

    async fn put_if(&self, key: &Key, object: NewObject, condition: Condition) -> Result<ETag, StoreError> {
        self.alive().await.put_if(key, object, condition).await
    }

    async fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Listing, StoreError> {
        self.alive().await.list(prefix, after, limit).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.alive().await.delete(key).await
    }

    async fn presign(&self, key: &Key, how: &PresignOptions) -> Result<SignedUrl, StoreError> {
        self.alive().await.presign(key, how).await
    }
}

/// What the processes share: the bucket and the remote service.
struct World {
    ledger: Arc<dyn Ledger>,
    store: Arc<MemoryStore>,
    others: Arc<RemoteService>,
    settings: ServiceSettings,
    fault: Option<Fault>,
}

impl World {
    /// A remote service that takes 20 s per image.
    fn new(settings: ServiceSettings) -> Self {
        let (store, others) = (Arc::<MemoryStore>::default(), RemoteService::new(SECOND * 20));
        Self { ledger: ledger_in(store.clone()), store, others, settings, fault: None }
    }

    /// Processes that run only during a request, as on Lambda.
    fn serverless() -> Self {
        Self::new(ServiceSettings { single_process: false, serverless: true, ..ServiceSettings::default() })
    }

    fn process(&self) -> Arc<Service> {
        self.mortal_process().0
    }

    /// A process, and the switch that kills it.
    fn mortal_process(&self) -> (Arc<Service>, Arc<Reach>) {
        let reach = Arc::new(Reach { store: self.store.clone(), ..Reach::default() });
        let service = Service::new(self.settings.clone(), reach.clone(), ledger_in(reach.clone()));
        let how = NullEngine::new(Duration::ZERO);
        let how = self.fault.iter().fold(how, |how, fault| how.with_fault(*fault));
        service.engine_ready(Arc::new(RemoteJobsEngine::new(self.others.clone(), how)));
        (service, reach)
    }

    async fn record(&self, id: JobId) -> JobRecord {
        self.ledger.job(&Caller::anonymous().owner, id).await.expect("a ledger").expect("a job")
    }

    /// Checks that the image was generated once and charged once, with the remote service's time.
    async fn has_paid_once(&self) {
        assert_eq!(self.others.submitted(), 1);
        let today = time::OffsetDateTime::now_utc().date();
        let days = self.ledger.usage(&Caller::anonymous().key, today, today).await.expect("usage");
        let [(_, day)] = days.as_slice() else { panic!("{days:?}") };
        assert_eq!((day.spent.engine_ms, day.reserved.is_zero()), (20_000, true), "{day:?}");
    }

    async fn stored(&self) -> usize {
        self.store.list("images/", None, 10).await.expect("a list").objects.len()
    }
}

/// Submits a request.
async fn submit(service: &Arc<Service>, detached: bool) -> tintype_service::JobHandle {
    let request = service.check(draft("x", 1)).expect("a valid request");
    let submission = Submission { detached, ..Submission::new(request) };
    service.submit(&Caller::anonymous(), submission).await.expect("accepted")
}

async fn read(service: &Arc<Service>, id: JobId) -> Image {
    service.image(&Caller::anonymous(), id, SECOND).await.expect("it is there")
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_answered_as_by_any_other_engine() {
    let world = World::new(ServiceSettings::default());
    let began = Instant::now();
    let image = submit(&world.process(), false).await.finished().await.expect("a picture");
    assert_eq!((image.status, image.pictures.len()), (Status::Succeeded, 1));
    // Plus at most the maximum poll interval.
    assert!((20..=25).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    assert!(world.others.polls() < 20, "{}", world.others.polls());
    world.has_paid_once().await;
}

#[tokio::test(start_paused = true)]
async fn a_process_that_is_killed_loses_nothing() {
    for detached in [true, false] {
        let world = World::new(ServiceSettings::default());
        let (first, reach) = world.mortal_process();
        let id = submit(&first, detached).await.id();
        pass(1.0).await;
        reach.kill();
        drop(first);
        pass(60.0).await;
        let record = world.record(id).await;
        assert!(record.receipt.is_some() && record.status == Status::Running, "{record:?}");

        let second = world.process();
        pass(5.0).await;
        assert_eq!(read(&second, id).await.status, Status::Succeeded, "detached: {detached}");
        world.has_paid_once().await;
        assert_eq!(world.stored().await, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_loses_nothing_either() {
    for waits in [true, false] {
        let world = World::new(ServiceSettings::default());
        let first = world.process();
        let handle = submit(&first, !waits).await;
        let (id, handle) = (handle.id(), Some(handle).filter(|_| waits));
        pass(1.0).await;
        let began = Instant::now();
        first.drain(SECOND * 3).await;
        assert_eq!(began.elapsed().as_secs(), if waits { 3 } else { 0 }, "nobody else holds it up");
        if let Some(handle) = handle {
            assert!(matches!(handle.finished().await, Err(ServiceError::Abandoned)));
        }
        pass(1.0).await;
        assert!(world.record(id).await.is_remote(), "it waits for the next start");
        drop(first);
        pass(60.0).await;

        let second = world.process();
        pass(5.0).await;
        assert_eq!(read(&second, id).await.status, Status::Succeeded, "somebody waited: {waits}");
        world.has_paid_once().await;
    }
}

#[tokio::test(start_paused = true)]
async fn where_nobody_waits_whoever_asks_looks() {
    let world = World::serverless();
    let first = world.process();
    let id = submit(&first, true).await.id();
    let began = Instant::now();
    first.wait_idle().await;
    assert!(began.elapsed() < SECOND, "it holds no process up: {:?}", began.elapsed());
    let record = world.record(id).await;
    assert!(record.is_remote() && record.runs == 0, "{record:?}");

    let second = world.process();
    pass(10.0).await;
    let looks = world.others.polls();
    let early = read(&second, id).await;
    assert_eq!((early.status, early.position), (Status::Running, None));
    second.wait_idle().await;
    assert!(world.record(id).await.is_remote());
    pass(90.0).await;
    let image = read(&second, id).await;
    assert_eq!((image.status, image.pictures.len()), (Status::Succeeded, 1));
    assert_eq!(world.others.polls() - looks, 2, "one for each time that somebody asked");
    world.has_paid_once().await;
}

#[tokio::test(start_paused = true)]
async fn a_link_to_the_picture_looks_too() {
    let world = World::serverless();
    let service = world.process();
    let id = submit(&service, true).await.id();
    let link = async || service.picture(&Caller::anonymous(), id, 0).await;
    pass(1.0).await;
    assert!(matches!(link().await, Err(ServiceError::NoPictures)));
    pass(20.0).await;
    assert!(link().await.is_ok());
    world.has_paid_once().await;
}

#[tokio::test(start_paused = true)]
async fn a_process_whose_time_is_over_hands_it_on() {
    let world = World::serverless();
    let first = world.process();
    let handle = submit(&first, false).await;
    let id = handle.id();
    pass(3.0).await;
    handle.detach().await.expect("kept");
    first.release_jobs().await;
    assert!(matches!(handle.finished().await, Err(ServiceError::Abandoned)));
    assert!(world.record(id).await.is_remote());
    pass(60.0).await;
    assert_eq!(read(&first, id).await.status, Status::Succeeded);
    world.has_paid_once().await;
}

#[tokio::test(start_paused = true)]
async fn a_frozen_process_that_is_killed_loses_nothing() {
    let world = World::serverless();
    let (first, reach) = world.mortal_process();
    let handle = submit(&first, false).await;
    let id = handle.id();
    pass(1.0).await;
    reach.kill();
    pass(60.0).await;
    let second = world.process();
    // The job counts as running until its lease expires.
    assert_eq!(read(&second, id).await.status, Status::Running);
    let record = world.record(id).await;
    assert!(record.status == Status::Running && record.receipt.is_some(), "{record:?}");
    // Leases use wall-clock time, which the test cannot change.
    let past = time::OffsetDateTime::now_utc() - SECOND;
    world.ledger.heartbeat(&record.run(), past).await.expect("a heartbeat");
    assert_eq!(read(&second, id).await.status, Status::Succeeded);
    world.has_paid_once().await;
}

#[tokio::test(start_paused = true)]
async fn somebody_who_comes_to_wait_makes_a_process_ask() {
    let world = World::serverless();
    let (first, second) = (world.process(), world.process());
    let request = first.check(Draft { seed: Some(7), ..draft("x", 1) }).expect("valid");
    let submission = Submission { detached: true, ..Submission::new(request) };
    let id = first.submit(&Caller::anonymous(), submission.clone()).await.expect("accepted").id();
    first.wait_idle().await;
    let waits = Submission { detached: false, ..submission };
    let joined = second.submit(&Caller::anonymous(), waits).await.expect("accepted");
    assert_eq!((joined.id(), joined.source()), (id, ServedFrom::Joined));
    assert_eq!(joined.finished().await.expect("a picture").status, Status::Succeeded);
    world.has_paid_once().await;
}

#[tokio::test(start_paused = true)]
async fn who_watches_is_told_of_the_end() {
    let world = World::serverless();
    let (first, second) = (world.process(), world.process());
    let id = submit(&first, true).await.id();
    first.wait_idle().await;
    let mut follow = second.follow(&Caller::anonymous(), id).await.expect("it is there");
    assert_eq!(follow.now.status, Status::Running);
    let mut last = None;
    while let Some(turn) = follow.next().await {
        last = Some(turn);
    }
    let Some(JobEvent::StateChanged(tintype_service::JobState::Ended(job))) = last else {
        panic!("{last:?}")
    };
    assert_eq!(job.status, Status::Succeeded);
    world.has_paid_once().await;
}

#[tokio::test(start_paused = true)]
async fn a_waiting_client_takes_over_from_a_process_that_lets_go() {
    let world = World::serverless();
    let (first, second) = (world.process(), world.process());
    let request = first.check(Draft { seed: Some(7), ..draft("x", 1) }).expect("valid");
    let submission = Submission::new(request);
    let handle = first.submit(&Caller::anonymous(), submission.clone()).await.expect("accepted");
    handle.detach().await.expect("kept");
    pass(1.0).await;
    let joined = second.submit(&Caller::anonymous(), submission).await.expect("accepted");
    assert_eq!((joined.id(), joined.source()), (handle.id(), ServedFrom::Joined));
    pass(1.0).await;
    first.release_jobs().await;
    assert_eq!(joined.finished().await.expect("a picture").status, Status::Succeeded);
    world.has_paid_once().await;
}

#[tokio::test(start_paused = true)]
async fn what_nobody_asks_for_is_found_by_whoever_has_time() {
    let world = World::serverless();
    let first = world.process();
    let ids = [submit(&first, true).await.id(), submit(&first, true).await.id()];
    first.wait_idle().await;
    let looks = world.others.polls();
    pass(5.0).await;
    let second = world.process();
    second.run_pending_jobs(Instant::now() + SECOND * 60).await;
    second.wait_idle().await;
    assert!((1..=2).contains(&(world.others.polls() - looks)), "it does not go round in circles");
    pass(70.0).await;
    second.run_pending_jobs(Instant::now() + SECOND * 60).await;
    second.wait_idle().await;
    for id in ids {
        assert_eq!(world.record(id).await.status, Status::Succeeded);
    }
    assert_eq!(world.others.submitted(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_failure_costs_the_same_whoever_finds_it() {
    for (fault, reason, charged) in [
        (Fault::UnusableResult, Reason::Engine, 20_000),
        (Fault::Withheld("nudity"), Reason::Model, 20_000),
        (Fault::OutcomeUnknown, Reason::OutcomeUnknown, 20_000),
        (Fault::Model(400, "no"), Reason::Model, 0),
        (Fault::Panic, Reason::Engine, 0),
    ] {
        for late in [false, true] {
            let world = World { fault: Some(fault), ..World::serverless() };
            let first = world.process();
            let handle = submit(&first, false).await;
            let id = handle.id();
            if late {
                handle.detach().await.expect("kept");
                pass(1.0).await;
                first.release_jobs().await;
                pass(1_000.0).await;
            } else {
                assert!(handle.finished().await.is_err());
            }
            assert_eq!(read(&first, id).await.status, Status::Failed(reason));
            let cost = world.record(id).await.cost.expect("it has ended");
            assert_eq!(cost.engine_ms, charged, "{fault:?}, found late: {late}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_canceled_or_deleted_there_leaves_no_picture() {
    let caller = Caller::anonymous();
    let world = World::serverless();
    let service = world.process();
    let canceled = submit(&service, true).await.id();
    let deleted = submit(&service, true).await.id();
    service.wait_idle().await;
    assert_eq!(service.cancel(&caller, canceled).await.expect("canceled").status, Status::Canceled);
    service.delete(&caller, deleted).await.expect("deleted");
    pass(60.0).await;
    service.run_pending_jobs(Instant::now() + SECOND * 60).await;
    service.wait_idle().await;
    assert_eq!(read(&service, canceled).await.status, Status::Canceled);
    let gone = service.image(&caller, deleted, SECOND).await;
    assert!(matches!(gone, Err(ServiceError::NotFound(_))));
    assert_eq!(world.stored().await, 0);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_deleted_while_somebody_waits_is_paid_and_thrown_away() {
    let world = World::new(ServiceSettings::default());
    let service = world.process();
    let id = submit(&service, true).await.id();
    pass(1.0).await;
    service.delete(&Caller::anonymous(), id).await.expect("deleted");
    pass(30.0).await;
    assert_eq!(world.stored().await, 0);
    world.has_paid_once().await;
}
