//! Jobs on a remote engine, which continues when the submitting process ends.

use std::sync::Arc;
use std::time::Duration;

use tintype_core::request::Draft;
use tintype_core::store::ObjectStore;
use tintype_ledger::Ledger;
use tintype_ledger::id::JobId;
use tintype_ledger::job::{JobRecord, Reason, Status};
use tintype_service::{
    Caller, Image, JobEvent, ServedFrom, Service, ServiceError, ServiceSettings, Submission, Topology,
};
use tintype_testing::{Fault, MemoryStore, NullEngine, RemoteJobsEngine, RemoteService};
use tokio::time::Instant;

use crate::killable_store::KillableStore;
use crate::{SECOND, draft, ledger_in, wait_seconds};

/// What the processes share: the bucket and the remote service.
struct Cluster {
    ledger: Arc<dyn Ledger>,
    store: Arc<MemoryStore>,
    remote: Arc<RemoteService>,
    settings: ServiceSettings,
    fault: Option<Fault>,
}

impl Cluster {
    /// A remote service that takes 20 s per image.
    fn new(settings: ServiceSettings) -> Self {
        let (store, remote) = (Arc::<MemoryStore>::default(), RemoteService::new(SECOND * 20));
        Self { ledger: ledger_in(store.clone()), store, remote, settings, fault: None }
    }

    /// Processes that run only during a request, as on Lambda.
    fn serverless() -> Self {
        Self::new(ServiceSettings { topology: Topology::Serverless, ..ServiceSettings::default() })
    }

    fn process(&self) -> Arc<Service> {
        self.killable_process().0
    }

    /// A process, and the switch that kills it.
    fn killable_process(&self) -> (Arc<Service>, Arc<KillableStore>) {
        let process_store = Arc::new(KillableStore::new(self.store.clone()));
        let service =
            Service::new(self.settings.clone(), process_store.clone(), ledger_in(process_store.clone()));
        let engine = NullEngine::new(Duration::ZERO);
        let engine = self.fault.iter().fold(engine, |engine, fault| engine.with_fault(*fault));
        service.engine_ready(Arc::new(RemoteJobsEngine::new(self.remote.clone(), engine)));
        (service, process_store)
    }

    async fn record(&self, id: JobId) -> JobRecord {
        self.ledger.job(&Caller::anonymous().owner, id).await.expect("a ledger").expect("a job")
    }

    /// Checks that the image was generated once and charged once, with the remote service's time.
    async fn assert_paid_once(&self) {
        assert_eq!(self.remote.submitted(), 1);
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
    let request = service.check(None, draft("x", 1)).expect("a valid request");
    let submission = Submission { detached, ..Submission::new(request) };
    service.submit(&Caller::anonymous(), submission).await.expect("accepted")
}

async fn read_image(service: &Arc<Service>, id: JobId) -> Image {
    service.image(&Caller::anonymous(), id, SECOND).await.expect("it is there")
}

#[tokio::test(start_paused = true)]
async fn a_waiting_client_gets_its_images_as_from_a_local_engine() {
    let cluster = Cluster::new(ServiceSettings::default());
    let began = Instant::now();
    let image = submit(&cluster.process(), false).await.finished().await.expect("a picture");
    assert_eq!((image.status, image.pictures.len()), (Status::Succeeded, 1));
    // Plus at most the maximum poll interval.
    assert!((20..=25).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    assert!(cluster.remote.polls() < 20, "{}", cluster.remote.polls());
    cluster.assert_paid_once().await;
}

#[tokio::test(start_paused = true)]
async fn a_process_that_is_killed_loses_nothing() {
    for detached in [true, false] {
        let cluster = Cluster::new(ServiceSettings::default());
        let (first, process_store) = cluster.killable_process();
        let id = submit(&first, detached).await.id();
        wait_seconds(1.0).await;
        process_store.kill();
        drop(first);
        wait_seconds(60.0).await;
        let record = cluster.record(id).await;
        assert!(record.receipt.is_some() && record.status == Status::Running, "{record:?}");

        let second = cluster.process();
        wait_seconds(5.0).await;
        assert_eq!(read_image(&second, id).await.status, Status::Succeeded, "detached: {detached}");
        cluster.assert_paid_once().await;
        assert_eq!(cluster.stored().await, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_loses_nothing_either() {
    for waits in [true, false] {
        let cluster = Cluster::new(ServiceSettings::default());
        let first = cluster.process();
        let handle = submit(&first, !waits).await;
        let (id, handle) = (handle.id(), Some(handle).filter(|_| waits));
        wait_seconds(1.0).await;
        let began = Instant::now();
        first.drain(SECOND * 3).await;
        assert_eq!(
            began.elapsed().as_secs(),
            if waits { 3 } else { 0 },
            "only a waiting client delays the drain"
        );
        if let Some(handle) = handle {
            assert!(matches!(handle.finished().await, Err(ServiceError::Draining)));
        }
        wait_seconds(1.0).await;
        assert!(cluster.record(id).await.is_remote(), "the job waits for the next start");
        drop(first);
        wait_seconds(60.0).await;

        let second = cluster.process();
        wait_seconds(5.0).await;
        assert_eq!(read_image(&second, id).await.status, Status::Succeeded, "with a waiting client: {waits}");
        cluster.assert_paid_once().await;
    }
}

#[tokio::test(start_paused = true)]
async fn each_read_of_the_job_polls_once() {
    let cluster = Cluster::serverless();
    let first = cluster.process();
    let id = submit(&first, true).await.id();
    let began = Instant::now();
    first.wait_idle().await;
    assert!(began.elapsed() < SECOND, "the process is not kept busy: {:?}", began.elapsed());
    let record = cluster.record(id).await;
    assert!(record.is_remote() && record.runs == 0, "{record:?}");

    let second = cluster.process();
    wait_seconds(10.0).await;
    let polls = cluster.remote.polls();
    let early = read_image(&second, id).await;
    assert_eq!((early.status, early.position), (Status::Running, None));
    second.wait_idle().await;
    assert!(cluster.record(id).await.is_remote());
    wait_seconds(90.0).await;
    let image = read_image(&second, id).await;
    assert_eq!((image.status, image.pictures.len()), (Status::Succeeded, 1));
    assert_eq!(cluster.remote.polls() - polls, 2, "one poll per read");
    cluster.assert_paid_once().await;
}

#[tokio::test(start_paused = true)]
async fn a_request_for_a_link_polls_too() {
    let cluster = Cluster::serverless();
    let service = cluster.process();
    let id = submit(&service, true).await.id();
    let link = async || service.picture(&Caller::anonymous(), id, 0).await;
    wait_seconds(1.0).await;
    assert!(matches!(link().await, Err(ServiceError::NoPictures)));
    wait_seconds(20.0).await;
    assert!(link().await.is_ok());
    cluster.assert_paid_once().await;
}

#[tokio::test(start_paused = true)]
async fn a_process_that_must_end_releases_the_job() {
    let cluster = Cluster::serverless();
    let first = cluster.process();
    let handle = submit(&first, false).await;
    let id = handle.id();
    wait_seconds(3.0).await;
    handle.detach().await.expect("kept");
    first.release_jobs().await;
    assert!(matches!(handle.finished().await, Err(ServiceError::Draining)));
    assert!(cluster.record(id).await.is_remote());
    wait_seconds(60.0).await;
    assert_eq!(read_image(&first, id).await.status, Status::Succeeded);
    cluster.assert_paid_once().await;
}

#[tokio::test(start_paused = true)]
async fn a_frozen_process_that_is_killed_loses_nothing() {
    let cluster = Cluster::serverless();
    let (first, process_store) = cluster.killable_process();
    let handle = submit(&first, false).await;
    let id = handle.id();
    wait_seconds(1.0).await;
    process_store.kill();
    wait_seconds(60.0).await;
    let second = cluster.process();
    // The job counts as running until its lease expires.
    assert_eq!(read_image(&second, id).await.status, Status::Running);
    let record = cluster.record(id).await;
    assert!(record.status == Status::Running && record.receipt.is_some(), "{record:?}");
    // Leases use wall-clock time, which the test cannot change.
    let past = time::OffsetDateTime::now_utc() - SECOND;
    cluster.ledger.heartbeat(&record.run(), past).await.expect("a heartbeat");
    assert_eq!(read_image(&second, id).await.status, Status::Succeeded);
    cluster.assert_paid_once().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_joins_lets_its_process_poll() {
    let cluster = Cluster::serverless();
    let (first, second) = (cluster.process(), cluster.process());
    let request = first.check(None, Draft { seed: Some(7), ..draft("x", 1) }).expect("valid");
    let submission = Submission { detached: true, ..Submission::new(request) };
    let id = first.submit(&Caller::anonymous(), submission.clone()).await.expect("accepted").id();
    first.wait_idle().await;
    let waits = Submission { detached: false, ..submission };
    let joined = second.submit(&Caller::anonymous(), waits).await.expect("accepted");
    assert_eq!((joined.id(), joined.source()), (id, ServedFrom::Joined));
    assert_eq!(joined.finished().await.expect("a picture").status, Status::Succeeded);
    cluster.assert_paid_once().await;
}

#[tokio::test(start_paused = true)]
async fn a_watcher_gets_the_final_state() {
    let cluster = Cluster::serverless();
    let (first, second) = (cluster.process(), cluster.process());
    let id = submit(&first, true).await.id();
    first.wait_idle().await;
    let mut events = second.follow(&Caller::anonymous(), id).await.expect("it is there");
    assert_eq!(events.now.status, Status::Running);
    let mut last = None;
    while let Some(event) = events.next().await {
        last = Some(event);
    }
    let Some(JobEvent::StateChanged(tintype_service::JobState::Ended(job))) = last else {
        panic!("{last:?}")
    };
    assert_eq!(job.status, Status::Succeeded);
    cluster.assert_paid_once().await;
}

#[tokio::test(start_paused = true)]
async fn a_waiting_client_takes_over_a_released_job() {
    let cluster = Cluster::serverless();
    let (first, second) = (cluster.process(), cluster.process());
    let request = first.check(None, Draft { seed: Some(7), ..draft("x", 1) }).expect("valid");
    let submission = Submission::new(request);
    let handle = first.submit(&Caller::anonymous(), submission.clone()).await.expect("accepted");
    handle.detach().await.expect("kept");
    wait_seconds(1.0).await;
    let joined = second.submit(&Caller::anonymous(), submission).await.expect("accepted");
    assert_eq!((joined.id(), joined.source()), (handle.id(), ServedFrom::Joined));
    wait_seconds(1.0).await;
    first.release_jobs().await;
    assert_eq!(joined.finished().await.expect("a picture").status, Status::Succeeded);
    cluster.assert_paid_once().await;
}

#[tokio::test(start_paused = true)]
async fn pending_remote_jobs_are_polled_by_another_process() {
    let cluster = Cluster::serverless();
    let first = cluster.process();
    let ids = [submit(&first, true).await.id(), submit(&first, true).await.id()];
    first.wait_idle().await;
    let polls = cluster.remote.polls();
    wait_seconds(5.0).await;
    let second = cluster.process();
    second.run_pending_jobs(Instant::now() + SECOND * 60).await;
    second.wait_idle().await;
    assert!(
        (1..=2).contains(&(cluster.remote.polls() - polls)),
        "a pending job is polled once, not in a loop"
    );
    wait_seconds(70.0).await;
    second.run_pending_jobs(Instant::now() + SECOND * 60).await;
    second.wait_idle().await;
    for id in ids {
        assert_eq!(cluster.record(id).await.status, Status::Succeeded);
    }
    assert_eq!(cluster.remote.submitted(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_failure_costs_the_same_whether_it_is_found_early_or_late() {
    for (fault, reason, charged) in [
        (Fault::UnusableResult, Reason::Engine, 20_000),
        (Fault::Withheld("nudity"), Reason::Model, 20_000),
        (Fault::OutcomeUnknown, Reason::OutcomeUnknown, 20_000),
        (Fault::Model(400, "no"), Reason::Model, 0),
        (Fault::Panic, Reason::Engine, 0),
    ] {
        for late in [false, true] {
            let cluster = Cluster { fault: Some(fault), ..Cluster::serverless() };
            let first = cluster.process();
            let handle = submit(&first, false).await;
            let id = handle.id();
            if late {
                handle.detach().await.expect("kept");
                wait_seconds(1.0).await;
                first.release_jobs().await;
                wait_seconds(1_000.0).await;
            } else {
                assert!(handle.finished().await.is_err());
            }
            assert_eq!(read_image(&first, id).await.status, Status::Failed(reason));
            let cost = cluster.record(id).await.cost.expect("it has ended");
            assert_eq!(cost.engine_ms, charged, "{fault:?}, found late: {late}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn canceled_and_deleted_remote_jobs_leave_no_image() {
    let caller = Caller::anonymous();
    let cluster = Cluster::serverless();
    let service = cluster.process();
    let canceled = submit(&service, true).await.id();
    let deleted = submit(&service, true).await.id();
    service.wait_idle().await;
    assert_eq!(service.cancel(&caller, canceled).await.expect("canceled").status, Status::Canceled);
    service.delete(&caller, deleted).await.expect("deleted");
    wait_seconds(60.0).await;
    service.run_pending_jobs(Instant::now() + SECOND * 60).await;
    service.wait_idle().await;
    assert_eq!(read_image(&service, canceled).await.status, Status::Canceled);
    let gone = service.image(&caller, deleted, SECOND).await;
    assert!(matches!(gone, Err(ServiceError::NotFound(_))));
    assert_eq!(cluster.stored().await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_deleted_while_it_runs_is_charged_and_its_image_deleted() {
    let cluster = Cluster::new(ServiceSettings::default());
    let service = cluster.process();
    let id = submit(&service, true).await.id();
    wait_seconds(1.0).await;
    service.delete(&Caller::anonymous(), id).await.expect("deleted");
    wait_seconds(30.0).await;
    assert_eq!(cluster.stored().await, 0);
    cluster.assert_paid_once().await;
}
