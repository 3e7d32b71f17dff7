//! Restarts: what the next process does with the jobs of the previous one.

use std::time::Duration;

use tintype_core::request::Draft;
use tintype_core::store::ObjectStore;
use tintype_ledger::job::Status;
use tintype_ledger::policy::Policy;
use tintype_service::{Caller, ServedFrom, ServiceError, ServiceSettings, Submission};
use tintype_testing::NullEngine;

use crate::{Harness, SECOND, disconnect, draft, ledger, wait_seconds};

#[tokio::test(start_paused = true)]
async fn detached_jobs_continue_at_the_next_start() {
    let ledger = ledger();
    let caller = Caller::anonymous();
    let first = Harness::on(ledger.clone(), ServiceSettings::default(), NullEngine::new(SECOND));
    let mut detached = Vec::new();
    for prompt in ["running", "waiting"] {
        let submission = Submission { detached: true, ..Submission::new(first.request(prompt, 10)) };
        detached.push(first.service.submit(&caller, submission).await.expect("accepted").id());
    }
    let waiter = first.client("attended", 10);
    wait_seconds(1.5).await;
    // As if the process were killed: the ledger gets no more reports.
    disconnect(waiter).await;
    drop(first);

    let second = Harness::on(ledger, ServiceSettings::default(), NullEngine::new(SECOND));
    wait_seconds(25.0).await;
    let images = second.service.images(&caller, None, 10).await.expect("a list").images;
    let ends: Vec<_> = images.iter().map(|image| (image.id, image.status)).collect();
    assert_eq!(ends.len(), 3, "{ends:?}");
    for (id, status) in ends {
        let expected = if detached.contains(&id) { Status::Succeeded } else { Status::Canceled };
        assert_eq!(status, expected, "{id}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_detached_request_keeps_the_job_it_joined_after_a_restart() {
    let ledger = ledger();
    let caller = Caller::anonymous();
    let first = Harness::on(ledger.clone(), ServiceSettings::default(), NullEngine::new(SECOND));
    let seeded = |prompt: &str| {
        first.service.check(None, Draft { seed: Some(7), ..draft(prompt, 5) }).expect("a valid request")
    };
    let (alone, shared) = (Submission::new(seeded("alone")), Submission::new(seeded("shared")));
    let mut clients = Vec::new();
    for submission in [&alone, &shared] {
        clients.push(first.service.submit(&caller, submission.clone()).await.expect("accepted"));
    }
    let detached = Submission { detached: true, ..shared };
    let joined = first.service.submit(&caller, detached).await.expect("accepted");
    assert_eq!((joined.id(), joined.source()), (clients[1].id(), ServedFrom::Joined));
    wait_seconds(0.5).await;
    drop((first.service, first.engine));

    let second = Harness::on(ledger, ServiceSettings::default(), NullEngine::new(SECOND));
    wait_seconds(15.0).await;
    for (handle, expected) in clients.iter().zip([Status::Canceled, Status::Succeeded]) {
        let image = second.service.image(&caller, handle.id(), SECOND).await.expect("it is there");
        assert_eq!(image.status, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_client_can_join_a_job_whose_client_died() {
    let ledger = ledger();
    let caller = Caller::anonymous();
    let first = Harness::on(ledger.clone(), ServiceSettings::default(), NullEngine::new(SECOND));
    let busy = Submission { detached: true, ..Submission::new(first.request("busy", 5)) };
    first.service.submit(&caller, busy).await.expect("accepted");
    wait_seconds(0.5).await;
    let seeded =
        first.service.check(None, Draft { seed: Some(7), ..draft("x", 5) }).expect("a valid request");
    let left = first.service.submit(&caller, Submission::new(seeded.clone())).await.expect("accepted");
    let id = left.id();
    drop((first.service, first.engine));

    // The next process runs the first job when the client comes.
    let second = Harness::on(ledger, ServiceSettings::default(), NullEngine::new(SECOND));
    wait_seconds(0.5).await;
    let joined = second.service.submit(&caller, Submission::new(seeded)).await.expect("accepted");
    assert_eq!((joined.id(), joined.source()), (id, ServedFrom::Joined));
    assert_eq!(joined.finished().await.expect("a picture").status, Status::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn a_drain_does_not_wait_for_queued_detached_jobs() {
    let ledger = ledger();
    let caller = Caller::anonymous();
    let first = Harness::on(ledger.clone(), ServiceSettings::default(), NullEngine::new(SECOND));
    let submission =
        |prompt: &str| Submission { detached: true, ..Submission::new(first.request(prompt, 3)) };
    let running = first.service.submit(&caller, submission("running")).await.expect("accepted");
    wait_seconds(0.5).await;
    let waiting = first.service.submit(&caller, submission("waiting")).await.expect("accepted");
    let id = waiting.id();
    first.service.drain(SECOND * 30).await;
    assert!(running.finished().await.is_ok());
    assert!(matches!(waiting.finished().await, Err(ServiceError::Draining)));

    let second = Harness::on(ledger, ServiceSettings::default(), NullEngine::new(SECOND));
    wait_seconds(5.0).await;
    let image = second.service.image(&caller, id, SECOND).await.expect("it is there");
    assert_eq!(image.status, Status::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn old_records_are_deleted_and_their_images_left_to_the_store() {
    let caller = Caller::anonymous();
    for (keep, left) in [(Some(Duration::ZERO), 0), (Some(SECOND * 3_600), 1), (None, 1)] {
        let settings = ServiceSettings { keep_jobs: keep, ..ServiceSettings::default() };
        let harness = Harness::with(settings, NullEngine::new(SECOND));
        harness.generate(harness.request("x", 1)).await.expect("a picture");
        wait_seconds(60.0).await;
        let images = harness.service.images(&caller, None, 10).await.expect("a list").images;
        let stored = harness.store.list("images/", None, 10).await.expect("list").objects;
        assert_eq!((images.len(), stored.len()), (left, 1), "{keep:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn engine_times_survive_a_restart() {
    let ledger = ledger();
    let budgets = vec!["20s/day".parse().expect("a budget")];
    let caller = Caller { policy: Policy { budgets, ..Policy::default() }, ..Caller::anonymous() };
    let first = Harness::on(ledger.clone(), ServiceSettings::default(), NullEngine::new(SECOND));
    first.generate(first.request("measured", 4)).await.expect("a picture");
    first.service.drain(SECOND).await;

    // The second process runs on a machine with half the speed.
    let second = Harness::on(ledger, ServiceSettings::default(), NullEngine::new(SECOND * 2));
    let submission = |prompt: &str| Submission::new(second.request(prompt, 4));
    let clients = ["a", "b"].map(|prompt| {
        let (service, caller, submission) = (second.service.clone(), caller.clone(), submission(prompt));
        tokio::spawn(async move { service.generate(&caller, submission).await })
    });
    for client in clients {
        let image =
            client.await.expect("no panic").expect("the first request does not reserve the whole budget");
        assert_eq!(image.status, Status::Succeeded, "the estimate of the fast machine is no limit");
    }
}
