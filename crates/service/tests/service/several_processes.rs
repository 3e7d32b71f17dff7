//! Several processes on one ledger, and workers that were taken for dead.

use std::sync::Arc;

use tintype_core::store::ObjectStore;
use tintype_service::ledger::job::Status;
use tintype_service::ledger::{SqliteLedger, Synchronous};
use tintype_service::{Caller, ServedFrom, Service, ServiceError, ServiceSettings, Submission};
use tintype_testing::{MemoryStore, NullEngine};

use crate::generating::key_of;
use crate::{Bench, SECOND, draft, ledger, pass};

fn shared() -> ServiceSettings {
    ServiceSettings { single_process: false, ..ServiceSettings::default() }
}

#[tokio::test(start_paused = true)]
async fn who_waits_in_one_process_is_served_by_another() {
    let ledger = ledger();
    let caller = Caller::anonymous();
    // One whose engine is not there yet, and one that works.
    let store = Arc::new(MemoryStore::default());
    let busy = Bench::on(ledger.clone(), shared(), NullEngine::new(SECOND * 100));
    let submission = |bench: &Bench, prompt: &str| Submission::new(bench.request(prompt, 3));
    let first = busy.service.submit(&caller, submission(&busy, "first")).await.expect("accepted");
    pass(1.0).await;
    let waiting = busy.service.submit(&caller, submission(&busy, "second")).await.expect("accepted");
    let other = Bench::on(ledger, shared(), NullEngine::new(SECOND));
    let image = waiting.finished().await.expect("a picture");
    assert_eq!((other.engine.finished(), image.status), (1, Status::Succeeded));
    // Draining the one that works for others takes nothing from them.
    other.service.drain(SECOND).await;
    drop((first, store));
}

#[tokio::test(start_paused = true)]
async fn who_joins_from_another_process_does_not_depend_on_the_first() {
    let ledger = ledger();
    let caller = Caller::anonymous();
    let one = Bench::on(ledger.clone(), shared(), NullEngine::new(SECOND));
    let seeded = |bench: &Bench| {
        let draft = tintype_core::request::Draft { seed: Some(7), ..draft("x", 40) };
        Submission::new(bench.service.check(draft).expect("valid"))
    };
    let first = one.service.submit(&caller, seeded(&one)).await.expect("accepted");
    pass(1.0).await;
    let two = Bench::on(ledger, shared(), NullEngine::new(SECOND));
    let second = two.service.submit(&caller, seeded(&two)).await.expect("accepted");
    assert_eq!((second.source(), second.id()), (ServedFrom::Joined, first.id()));
    drop(first);
    let image = second.finished().await.expect("a picture");
    assert_eq!((image.status, one.engine.finished() + two.engine.finished()), (Status::Succeeded, 1));
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_what_was_deleted_elsewhere_hears_of_it() {
    let ledger = ledger();
    let caller = Caller::anonymous();
    let one = Bench::on(ledger.clone(), shared(), NullEngine::new(SECOND * 100));
    let submission = |prompt: &str| Submission::new(one.request(prompt, 3));
    let running = one.service.submit(&caller, submission("first")).await.expect("accepted");
    pass(1.0).await;
    let waiting = one.service.submit(&caller, submission("second")).await.expect("accepted");
    let two = Bench::on(ledger, shared(), NullEngine::new(SECOND * 100));
    two.service.delete(&caller, waiting.id()).await.expect("deleted");
    let end = tokio::time::timeout(SECOND * 60, waiting.finished()).await.expect("not for ever");
    assert!(matches!(end, Err(ServiceError::Canceled)), "{end:?}");
    drop(running);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_was_taken_for_dead_takes_nothing_away() {
    let ledger = ledger();
    let caller = Caller::anonymous();
    // Its ledger is out of reach for longer than a lease, so that nobody hears of it.
    let slow = Bench::on(ledger.clone(), shared(), NullEngine::new(SECOND * 20));
    let submission = Submission { detached: true, ..Submission::new(slow.request("x", 4)) };
    let id = slow.service.submit(&caller, submission).await.expect("accepted").id();
    pass(1.0).await;
    let job = ledger.job(&caller.owner, id).await.expect("a ledger").expect("a job");
    // As if its lease were over: somebody else is given the job.
    let far = time::OffsetDateTime::now_utc() + time::Duration::HOUR;
    ledger.recover(far, tintype_service::ledger::job::RecoveryScope::ExpiredLeases).await.expect("recovered");
    assert_eq!(job.status, Status::Running);
    let quick = Bench::on(ledger.clone(), shared(), NullEngine::new(SECOND));
    pass(10.0).await;
    let image = quick.service.image(&caller, id, SECOND).await.expect("it is there");
    assert_eq!(image.status, Status::Succeeded);
    // The first one notices, or finishes, and its picture is not the job's.
    pass(120.0).await;
    let image = quick.service.image(&caller, id, SECOND).await.expect("it is there");
    assert_eq!(image.status, Status::Succeeded);
    quick.store.head(&key_of(&image.pictures[0])).await.expect("whoever has a link has a picture");
}

/// Every request joins or finds the one before, at moments when that one is just ending.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_what_has_ended() {
    let folder = tempfile::tempdir().expect("a folder");
    let ledger = SqliteLedger::open(&folder.path().join("ledger.db"), Synchronous::Normal).expect("open");
    let store = Arc::new(MemoryStore::default());
    let settings = ServiceSettings { queue: 1_000, ..ServiceSettings::default() };
    let service = Service::new(settings, store, Arc::new(ledger));
    service.engine_ready(Arc::new(NullEngine::new(std::time::Duration::ZERO)));
    for round in 0..300 {
        let clients: Vec<_> = (0..8)
            .map(|at| {
                let service = service.clone();
                let draft = tintype_core::request::Draft { seed: Some(round / 2), ..draft("x", 1) };
                let submission = Submission::new(service.check(draft).expect("valid"));
                let submission = if at % 4 == 0 {
                    submission.with_idempotency_key(format!("{round}"), b"x")
                } else {
                    submission
                };
                tokio::spawn(async move { service.generate(&Caller::anonymous(), submission).await })
            })
            .collect();
        for client in clients {
            let end = tokio::time::timeout(SECOND * 60, client).await.expect("nobody waits for ever");
            match end.expect("no panic") {
                Ok(image) => assert_eq!(image.status, Status::Succeeded),
                Err(error) => panic!("{error:?}: {}", matches!(error, ServiceError::Abandoned)),
            }
        }
    }
}
