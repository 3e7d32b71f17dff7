//! Shutting down.

use std::sync::Arc;
use std::time::Duration;

use tintype_ledger::job::Reason;
use tintype_service::{Readiness, ServiceError, ServiceSettings};
use tintype_testing::NullEngine;
use tokio::time::Instant;

use crate::{Harness, SECOND, disconnect, draft, wait_seconds};

const GRACE: Duration = Duration::from_secs(30);

#[tokio::test(start_paused = true)]
async fn accepted_jobs_finish_and_new_requests_are_rejected() {
    let harness = Harness::new();
    let (running, waiting) = (harness.client("x", 10), harness.client("y", 10));
    wait_seconds(0.5).await;
    let began = Instant::now();
    let draining = tokio::spawn({
        let service = harness.service.clone();
        async move { service.drain(GRACE).await }
    });
    wait_seconds(0.1).await;
    assert_eq!(harness.service.readiness(), Readiness::Draining);
    assert!(matches!(harness.service.check(None, draft("z", 1)), Err(ServiceError::Draining)));
    running.await.expect("no panic").expect("a picture");
    waiting.await.expect("no panic").expect("a picture");
    draining.await.expect("no panic");
    assert_eq!(began.elapsed().as_secs(), 19, "as soon as the work is done");
}

#[tokio::test(start_paused = true)]
async fn after_the_grace_period_every_client_gets_an_error() {
    let harness = Harness::new();
    let (running, waiting) = (harness.client("x", 100), harness.client("y", 1));
    wait_seconds(0.5).await;
    let began = Instant::now();
    harness.service.drain(GRACE).await;
    assert_eq!(began.elapsed().as_secs(), 30);
    for client in [running, waiting] {
        assert!(matches!(client.await.expect("no panic"), Err(ServiceError::Draining)));
    }
    // The engine stops at its next step.
    wait_seconds(2.0).await;
    assert_eq!((harness.engine.started(), harness.engine.finished()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn the_client_of_a_running_paid_job_gets_an_unknown_outcome() {
    let harness = Harness::with(ServiceSettings::default(), NullEngine::new(SECOND).paid());
    let (running, waiting) = (harness.client("x", 100), harness.client("y", 1));
    wait_seconds(0.5).await;
    harness.service.drain(GRACE).await;
    let running = running.await.expect("no panic");
    assert!(
        matches!(&running, Err(ServiceError::Failed(failure)) if failure.reason == Reason::OutcomeUnknown),
        "{running:?}"
    );
    assert!(matches!(waiting.await.expect("no panic"), Err(ServiceError::Draining)));
}

#[tokio::test(start_paused = true)]
async fn a_drain_does_not_wait_for_orphaned_jobs() {
    let harness = Harness::new();
    let (before, during) = (harness.client("x", 100), harness.client("y", 100));
    wait_seconds(0.5).await;
    disconnect(before).await;
    let began = Instant::now();
    let draining = tokio::spawn({
        let service = harness.service.clone();
        async move { service.drain(GRACE).await }
    });
    wait_seconds(1.0).await;
    disconnect(during).await;
    draining.await.expect("no panic");
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_service_drops_its_engine_and_store() {
    let harness = Harness::new();
    let clients = [harness.client("x", 100), harness.client("y", 1), harness.client("x", 3)];
    wait_seconds(0.5).await;
    for client in clients {
        disconnect(client).await;
    }
    let (engine, store) = (Arc::downgrade(&harness.engine), Arc::downgrade(&harness.store));
    drop(harness);
    // The engine notices at its next step.
    wait_seconds(2.0).await;
    assert_eq!((engine.strong_count(), store.strong_count()), (0, 0));
}
