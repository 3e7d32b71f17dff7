//! Jobs without a waiting client stop after 10 s, and a retry can join them until then.

use tintype_core::request::Draft;
use tintype_core::store::ObjectStore;
use tintype_service::{Caller, ServiceError, ServiceSettings, Submission};
use tintype_testing::NullEngine;

use crate::{Harness, SECOND, disconnect, draft, wait_seconds};

#[tokio::test(start_paused = true)]
async fn an_orphaned_running_job_stops_between_two_steps() {
    let harness = Harness::new();
    let client = harness.client("x", 100);
    let next = harness.client("next", 1);
    wait_seconds(5.5).await;
    disconnect(client).await;
    // The job goes on until 15.5 s, so it stops after the step that ends at 16 s.
    wait_seconds(9.9).await;
    assert_eq!(harness.engine.started(), 1);
    wait_seconds(1.0).await;
    assert_eq!((harness.engine.started(), harness.engine.finished()), (2, 0));
    next.await.expect("no panic").expect("a picture");
    assert_eq!(harness.store.list("", None, 10).await.expect("list").objects.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_orphaned_queued_job_is_never_begun() {
    let harness = Harness::new();
    let running = harness.client("x", 30);
    let waiting = harness.client("y", 1);
    wait_seconds(1.0).await;
    disconnect(waiting).await;
    running.await.expect("no panic").expect("a picture");
    wait_seconds(60.0).await;
    assert_eq!(harness.engine.started(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_orphaned_queued_job_frees_its_place() {
    let settings = ServiceSettings { queue: 1, ..ServiceSettings::default() };
    let harness = Harness::with(settings, NullEngine::new(SECOND));
    let running = harness.client("x", 100);
    let waiting = harness.client("y", 1);
    wait_seconds(1.0).await;
    disconnect(waiting).await;
    wait_seconds(9.9).await;
    let early = harness.submit(harness.request("z", 1)).await;
    assert!(matches!(early, Err(ServiceError::QueueFull { .. })), "the retry still has its place");
    wait_seconds(0.2).await;
    assert!(harness.submit(harness.request("z", 1)).await.is_ok());
    drop(running);
}

#[tokio::test(start_paused = true)]
async fn a_public_caller_does_not_join_the_orphan_of_another() {
    let harness = Harness::new();
    let public = Caller { is_anonymous_public: true, ..Caller::anonymous() };
    let ask = async |caller| {
        harness.service.submit(caller, Submission::new(harness.request("x", 40))).await.expect("accepted")
    };
    let left = ask(&public).await;
    let id = left.id();
    wait_seconds(5.0).await;
    drop(left);
    assert_ne!(ask(&public).await.id(), id);
}

#[tokio::test(start_paused = true)]
async fn a_retry_joins_the_orphan_and_keeps_it_alive() {
    let harness = Harness::new();
    let client = harness.client("x", 40);
    wait_seconds(5.0).await;
    disconnect(client).await;
    wait_seconds(9.0).await;
    let handle = harness.submit(harness.request("x", 40)).await.expect("accepted");
    let (other, id) = (harness.submit(harness.request("x", 40)).await.expect("accepted"), handle.id());
    assert_ne!(other.id(), id, "only a job without a waiting client is joined");
    let finished = handle.finished().await.expect("a picture");
    assert_eq!((finished.id, harness.engine.finished()), (id, 1));
}

#[tokio::test(start_paused = true)]
async fn a_retry_gets_an_orphan_that_finished_meanwhile() {
    let harness = Harness::new();
    let client = harness.client("x", 4);
    wait_seconds(2.0).await;
    disconnect(client).await;
    wait_seconds(9.0).await;
    assert_eq!(harness.engine.finished(), 1);
    let again = Draft { expires_in: Some(60), ..draft("x", 4) };
    let finished =
        harness.generate(harness.service.check(None, again).expect("valid")).await.expect("a picture");
    assert_eq!(harness.engine.started(), 1, "one job only");
    assert!(finished.pictures[0].url.ends_with("expires_in=60"), "{}", finished.pictures[0].url);

    harness.generate(harness.request("x", 4)).await.expect("a picture");
    assert_eq!(harness.engine.started(), 2, "the orphan serves one retry only");
}

#[tokio::test(start_paused = true)]
async fn only_an_equal_request_joins_and_only_in_time() {
    let others = [
        Draft { steps: Some(41), ..draft("x", 40) },
        Draft { seed: Some(1), ..draft("x", 40) },
        Draft { negative_prompt: Some("y".into()), ..draft("x", 40) },
        draft("X", 40),
    ];
    let harness = Harness::new();
    let handle = harness.submit(harness.request("x", 40)).await.expect("accepted");
    wait_seconds(1.0).await;
    let first = handle.id();
    drop(handle);
    for other in others {
        let request = harness.service.check(None, other).expect("valid");
        assert_ne!(harness.submit(request).await.expect("accepted").id(), first);
    }
    wait_seconds(10.1).await;
    let late = harness.client("x", 40);
    wait_seconds(5.0).await;
    assert_eq!(harness.engine.started(), 2, "the first job was canceled and a new one begun");
    late.await.expect("no panic").expect("a picture");
}

#[tokio::test(start_paused = true)]
async fn a_client_with_its_result_does_not_leave_an_orphan() {
    let harness = Harness::new();
    let first = harness.generate(harness.request("x", 1)).await.expect("a picture");
    let second = harness.generate(harness.request("x", 1)).await.expect("a picture");
    assert_ne!(first.id, second.id, "without a seed every request gets a new job");
}
