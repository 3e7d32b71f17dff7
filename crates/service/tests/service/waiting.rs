//! Work that nobody waits for stops, and a retry joins it before it does. (An orphan lives for 10 s.)

use tintype_core::request::Draft;
use tintype_core::store::ObjectStore;
use tintype_service::{Caller, ServiceError, ServiceSettings, Submission};
use tintype_testing::NullEngine;

use crate::{Bench, SECOND, draft, hang_up, pass};

#[tokio::test(start_paused = true)]
async fn running_work_stops_between_two_steps() {
    let bench = Bench::new();
    let client = bench.client("x", 100);
    let next = bench.client("next", 1);
    pass(5.5).await;
    hang_up(client).await;
    // It goes on until 15.5, so it ends with the step that is done at 16.
    pass(9.9).await;
    assert_eq!(bench.engine.started(), 1);
    pass(1.0).await;
    assert_eq!((bench.engine.started(), bench.engine.finished()), (2, 0));
    next.await.expect("no panic").expect("a picture");
    assert_eq!(bench.store.list("", None, 10).await.expect("list").objects.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn waiting_work_is_never_begun() {
    let bench = Bench::new();
    let running = bench.client("x", 30);
    let waiting = bench.client("y", 1);
    pass(1.0).await;
    hang_up(waiting).await;
    running.await.expect("no panic").expect("a picture");
    pass(60.0).await;
    assert_eq!(bench.engine.started(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_place_in_the_queue_is_free_again() {
    let settings = ServiceSettings { queue: 1, ..ServiceSettings::default() };
    let bench = Bench::with(settings, NullEngine::new(SECOND));
    let running = bench.client("x", 100);
    let waiting = bench.client("y", 1);
    pass(1.0).await;
    hang_up(waiting).await;
    pass(9.9).await;
    let early = bench.submit(bench.request("z", 1)).await;
    assert!(matches!(early, Err(ServiceError::QueueFull { .. })), "the retry still has its place");
    pass(0.2).await;
    assert!(bench.submit(bench.request("z", 1)).await.is_ok());
    drop(running);
}

#[tokio::test(start_paused = true)]
async fn what_one_stranger_has_left_is_not_for_another() {
    let bench = Bench::new();
    let is_anonymous_public = Caller { is_anonymous_public: true, ..Caller::anonymous() };
    let ask = async |caller| {
        bench.service.submit(caller, Submission::new(bench.request("x", 40))).await.expect("accepted")
    };
    let left = ask(&is_anonymous_public).await;
    let id = left.id();
    pass(5.0).await;
    drop(left);
    assert_ne!(ask(&is_anonymous_public).await.id(), id);
}

#[tokio::test(start_paused = true)]
async fn a_retry_joins_and_keeps_it_alive() {
    let bench = Bench::new();
    let client = bench.client("x", 40);
    pass(5.0).await;
    hang_up(client).await;
    pass(9.0).await;
    let handle = bench.submit(bench.request("x", 40)).await.expect("accepted");
    let (other, id) = (bench.submit(bench.request("x", 40)).await.expect("accepted"), handle.id());
    assert_ne!(other.id(), id, "only work that nobody waits for is joined");
    let finished = handle.finished().await.expect("a picture");
    assert_eq!((finished.id, bench.engine.finished()), (id, 1));
}

#[tokio::test(start_paused = true)]
async fn a_retry_finds_what_was_finished_meanwhile() {
    let bench = Bench::new();
    let client = bench.client("x", 4);
    pass(2.0).await;
    hang_up(client).await;
    pass(9.0).await;
    assert_eq!(bench.engine.finished(), 1);
    let again = Draft { expires_in: Some(60), ..draft("x", 4) };
    let finished = bench.generate(bench.service.check(again).expect("valid")).await.expect("a picture");
    assert_eq!(bench.engine.started(), 1, "made once");
    assert!(finished.pictures[0].url.ends_with("expires_in=60"), "{}", finished.pictures[0].url);

    bench.generate(bench.request("x", 4)).await.expect("a picture");
    assert_eq!(bench.engine.started(), 2, "it was handed over once");
}

#[tokio::test(start_paused = true)]
async fn only_the_same_request_joins_and_only_in_time() {
    let others = [
        Draft { steps: Some(41), ..draft("x", 40) },
        Draft { seed: Some(1), ..draft("x", 40) },
        Draft { negative_prompt: Some("y".into()), ..draft("x", 40) },
        draft("X", 40),
    ];
    let bench = Bench::new();
    let handle = bench.submit(bench.request("x", 40)).await.expect("accepted");
    pass(1.0).await;
    let first = handle.id();
    drop(handle);
    for other in others {
        let request = bench.service.check(other).expect("valid");
        assert_ne!(bench.submit(request).await.expect("accepted").id(), first);
    }
    pass(10.1).await;
    let late = bench.client("x", 40);
    pass(5.0).await;
    assert_eq!(bench.engine.started(), 2, "the first was given up and a new one begun");
    late.await.expect("no panic").expect("a picture");
}

#[tokio::test(start_paused = true)]
async fn who_has_the_answer_has_not_hung_up() {
    let bench = Bench::new();
    let first = bench.generate(bench.request("x", 1)).await.expect("a picture");
    let second = bench.generate(bench.request("x", 1)).await.expect("a picture");
    assert_ne!(first.id, second.id, "without a seed every request is a new picture");
}
