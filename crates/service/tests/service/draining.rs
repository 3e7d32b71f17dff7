//! Shutting down.

use std::sync::Arc;
use std::time::Duration;

use tintype_service::ledger::job::Reason;
use tintype_service::{Readiness, ServiceError, ServiceSettings};
use tintype_testing::NullEngine;
use tokio::time::Instant;

use crate::{Bench, SECOND, draft, hang_up, pass};

const GRACE: Duration = Duration::from_secs(30);

#[tokio::test(start_paused = true)]
async fn what_was_accepted_is_finished_and_nothing_new_taken() {
    let bench = Bench::new();
    let (running, waiting) = (bench.client("x", 10), bench.client("y", 10));
    pass(0.5).await;
    let began = Instant::now();
    let draining = tokio::spawn({
        let service = bench.service.clone();
        async move { service.drain(GRACE).await }
    });
    pass(0.1).await;
    assert_eq!(bench.service.readiness(), Readiness::Draining);
    assert!(matches!(bench.service.check(draft("z", 1)), Err(ServiceError::Draining)));
    running.await.expect("no panic").expect("a picture");
    waiting.await.expect("no panic").expect("a picture");
    draining.await.expect("no panic");
    assert_eq!(began.elapsed().as_secs(), 19, "as soon as the work is done");
}

#[tokio::test(start_paused = true)]
async fn after_the_grace_everybody_is_told() {
    let bench = Bench::new();
    let (running, waiting) = (bench.client("x", 100), bench.client("y", 1));
    pass(0.5).await;
    let began = Instant::now();
    bench.service.drain(GRACE).await;
    assert_eq!(began.elapsed().as_secs(), 30);
    for client in [running, waiting] {
        assert!(matches!(client.await.expect("no panic"), Err(ServiceError::Abandoned)));
    }
    // The engine stops at its next step.
    pass(2.0).await;
    assert_eq!((bench.engine.started(), bench.engine.finished()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_what_is_paid_is_not_told_to_come_again() {
    let bench = Bench::with(ServiceSettings::default(), NullEngine::new(SECOND).paid());
    let (running, waiting) = (bench.client("x", 100), bench.client("y", 1));
    pass(0.5).await;
    bench.service.drain(GRACE).await;
    let running = running.await.expect("no panic");
    assert!(
        matches!(&running, Err(ServiceError::Failed(failure)) if failure.reason == Reason::OutcomeUnknown),
        "{running:?}"
    );
    assert!(matches!(waiting.await.expect("no panic"), Err(ServiceError::Abandoned)));
}

#[tokio::test(start_paused = true)]
async fn work_that_nobody_waits_for_does_not_hold_it_up() {
    let bench = Bench::new();
    let (before, during) = (bench.client("x", 100), bench.client("y", 100));
    pass(0.5).await;
    hang_up(before).await;
    let began = Instant::now();
    let draining = tokio::spawn({
        let service = bench.service.clone();
        async move { service.drain(GRACE).await }
    });
    pass(1.0).await;
    hang_up(during).await;
    draining.await.expect("no panic");
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_service_leaves_nothing_behind() {
    let bench = Bench::new();
    let clients = [bench.client("x", 100), bench.client("y", 1), bench.client("x", 3)];
    pass(0.5).await;
    for client in clients {
        hang_up(client).await;
    }
    let (engine, store) = (Arc::downgrade(&bench.engine), Arc::downgrade(&bench.store));
    drop(bench);
    // The engine notices at its next step.
    pass(2.0).await;
    assert_eq!((engine.strong_count(), store.strong_count()), (0, 0));
}
