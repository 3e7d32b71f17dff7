//! Several processes on one ledger, and workers that lost their lease.

use std::sync::Arc;

use tintype_core::store::ObjectStore;
use tintype_ledger::job::{Reason, Status};
use tintype_ledger_sqlite::{SqliteLedger, Synchronous};
use tintype_service::{Caller, ServedFrom, Service, ServiceError, ServiceSettings, Submission, Topology};
use tintype_testing::{MemoryStore, NullEngine};

use crate::generating::key_of;
use crate::{Harness, SECOND, draft, ledger, ledger_in, wait_seconds};

fn shared() -> ServiceSettings {
    ServiceSettings { topology: Topology::Cluster, ..ServiceSettings::default() }
}

#[tokio::test(start_paused = true)]
async fn a_job_of_one_process_is_run_by_another() {
    let ledger = ledger();
    let caller = Caller::anonymous();
    // One process with a slow engine, and one with a fast engine.
    let store = Arc::new(MemoryStore::default());
    let busy = Harness::on(ledger.clone(), shared(), NullEngine::new(SECOND * 100));
    let submission = |harness: &Harness, prompt: &str| Submission::new(harness.request(prompt, 3));
    let first = busy.service.submit(&caller, submission(&busy, "first")).await.expect("accepted");
    wait_seconds(1.0).await;
    let waiting = busy.service.submit(&caller, submission(&busy, "second")).await.expect("accepted");
    let other = Harness::on(ledger, shared(), NullEngine::new(SECOND));
    let image = waiting.finished().await.expect("a picture");
    assert_eq!((other.engine.finished(), image.status), (1, Status::Succeeded));
    // Draining the second process does not affect the jobs of the first.
    other.service.drain(SECOND).await;
    drop((first, store));
}

#[tokio::test(start_paused = true)]
async fn a_joined_job_survives_the_first_client_of_another_process() {
    let ledger = ledger();
    let caller = Caller::anonymous();
    let one = Harness::on(ledger.clone(), shared(), NullEngine::new(SECOND));
    let seeded = |harness: &Harness| {
        let draft = tintype_core::request::Draft { seed: Some(7), ..draft("x", 40) };
        Submission::new(harness.service.check(None, draft).expect("valid"))
    };
    let first = one.service.submit(&caller, seeded(&one)).await.expect("accepted");
    wait_seconds(1.0).await;
    let two = Harness::on(ledger, shared(), NullEngine::new(SECOND));
    let second = two.service.submit(&caller, seeded(&two)).await.expect("accepted");
    assert_eq!((second.source(), second.id()), (ServedFrom::Joined, first.id()));
    drop(first);
    let image = second.finished().await.expect("a picture");
    assert_eq!((image.status, one.engine.finished() + two.engine.finished()), (Status::Succeeded, 1));
}

#[tokio::test(start_paused = true)]
async fn a_waiting_client_gets_an_error_if_another_process_deletes_the_job() {
    let ledger = ledger();
    let caller = Caller::anonymous();
    let one = Harness::on(ledger.clone(), shared(), NullEngine::new(SECOND * 100));
    let submission = |prompt: &str| Submission::new(one.request(prompt, 3));
    let running = one.service.submit(&caller, submission("first")).await.expect("accepted");
    wait_seconds(1.0).await;
    let waiting = one.service.submit(&caller, submission("second")).await.expect("accepted");
    let two = Harness::on(ledger, shared(), NullEngine::new(SECOND * 100));
    two.service.delete(&caller, waiting.id()).await.expect("deleted");
    let end = tokio::time::timeout(SECOND * 60, waiting.finished()).await.expect("not for ever");
    assert!(matches!(end, Err(ServiceError::Canceled)), "{end:?}");
    drop(running);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_lost_its_lease_does_not_delete_the_images() {
    let ledger = ledger();
    let caller = Caller::anonymous();
    // A job that takes longer than a lease.
    let slow = Harness::on(ledger.clone(), shared(), NullEngine::new(SECOND * 20));
    let submission = Submission { detached: true, ..Submission::new(slow.request("x", 4)) };
    let id = slow.service.submit(&caller, submission).await.expect("accepted").id();
    wait_seconds(1.0).await;
    let job = ledger.job(&caller.owner, id).await.expect("a ledger").expect("a job");
    // As if its lease had expired: another worker gets the job.
    let far = time::OffsetDateTime::now_utc() + time::Duration::HOUR;
    ledger.recover(far, tintype_ledger::job::RecoveryScope::ExpiredLeases).await.expect("recovered");
    assert_eq!(job.status, Status::Running);
    let quick = Harness::on(ledger.clone(), shared(), NullEngine::new(SECOND));
    wait_seconds(10.0).await;
    let image = quick.service.image(&caller, id, SECOND).await.expect("it is there");
    assert_eq!(image.status, Status::Succeeded);
    // The first worker stops or finishes; its image does not belong to the job.
    wait_seconds(120.0).await;
    let image = quick.service.image(&caller, id, SECOND).await.expect("it is there");
    assert_eq!(image.status, Status::Succeeded);
    quick.store.head(&key_of(&image.pictures[0])).await.expect("every link leads to an image");
}

#[tokio::test(start_paused = true)]
async fn times_are_those_of_the_buckets_clock() {
    let ahead = time::Duration::HOUR;
    let bucket = Arc::new(MemoryStore::default());
    bucket.set_clock_offset(ahead.whole_seconds());
    let harness = Harness::on(ledger_in(bucket), shared(), NullEngine::new(SECOND * 5));
    let started = time::OffsetDateTime::now_utc();
    let image = harness.generate(harness.request("x", 2)).await.expect("a picture");
    for at in [Some(image.created), image.started, image.finished] {
        let ahead_by = at.expect("a time") - started;
        assert!(ahead_by >= ahead && ahead_by < ahead + time::Duration::MINUTE, "{ahead_by}");
    }
    // The time that is left until a deadline does not depend on the clock.
    for (seconds, expected) in [(30, None), (3, Some(Reason::Deadline))] {
        let submission = Submission {
            deadline: Some(SECOND * seconds),
            ..Submission::new(harness.request(&seconds.to_string(), 2))
        };
        let end = harness.service.generate(&Caller::anonymous(), submission).await;
        let reason = match end {
            Ok(_) => None,
            Err(ServiceError::Failed(failure)) => Some(failure.reason),
            Err(error) => panic!("{error}"),
        };
        assert_eq!(reason, expected);
    }
}

/// Every request joins or finds the previous one at about the moment when that ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_joins_an_ending_job_does_not_wait_for_ever() {
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
                let submission = Submission::new(service.check(None, draft).expect("valid"));
                let submission = if at % 4 == 0 {
                    submission.with_idempotency_key(format!("{round}"), b"x")
                } else {
                    submission
                };
                tokio::spawn(async move { service.generate(&Caller::anonymous(), submission).await })
            })
            .collect();
        for client in clients {
            let end = tokio::time::timeout(SECOND * 60, client).await.expect("no client waits for ever");
            match end.expect("no panic") {
                Ok(image) => assert_eq!(image.status, Status::Succeeded),
                Err(error) => panic!("{error:?}: {}", matches!(error, ServiceError::Abandoned)),
            }
        }
    }
}
