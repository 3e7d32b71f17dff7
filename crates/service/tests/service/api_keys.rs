//! API keys: ownership, costs, budgets and limits.

use std::time::Duration;

use time::OffsetDateTime;
use tintype_core::request::Draft;
use tintype_core::store::ObjectStore;
use tintype_ledger::job::{Reason, Status};
use tintype_ledger::key::{KeyRecord, NewKey};
use tintype_ledger::limits::Limit;
use tintype_ledger::policy::{Policy, utc_day};
use tintype_service::{
    AnonymousAccess, Caller, Image, KeyError, ServedFrom, ServiceError, ServiceSettings, Submission,
};
use tintype_testing::NullEngine;

use crate::{Harness, SECOND, draft, wait_seconds};

fn settings() -> ServiceSettings {
    ServiceSettings {
        price: "0.01usd".parse().ok(),
        anonymous: AnonymousAccess::Denied,
        ..ServiceSettings::default()
    }
}

fn harness() -> Harness {
    Harness::with(settings(), NullEngine::new(SECOND))
}

/// A customer with these limits.
async fn customer(harness: &Harness, name: &str, policy: Policy) -> Caller {
    let new = NewKey { name: name.to_owned(), owner: name.parse().ok(), expires: None, admin: false, policy };
    let (_, record) = harness.ledger.create_key(new, OffsetDateTime::now_utc()).await.expect("a key");
    record.into()
}

fn budget(text: &str) -> Policy {
    Policy { budgets: vec![text.parse().expect("a budget")], ..Policy::default() }
}

/// A request for one image with this number of steps and an explicit seed.
fn seeded(harness: &Harness, prompt: &str, steps: i64) -> Submission {
    let draft = Draft { seed: Some(7), ..draft(prompt, steps) };
    Submission::new(harness.service.check(None, draft).expect("valid"))
}

fn milliseconds(image: &Image) -> Option<u64> {
    image.cost.map(|cost| cost.engine_ms)
}

#[tokio::test(start_paused = true)]
async fn only_a_valid_key_authenticates() {
    let harness = harness();
    let new = |expires| NewKey {
        name: "acme".into(),
        owner: None,
        expires,
        admin: false,
        policy: Policy::default(),
    };
    let now = OffsetDateTime::now_utc();
    let make = async |expires| harness.ledger.create_key(new(expires), now).await.expect("a key");
    let ((valid, record), (expired, _), (revoked, gone)): (_, (_, KeyRecord), _) =
        (make(None).await, make(Some(now)).await, make(None).await);
    harness.ledger.revoke_key(&gone.id, now).await.expect("revoked");

    let text = valid.secret().expose();
    let caller = harness.service.authenticate(Some(text)).await.expect("a valid key");
    assert_eq!((caller.key, caller.owner.as_str()), (record.id.clone(), record.id.as_str()));
    let mut typo = text.to_owned();
    typo.replace_range(5..6, if &text[5..6] == "a" { "b" } else { "a" });
    let other = tintype_ledger::key::ApiKey::generate().expect("random numbers");
    for (presented, error) in [
        (None, KeyError::Missing),
        (Some("sk-1234"), KeyError::Malformed),
        (Some(typo.as_str()), KeyError::Malformed),
        (Some(other.secret().expose()), KeyError::Unknown),
        (Some(expired.secret().expose()), KeyError::Expired),
        (Some(revoked.secret().expose()), KeyError::Revoked),
    ] {
        let end = harness.service.authenticate(presented).await;
        assert!(matches!(&end, Err(ServiceError::Unauthenticated(found)) if *found == error), "{end:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn jobs_of_another_owner_are_not_found() {
    let harness = harness();
    let (acme, evil) = (
        customer(&harness, "acme", Policy::default()).await,
        customer(&harness, "evil", Policy::default()).await,
    );
    let made = harness.service.generate(&acme, seeded(&harness, "x", 2)).await.expect("a picture");
    let absent = |end: Result<_, ServiceError>| matches!(end, Err(ServiceError::NotFound(_)));
    assert!(absent(harness.service.image(&evil, made.id, SECOND).await.map(drop)));
    assert!(absent(harness.service.cancel(&evil, made.id).await.map(drop)));
    assert!(absent(harness.service.delete(&evil, made.id).await));
    assert!(absent(harness.service.follow(&evil, made.id).await.map(drop)));
    assert!(absent(harness.service.picture(&evil, made.id, 0).await.map(drop)));
    assert_eq!(harness.service.images(&evil, None, 10).await.expect("a list").images, []);
    assert_eq!(harness.service.images(&acme, None, 10).await.expect("a list").images.len(), 1);

    let again = harness.service.generate(&evil, seeded(&harness, "x", 2)).await.expect("a picture");
    assert_eq!((again.source, harness.engine.finished()), (ServedFrom::Made, 2), "no cache between owners");
}

#[tokio::test(start_paused = true)]
async fn identical_requests_in_flight_share_one_job() {
    let harness = harness();
    let acme = customer(&harness, "acme", Policy::default()).await;
    let clients: Vec<_> = (0..20)
        .map(|_| {
            let (service, acme, submission) =
                (harness.service.clone(), acme.clone(), seeded(&harness, "x", 4));
            tokio::spawn(async move { service.generate(&acme, submission).await })
        })
        .collect();
    let mut charged = Vec::new();
    for client in clients {
        let image = client.await.expect("no panic").expect("a picture");
        charged.push((milliseconds(&image), image.source));
    }
    assert_eq!(harness.engine.started(), 1);
    assert_eq!(charged.iter().filter(|paid| **paid == (Some(4_000), ServedFrom::Made)).count(), 1);
    assert_eq!(charged.iter().filter(|paid| **paid == (Some(0), ServedFrom::Joined)).count(), 19);

    let later = harness.service.generate(&acme, seeded(&harness, "x", 4)).await.expect("a picture");
    assert_eq!(
        (later.source, milliseconds(&later), harness.engine.started()),
        (ServedFrom::Stored, Some(0), 1)
    );
    let today = utc_day(OffsetDateTime::now_utc());
    let usage = harness.service.usage(&acme, today - time::Duration::DAY, today).await.expect("usage");
    let spent: u64 = usage.iter().map(|(_, day)| day.spent.engine_ms).sum();
    assert_eq!(spent, 4_000);
}

#[tokio::test(start_paused = true)]
async fn without_a_seed_only_coalesced_requests_share_a_job() {
    let harness = harness();
    let acme = customer(&harness, "acme", Policy::default()).await;
    let submission = |coalesce| Submission { coalesce, ..Submission::new(harness.request("x", 4)) };
    let first = harness.service.submit(&acme, submission(false)).await.expect("accepted");
    let alone = harness.service.submit(&acme, submission(false)).await.expect("accepted");
    let shared = harness.service.submit(&acme, submission(true)).await.expect("accepted");
    assert_ne!(first.id(), alone.id());
    assert_eq!(shared.source(), ServedFrom::Joined);
    for handle in [first, alone, shared] {
        handle.finished().await.expect("a picture");
    }
    let later = harness.service.generate(&acme, submission(true)).await.expect("a picture");
    assert_eq!(
        (later.source, harness.engine.started()),
        (ServedFrom::Made, 3),
        "no job is in flight any more"
    );
}

#[tokio::test(start_paused = true)]
async fn a_missing_image_is_generated_again() {
    let harness = harness();
    let acme = customer(&harness, "acme", Policy::default()).await;
    let made = harness.service.generate(&acme, seeded(&harness, "x", 1)).await.expect("a picture");
    harness.store.delete(&crate::generating::key_of(&made.pictures[0])).await.expect("gone");
    let again = harness.service.generate(&acme, seeded(&harness, "x", 1)).await.expect("a picture");
    assert_eq!((again.source, harness.engine.started()), (ServedFrom::Made, 2));
}

#[tokio::test(start_paused = true)]
async fn an_idempotency_key_names_one_request() {
    let harness = harness();
    let acme = customer(&harness, "acme", Policy::default()).await;
    let submission = |body: &str| {
        Submission::new(harness.request("x", 4)).with_idempotency_key("key".into(), body.as_bytes())
    };
    let first = harness.service.submit(&acme, submission("a")).await.expect("accepted");
    let id = first.id();
    drop(first);
    wait_seconds(1.0).await;
    let running = harness.service.submit(&acme, submission("a")).await.expect("joins");
    assert_eq!((running.id(), running.source()), (id, ServedFrom::Replayed));
    let end = harness.service.submit(&acme, submission("b")).await.map(drop);
    assert!(matches!(end, Err(ServiceError::IdempotencyConflict)), "{end:?}");
    let finished = running.finished().await.expect("a picture");
    let again = harness.service.generate(&acme, submission("a")).await.expect("a picture");
    assert_eq!((again.id, milliseconds(&again)), (id, milliseconds(&finished)));
    assert_eq!(harness.engine.started(), 1);
}

#[tokio::test(start_paused = true)]
async fn accepted_jobs_do_not_exceed_a_budget() {
    let harness = harness();
    // Without an estimate a job reserves what is left of the budget.
    let acme = customer(&harness, "acme", budget("10s/day")).await;
    let first = harness.service.submit(&acme, seeded(&harness, "measured", 4)).await.expect("accepted");
    let beside = harness.service.submit(&acme, seeded(&harness, "beside", 4)).await;
    assert!(matches!(beside, Err(ServiceError::LimitExceeded(_))), "the whole budget is reserved");
    first.finished().await.expect("a picture");
    for (prompt, fits) in [("a", true), ("b", false)] {
        let end = harness.service.generate(&acme, seeded(&harness, prompt, 4)).await;
        assert_eq!(end.is_ok(), fits, "{end:?}");
        if let Err(ServiceError::LimitExceeded(refusal)) = end {
            assert!(matches!(refusal.exceeded.limit, Limit::Budget(_)));
        }
    }
    let left = harness.service.quotas(&acme).await.expect("quotas");
    assert_eq!(left[0].remaining, 2_000);
}

#[tokio::test(start_paused = true)]
async fn an_unmeasured_job_stops_where_the_budget_ends() {
    let harness = harness();
    let acme = customer(&harness, "acme", budget("10s/day")).await;
    let end = harness.service.generate(&acme, seeded(&harness, "x", 40)).await;
    assert!(
        matches!(&end, Err(ServiceError::Failed(failure)) if failure.reason == Reason::Overrun),
        "{end:?}"
    );
    let left = harness.service.quotas(&acme).await.expect("quotas");
    assert_eq!(left[0].remaining, 0);
}

#[tokio::test(start_paused = true)]
async fn a_budget_in_money_needs_a_price() {
    let free = ServiceSettings { price: None, ..settings() };
    let harness = Harness::with(free, NullEngine::new(SECOND));
    let acme = customer(&harness, "acme", budget("5usd/day")).await;
    let end = harness.service.generate(&acme, seeded(&harness, "x", 1)).await;
    assert!(matches!(end, Err(ServiceError::Unpriced(_))), "{end:?}");
}

#[tokio::test(start_paused = true)]
async fn a_job_is_canceled_after_its_last_client_left() {
    let harness = harness();
    let acme = customer(&harness, "acme", Policy::default()).await;
    let submission = || Submission { coalesce: true, ..Submission::new(harness.request("x", 100)) };
    let first = harness.service.submit(&acme, submission()).await.expect("accepted");
    let second = harness.service.submit(&acme, submission()).await.expect("accepted");
    let id = first.id();
    assert_eq!(second.id(), id);
    drop(first);
    wait_seconds(30.0).await;
    let image = harness.service.image(&acme, id, SECOND).await.expect("it is there");
    assert_eq!(image.status, Status::Running);
    drop(second);
    wait_seconds(12.0).await;
    let image = harness.service.image(&acme, id, SECOND).await.expect("it is there");
    assert_eq!(image.status, Status::Canceled);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_accepts_the_first_request_of_another_owner() {
    let harness = Harness::with(ServiceSettings { queue: 2, ..settings() }, NullEngine::new(SECOND));
    let many = customer(&harness, "many", Policy::default()).await;
    let one = customer(&harness, "one", Policy::default()).await;
    let mut waiting = Vec::new();
    for at in 0..3 {
        waiting.push(
            harness.service.submit(&many, seeded(&harness, &format!("{at}"), 5)).await.expect("accepted"),
        );
    }
    let full = harness.service.submit(&many, seeded(&harness, "one too many", 5)).await;
    assert!(matches!(full, Err(ServiceError::QueueFull { .. })));
    let other =
        harness.service.submit(&one, seeded(&harness, "x", 5)).await.expect("the first request of its owner");
    let again = harness.service.submit(&one, seeded(&harness, "y", 5)).await;
    assert!(matches!(again, Err(ServiceError::QueueFull { .. })));
    other.finished().await.expect("a picture");
}

#[tokio::test(start_paused = true)]
async fn public_callers_cannot_see_each_others_jobs() {
    let public = ServiceSettings { anonymous: AnonymousAccess::Public, ..settings() };
    let harness = Harness::with(public, NullEngine::new(SECOND));
    let caller = harness.service.authenticate(None).await.expect("a caller without a key");
    let made = harness.service.generate(&caller, seeded(&harness, "x", 1)).await.expect("a picture");
    let again = harness.service.generate(&caller, seeded(&harness, "x", 1)).await.expect("a picture");
    assert_eq!(
        (again.source, harness.engine.started()),
        (ServedFrom::Made, 2),
        "no cache between public callers"
    );
    assert!(harness.service.image(&caller, made.id, SECOND).await.is_ok(), "its id is known");
    let unknown = |end: Result<(), ServiceError>| matches!(end, Err(ServiceError::Unauthenticated(_)));
    assert!(unknown(harness.service.images(&caller, None, 10).await.map(drop)));
    assert!(unknown(harness.service.cancel(&caller, made.id).await.map(drop)));
    assert!(unknown(harness.service.delete(&caller, made.id).await));
    let once = seeded(&harness, "x", 1).with_idempotency_key("order-1".into(), b"body");
    assert!(unknown(harness.service.submit(&caller, once).await.map(drop)));
    assert!(matches!(harness.service.metrics(&caller).await, Err(ServiceError::NotAdmin)));
}

#[tokio::test(start_paused = true)]
async fn a_reservation_does_not_exceed_the_longest_job() {
    let engine = NullEngine::new(SECOND).with_max_duration(SECOND * 60);
    let harness = Harness::with(ServiceSettings::default(), engine);
    let acme = customer(&harness, "acme", budget("300s/day")).await;
    harness.service.generate(&acme, seeded(&harness, "small", 1)).await.expect("a picture");
    // Its estimate by work is a thousand times as large, but the engine takes at most 60 s.
    let draft = Draft { width: Some(512), height: Some(512), ..draft("large", 30) };
    let large = harness.service.check(None, draft).expect("valid");
    harness.service.generate(&acme, Submission::new(large)).await.expect("a picture");
}

#[tokio::test(start_paused = true)]
async fn a_job_is_stopped_at_twice_its_reservation() {
    let harness = harness();
    let acme = customer(&harness, "acme", budget("100s/day")).await;
    let other = customer(&harness, "other", Policy::default()).await;
    // The only measured job, so that estimates follow from it: 4 s for 4 steps.
    harness.service.generate(&other, seeded(&harness, "measured", 4)).await.expect("a picture");
    let draft = Draft { seed: Some(7), ..draft("x", 9) };
    let slow = harness.service.check(None, draft).expect("valid");
    let reserved = 4.0 / 5.0 * 10.0;
    harness.engine.set_step_duration(SECOND * 10);
    let end = harness.service.generate(&acme, Submission::new(slow)).await;
    assert!(
        matches!(&end, Err(ServiceError::Failed(failure)) if failure.reason == Reason::Overrun),
        "{end:?}"
    );
    let today = utc_day(OffsetDateTime::now_utc());
    let usage = harness.service.usage(&acme, today - time::Duration::DAY, today).await.expect("usage");
    let spent: u64 = usage.iter().map(|(_, day)| day.spent.engine_ms).sum();
    assert_eq!(spent, 20_000, "stopped at the first step after {} s", reserved * 2.0);
}

#[tokio::test(start_paused = true)]
async fn many_jobs_of_one_owner_do_not_delay_another_owner() {
    let harness = harness();
    let (many, one) = (
        customer(&harness, "many", Policy::default()).await,
        customer(&harness, "one", Policy::default()).await,
    );
    for _ in 0..50 {
        let submission = Submission { detached: true, ..Submission::new(harness.request("x", 1)) };
        harness.service.submit(&many, submission).await.expect("accepted");
    }
    let began = tokio::time::Instant::now();
    harness.service.generate(&one, Submission::new(harness.request("y", 1))).await.expect("a picture");
    assert!(began.elapsed() <= Duration::from_secs(3), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_queued_and_running_jobs() {
    let harness = harness();
    let acme = customer(&harness, "acme", Policy::default()).await;
    let by = |prompt: &str, seconds| Submission {
        deadline: Some(Duration::from_secs(seconds)),
        ..seeded(&harness, prompt, 100)
    };
    let running = harness.service.submit(&acme, by("x", 5)).await.expect("accepted");
    wait_seconds(0.5).await;
    let waiting = harness.service.submit(&acme, by("y", 2)).await.expect("accepted");
    for handle in [running, waiting] {
        let end = handle.finished().await;
        assert!(
            matches!(&end, Err(ServiceError::Failed(failure)) if failure.reason == Reason::Deadline),
            "{end:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn cancel_and_delete_stop_jobs_and_delete_images() {
    let harness = harness();
    let acme = customer(&harness, "acme", Policy::default()).await;
    let later = |prompt: &str| Submission { detached: true, ..seeded(&harness, prompt, 10) };
    let running = harness.service.submit(&acme, later("x")).await.expect("accepted");
    let waiting = harness.service.submit(&acme, later("y")).await.expect("accepted");
    wait_seconds(1.5).await;
    let canceled = harness.service.cancel(&acme, waiting.id()).await.expect("canceled");
    assert_eq!((canceled.status, canceled.cost.map(|cost| cost.engine_ms)), (Status::Canceled, Some(0)));
    harness.service.cancel(&acme, running.id()).await.expect("canceled");
    for handle in [running, waiting] {
        let end = handle.finished().await;
        assert!(matches!(end, Err(ServiceError::Canceled)), "{end:?}");
    }
    let made = harness.service.generate(&acme, seeded(&harness, "z", 1)).await.expect("a picture");
    assert_eq!(harness.store.list("images/", None, 10).await.expect("list").objects.len(), 1);
    harness.service.delete(&acme, made.id).await.expect("deleted");
    assert_eq!(harness.store.list("images/", None, 10).await.expect("list").objects, []);
    let end = harness.service.image(&acme, made.id, SECOND).await;
    assert!(matches!(end, Err(ServiceError::NotFound(_))), "{end:?}");
    let again = harness.service.generate(&acme, seeded(&harness, "z", 1)).await.expect("a picture");
    assert_eq!(again.source, ServedFrom::Made, "a deleted job does not serve a request");
}
