//! Rejected requests and failures.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tintype_core::engine::CallObstacle;
use tintype_core::model::Evaluations;
use tintype_core::request::{Draft, GenerateRequest};
use tintype_core::store::ObjectStore;
use tintype_core::violation::ViolationKind;
use tintype_ledger::job::{Reason, Status, UpstreamError};
use tintype_ledger::key::NewKey;
use tintype_ledger::policy::Policy;
use tintype_service::{Caller, Image, Readiness, Service, ServiceError, ServiceSettings, Submission};
use tintype_testing::{Fault, NullEngine};
use tokio::time::{sleep, timeout};

use crate::{Harness, SECOND, draft, wait_seconds, without_engine};

async fn generate(service: &Service, request: GenerateRequest) -> Result<Image, ServiceError> {
    service.generate(&Caller::anonymous(), Submission::new(request)).await
}

#[tokio::test(start_paused = true)]
async fn without_an_engine_requests_are_rejected() {
    let request = Harness::new().request("x", 1);
    let service = without_engine();
    assert_eq!(service.readiness(), Readiness::Loading);
    assert!(matches!(service.check(None, draft("x", 1)), Err(ServiceError::NotReady)));
    assert!(matches!(generate(&service, request.clone()).await, Err(ServiceError::NotReady)));

    service.engine_failed("no such folder".into());
    assert_eq!(service.readiness(), Readiness::Failed);
    assert!(matches!(service.check(None, draft("x", 1)), Err(ServiceError::NoEngine)));
    assert!(matches!(generate(&service, request).await, Err(ServiceError::NoEngine)));
}

#[tokio::test(start_paused = true)]
async fn an_engine_can_be_set_from_another_thread() {
    let service = without_engine();
    let loading = service.clone();
    std::thread::spawn(move || loading.engine_ready(Arc::new(NullEngine::new(SECOND))))
        .join()
        .expect("no panic");
    let request = service.check(None, draft("x", 1)).expect("ready");
    generate(&service, request).await.expect("a picture");
}

#[tokio::test(start_paused = true)]
async fn the_operators_limits_hold() {
    let settings = ServiceSettings {
        max_pixels: Some(64 * 128),
        max_work: Some(64 * 64 * 10),
        max_memory: Some(2 * 64 * 96 * 3),
        ..ServiceSettings::default()
    };
    let harness = Harness::with(settings, NullEngine::new(SECOND).with_slots(2));
    let with = |draft: Draft| harness.service.check(None, draft);
    let violations = |draft: Draft| match harness.service.check(None, draft) {
        Err(ServiceError::Invalid(violations)) => {
            violations.into_iter().map(|violation| (violation.parameter, violation.kind)).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    let sized = |width, height| Draft { width: Some(width), height: Some(height), ..draft("x", 1) };

    assert!(with(sized(64, 96)).is_ok());
    let pixels = ViolationKind::TooManyPixels { limit: 64 * 128, actual: 72 * 128 };
    assert_eq!(violations(sized(72, 128)), [("width".into(), pixels)]);
    let work = ViolationKind::TooMuchWork {
        limit: 64 * 64 * 10,
        actual: 64 * 64 * 11,
        evaluations: Evaluations::OncePerStep,
    };
    assert_eq!(violations(draft("x", 11)), [("steps".into(), work)]);
    // Two slots share the memory.
    let memory = |actual| ViolationKind::TooMuchMemory { limit: 64 * 96 * 3, actual };
    assert_eq!(violations(sized(64, 104)), [("height".into(), memory(64 * 104 * 3))]);
    assert_eq!(violations(sized(104, 64)), [("width".into(), memory(64 * 104 * 3))]);
    assert_eq!(violations(Draft { n: Some(2), ..draft("x", 1) }), [("n".into(), memory(2 * 64 * 64 * 3))]);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_returns_the_expected_wait() {
    for (slots, expected) in [(1, 8), (2, 4)] {
        let settings = ServiceSettings { queue: 2, ..ServiceSettings::default() };
        let harness = Harness::with(settings, NullEngine::new(SECOND).with_slots(slots));
        // The first job is measured: 8 s per job from now on.
        harness.client("measured", 8).await.expect("no panic").expect("a picture");
        let accepted: Vec<_> = (0..slots + 2).map(|_| harness.client("x", 8)).collect();
        wait_seconds(0.5).await;
        match harness.generate(harness.request("one too many", 8)).await {
            Err(ServiceError::QueueFull { retry_after }) => {
                assert_eq!(retry_after, Duration::from_secs(expected), "{slots} slots");
            }
            other => panic!("{other:?}"),
        }
        // Once a running job has ended, there is a place again.
        wait_seconds(8.0).await;
        let late = harness.client("one more", 8);
        for client in accepted.into_iter().chain([late]) {
            client.await.expect("no panic").expect("a picture");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_one_owner_does_not_pass_the_queue() {
    let settings = ServiceSettings { queue: 1, ..ServiceSettings::default() };
    let harness = Harness::with(settings, NullEngine::new(SECOND));
    let clients: Vec<_> = (0..20).map(|_| harness.client("x", 2)).collect();
    let mut made = 0;
    for client in clients {
        match client.await.expect("no panic") {
            Ok(_) => made += 1,
            Err(ServiceError::QueueFull { .. }) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(made, 2, "one that runs and one that waits");
}

#[tokio::test(start_paused = true)]
async fn no_queue_at_all_still_serves_a_free_slot() {
    let settings = ServiceSettings { queue: 0, ..ServiceSettings::default() };
    let harness = Harness::with(settings, NullEngine::new(SECOND));
    let first = harness.client("x", 2);
    wait_seconds(0.5).await;
    let second = harness.generate(harness.request("y", 2)).await;
    assert!(matches!(second, Err(ServiceError::QueueFull { .. })), "{second:?}");
    first.await.expect("no panic").expect("a picture");
    harness.generate(harness.request("y", 2)).await.expect("a picture");
}

#[tokio::test(start_paused = true)]
async fn an_engine_failure_fails_only_its_own_requests() {
    for fault in [Fault::Error, Fault::Panic, Fault::NoPicture] {
        let harness = Harness::with(ServiceSettings::default(), NullEngine::new(SECOND).with_fault(fault));
        for _ in 0..3 {
            let end = harness.generate(harness.request("x", 1)).await;
            assert!(
                matches!(&end, Err(ServiceError::Failed(failure)) if failure.reason == Reason::Engine),
                "{fault:?}: {end:?}"
            );
        }
        assert_eq!(harness.engine.started(), 3, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_store_fails_the_job() {
    let harness = Harness::new();
    harness.store.fill_up();
    for _ in 0..3 {
        let end = harness.generate(harness.request("x", 1)).await;
        assert!(
            matches!(&end, Err(ServiceError::Failed(failure)) if failure.reason == Reason::StoreFull),
            "{end:?}"
        );
    }
    let jobs = harness.service.images(&Caller::anonymous(), None, 10).await.expect("a page").images;
    assert!(jobs.len() == 3 && jobs.iter().all(|job| job.cost.is_some_and(|cost| cost.engine_ms == 0)));
    assert_eq!(harness.store.list("", None, 10).await.expect("list").objects, []);
}

#[tokio::test(start_paused = true)]
async fn the_readiness_follows_the_availability_of_a_remote_engine() {
    let engine = NullEngine::new(SECOND).paid();
    engine.set_obstacle(Some(CallObstacle::NoCredentials));
    let harness = Harness::with(ServiceSettings::default(), engine);
    let wait_for = async |expected: Readiness, within: u32| {
        let waited = async {
            while harness.service.check_readiness().await != expected {
                sleep(SECOND).await;
            }
        };
        timeout(SECOND * within, waited).await.expect("the readiness");
    };
    wait_for(Readiness::EngineUnavailable(CallObstacle::NoCredentials), 1).await;
    let end = harness.generate(harness.request("x", 1)).await;
    let Err(ServiceError::Failed(failure)) = &end else { panic!("{end:?}") };
    assert_eq!(failure.reason, Reason::EngineUnavailable);
    harness.engine.set_obstacle(None);
    wait_for(Readiness::Ready, 16).await;
    assert!(harness.generate(harness.request("x", 1)).await.is_ok());
    // A failed call is noticed at once, other changes at the next periodic check.
    harness.engine.set_obstacle(Some(CallObstacle::NoEndpoint));
    assert_eq!(harness.service.check_readiness().await, Readiness::Ready);
    assert!(harness.generate(harness.request("y", 1)).await.is_err());
    wait_for(Readiness::EngineUnavailable(CallObstacle::NoEndpoint), 1).await;
    harness.engine.set_obstacle(None);
    wait_for(Readiness::Ready, 16).await;
    harness.engine.set_obstacle(Some(CallObstacle::NotInService));
    wait_for(Readiness::EngineUnavailable(CallObstacle::NotInService), 301).await;
    assert_eq!(harness.engine.started(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_remote_engine_error_is_passed_on_and_not_charged() {
    let upstream_error = |status, message: &str, retry_after| {
        Some(UpstreamError { status, message: message.into(), retry_after })
    };
    for (fault, reason, expected) in [
        (Fault::Busy, Reason::Busy, upstream_error(None, "", Some(17))),
        (Fault::Model(422, "too rude"), Reason::Model, upstream_error(Some(422), "too rude", None)),
        (Fault::Model(500, "/opt/ml: a secret cause"), Reason::Model, upstream_error(Some(500), "", None)),
    ] {
        let harness = Harness::with(ServiceSettings::default(), NullEngine::new(SECOND).with_fault(fault));
        let end = harness.generate(harness.request("x", 1)).await;
        let Err(ServiceError::Failed(failure)) = end else { panic!("{end:?}") };
        assert_eq!((failure.reason, &failure.upstream_error), (reason, &expected));
        let page = harness.service.images(&Caller::anonymous(), None, 1).await.expect("a page");
        assert_eq!(page.images[0].upstream_error, expected);
        assert_eq!(page.images[0].cost.expect("known").engine_ms, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn work_that_was_or_may_have_been_paid_is_charged() {
    for (fault, reason) in [
        (Fault::OutcomeUnknown, Reason::OutcomeUnknown),
        (Fault::Withheld("CONTENT_FILTERED"), Reason::Model),
        (Fault::UnusableResult, Reason::Engine),
    ] {
        let harness = Harness::with(ServiceSettings::default(), NullEngine::new(SECOND).with_fault(fault));
        let end = harness.generate(harness.request("x", 2)).await;
        assert!(matches!(&end, Err(ServiceError::Failed(failure)) if failure.reason == reason), "{end:?}");
        let page = harness.service.images(&Caller::anonymous(), None, 1).await.expect("a page");
        assert_eq!(page.images[0].cost.expect("known").engine_ms, 2_000, "two steps of a second");
    }
}

#[tokio::test(start_paused = true)]
async fn an_image_that_is_not_finite_fails_the_job_and_is_not_charged() {
    let engine = NullEngine::new(SECOND).with_fault(Fault::NotFinite);
    let harness = Harness::with(ServiceSettings::default(), engine);
    let budgets = vec!["20s/day".parse().expect("a budget")];
    let policy = Policy { budgets, ..Policy::default() };
    let (owner, name) = ("acme".parse().ok(), "acme".to_owned());
    let new = NewKey { name, owner, expires: None, admin: false, policy };
    let (_, record) = harness.ledger.create_key(new, OffsetDateTime::now_utc()).await.expect("a key");
    let acme = Caller::from(record);
    let draft = Draft { n: Some(3), seed: Some(7), ..draft("x", 2) };
    for run in 1..=2 {
        let request = harness.service.check(None, draft.clone()).expect("a valid request");
        let end = harness.service.generate(&acme, Submission::new(request)).await;
        assert!(
            matches!(&end, Err(ServiceError::Failed(failure)) if failure.reason == Reason::NotFinite),
            "{end:?}"
        );
        let page = harness.service.images(&acme, None, 1).await.expect("a page");
        assert_eq!(page.images[0].status, Status::Failed(Reason::NotFinite));
        assert_eq!(page.images[0].cost.expect("known").engine_ms, 0);
        let left = harness.service.quotas(&acme).await.expect("quotas");
        assert_eq!(left[0].remaining, 20_000, "the reservation is released");
        assert_eq!(harness.engine.started(), run, "no earlier result is reused");
    }
    assert_eq!(harness.store.list("", None, 10).await.expect("list").objects, []);
}
