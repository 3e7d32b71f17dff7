//! Customers: what belongs to whom, what it costs, and what stands in the way.

use std::time::Duration;

use time::OffsetDateTime;
use tintype_core::request::Draft;
use tintype_core::store::ObjectStore;
use tintype_service::ledger::job::{Reason, Status};
use tintype_service::ledger::key::{KeyRecord, NewKey};
use tintype_service::ledger::limits::Limit;
use tintype_service::ledger::policy::{Policy, utc_day};
use tintype_service::{
    AnonymousAccess, Caller, Image, KeyError, ServedFrom, ServiceError, ServiceSettings, Submission,
};
use tintype_testing::NullEngine;

use crate::{Bench, SECOND, draft, pass};

fn settings() -> ServiceSettings {
    ServiceSettings {
        price: "0.01usd".parse().ok(),
        anonymous: AnonymousAccess::Denied,
        ..ServiceSettings::default()
    }
}

fn bench() -> Bench {
    Bench::with(settings(), NullEngine::new(SECOND))
}

/// A customer with these limits.
async fn customer(bench: &Bench, name: &str, policy: Policy) -> Caller {
    let new = NewKey { name: name.to_owned(), owner: name.parse().ok(), expires: None, admin: false, policy };
    let (_, record) = bench.ledger.create_key(new, OffsetDateTime::now_utc()).await.expect("a key");
    record.into()
}

fn budget(text: &str) -> Policy {
    Policy { budgets: vec![text.parse().expect("a budget")], ..Policy::default() }
}

/// An order for one picture of so many steps with an explicit seed.
fn seeded(bench: &Bench, prompt: &str, steps: i64) -> Submission {
    let draft = Draft { seed: Some(7), ..draft(prompt, steps) };
    Submission::new(bench.service.check(draft).expect("valid"))
}

fn milliseconds(image: &Image) -> Option<u64> {
    image.cost.map(|cost| cost.engine_ms)
}

#[tokio::test(start_paused = true)]
async fn a_key_lets_in_and_nothing_else_does() {
    let bench = bench();
    let new = |expires| NewKey {
        name: "acme".into(),
        owner: None,
        expires,
        admin: false,
        policy: Policy::default(),
    };
    let now = OffsetDateTime::now_utc();
    let make = async |expires| bench.ledger.create_key(new(expires), now).await.expect("a key");
    let ((good, record), (expired, _), (revoked, gone)): (_, (_, KeyRecord), _) =
        (make(None).await, make(Some(now)).await, make(None).await);
    bench.ledger.revoke_key(&gone.id, now).await.expect("revoked");

    let text = good.secret().expose();
    let caller = bench.service.authenticate(Some(text)).await.expect("it is good");
    assert_eq!((caller.key, caller.owner.as_str()), (record.id.clone(), record.id.as_str()));
    let mut typo = text.to_owned();
    typo.replace_range(5..6, if &text[5..6] == "a" { "b" } else { "a" });
    let other = tintype_service::ledger::key::ApiKey::generate().expect("random numbers");
    for (presented, fault) in [
        (None, KeyError::Missing),
        (Some("sk-1234"), KeyError::Malformed),
        (Some(typo.as_str()), KeyError::Malformed),
        (Some(other.secret().expose()), KeyError::Unknown),
        (Some(expired.secret().expose()), KeyError::Expired),
        (Some(revoked.secret().expose()), KeyError::Revoked),
    ] {
        let end = bench.service.authenticate(presented).await;
        assert!(matches!(&end, Err(ServiceError::Unauthenticated(found)) if *found == fault), "{end:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_anothers_is_not_there() {
    let bench = bench();
    let (acme, evil) = (
        customer(&bench, "acme", Policy::default()).await,
        customer(&bench, "evil", Policy::default()).await,
    );
    let made = bench.service.generate(&acme, seeded(&bench, "x", 2)).await.expect("a picture");
    let absent = |end: Result<_, ServiceError>| matches!(end, Err(ServiceError::NotFound(_)));
    assert!(absent(bench.service.image(&evil, made.id, SECOND).await.map(drop)));
    assert!(absent(bench.service.cancel(&evil, made.id).await.map(drop)));
    assert!(absent(bench.service.delete(&evil, made.id).await));
    assert!(absent(bench.service.follow(&evil, made.id).await.map(drop)));
    assert!(absent(bench.service.picture(&evil, made.id, 0).await.map(drop)));
    assert_eq!(bench.service.images(&evil, None, 10).await.expect("a list").images, []);
    assert_eq!(bench.service.images(&acme, None, 10).await.expect("a list").images.len(), 1);

    let again = bench.service.generate(&evil, seeded(&bench, "x", 2)).await.expect("a picture");
    assert_eq!((again.source, bench.engine.finished()), (ServedFrom::Made, 2), "no cache between owners");
}

#[tokio::test(start_paused = true)]
async fn identical_requests_in_flight_are_made_once() {
    let bench = bench();
    let acme = customer(&bench, "acme", Policy::default()).await;
    let clients: Vec<_> = (0..20)
        .map(|_| {
            let (service, acme, submission) = (bench.service.clone(), acme.clone(), seeded(&bench, "x", 4));
            tokio::spawn(async move { service.generate(&acme, submission).await })
        })
        .collect();
    let mut charged = Vec::new();
    for client in clients {
        let image = client.await.expect("no panic").expect("a picture");
        charged.push((milliseconds(&image), image.source));
    }
    assert_eq!(bench.engine.started(), 1);
    assert_eq!(charged.iter().filter(|paid| **paid == (Some(4_000), ServedFrom::Made)).count(), 1);
    assert_eq!(charged.iter().filter(|paid| **paid == (Some(0), ServedFrom::Joined)).count(), 19);

    let later = bench.service.generate(&acme, seeded(&bench, "x", 4)).await.expect("a picture");
    assert_eq!(
        (later.source, milliseconds(&later), bench.engine.started()),
        (ServedFrom::Stored, Some(0), 1)
    );
    let today = utc_day(OffsetDateTime::now_utc());
    let usage = bench.service.usage(&acme, today - time::Duration::DAY, today).await.expect("usage");
    let spent: u64 = usage.iter().map(|(_, day)| day.spent.engine_ms).sum();
    assert_eq!(spent, 4_000);
}

#[tokio::test(start_paused = true)]
async fn without_a_seed_only_who_says_so_shares() {
    let bench = bench();
    let acme = customer(&bench, "acme", Policy::default()).await;
    let submission = |coalesce| Submission { coalesce, ..Submission::new(bench.request("x", 4)) };
    let first = bench.service.submit(&acme, submission(false)).await.expect("accepted");
    let alone = bench.service.submit(&acme, submission(false)).await.expect("accepted");
    let shared = bench.service.submit(&acme, submission(true)).await.expect("accepted");
    assert_ne!(first.id(), alone.id());
    assert_eq!(shared.source(), ServedFrom::Joined);
    for handle in [first, alone, shared] {
        handle.finished().await.expect("a picture");
    }
    let later = bench.service.generate(&acme, submission(true)).await.expect("a picture");
    assert_eq!((later.source, bench.engine.started()), (ServedFrom::Made, 3), "nothing in flight any more");
}

#[tokio::test(start_paused = true)]
async fn a_picture_that_is_gone_is_made_again() {
    let bench = bench();
    let acme = customer(&bench, "acme", Policy::default()).await;
    let made = bench.service.generate(&acme, seeded(&bench, "x", 1)).await.expect("a picture");
    bench.store.delete(&crate::generating::key_of(&made.pictures[0])).await.expect("gone");
    let again = bench.service.generate(&acme, seeded(&bench, "x", 1)).await.expect("a picture");
    assert_eq!((again.source, bench.engine.started()), (ServedFrom::Made, 2));
}

#[tokio::test(start_paused = true)]
async fn an_idempotency_key_names_one_request() {
    let bench = bench();
    let acme = customer(&bench, "acme", Policy::default()).await;
    let submission = |body: &str| {
        Submission::new(bench.request("x", 4)).with_idempotency_key("key".into(), body.as_bytes())
    };
    let first = bench.service.submit(&acme, submission("a")).await.expect("accepted");
    let id = first.id();
    drop(first);
    pass(1.0).await;
    let running = bench.service.submit(&acme, submission("a")).await.expect("joins");
    assert_eq!((running.id(), running.source()), (id, ServedFrom::Replayed));
    let end = bench.service.submit(&acme, submission("b")).await.map(drop);
    assert!(matches!(end, Err(ServiceError::IdempotencyConflict)), "{end:?}");
    let finished = running.finished().await.expect("a picture");
    let again = bench.service.generate(&acme, submission("a")).await.expect("a picture");
    assert_eq!((again.id, milliseconds(&again)), (id, milliseconds(&finished)));
    assert_eq!(bench.engine.started(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_budget_is_never_overdrawn_by_what_is_let_in() {
    let bench = bench();
    // Unmeasured, a job may take what is left of the budget, but no more.
    let acme = customer(&bench, "acme", budget("10s/day")).await;
    let first = bench.service.submit(&acme, seeded(&bench, "measured", 4)).await.expect("accepted");
    let beside = bench.service.submit(&acme, seeded(&bench, "beside", 4)).await;
    assert!(matches!(beside, Err(ServiceError::LimitExceeded(_))), "all of it is reserved");
    first.finished().await.expect("a picture");
    for (prompt, fits) in [("a", true), ("b", false)] {
        let end = bench.service.generate(&acme, seeded(&bench, prompt, 4)).await;
        assert_eq!(end.is_ok(), fits, "{end:?}");
        if let Err(ServiceError::LimitExceeded(refusal)) = end {
            assert!(matches!(refusal.exceeded.limit, Limit::Budget(_)));
        }
    }
    let left = bench.service.quotas(&acme).await.expect("standing");
    assert_eq!(left[0].remaining, 2_000);
}

#[tokio::test(start_paused = true)]
async fn an_unmeasured_job_stops_where_the_budget_ends() {
    let bench = bench();
    let acme = customer(&bench, "acme", budget("10s/day")).await;
    let end = bench.service.generate(&acme, seeded(&bench, "x", 40)).await;
    assert!(
        matches!(&end, Err(ServiceError::Failed(failure)) if failure.reason == Reason::Overrun),
        "{end:?}"
    );
    let left = bench.service.quotas(&acme).await.expect("standing");
    assert_eq!(left[0].remaining, 0);
}

#[tokio::test(start_paused = true)]
async fn a_budget_in_money_needs_a_price() {
    let free = ServiceSettings { price: None, ..settings() };
    let bench = Bench::with(free, NullEngine::new(SECOND));
    let acme = customer(&bench, "acme", budget("5usd/day")).await;
    let end = bench.service.generate(&acme, seeded(&bench, "x", 1)).await;
    assert!(matches!(end, Err(ServiceError::Unpriced(_))), "{end:?}");
}

#[tokio::test(start_paused = true)]
async fn the_last_of_several_who_leaves_cancels() {
    let bench = bench();
    let acme = customer(&bench, "acme", Policy::default()).await;
    let submission = || Submission { coalesce: true, ..Submission::new(bench.request("x", 100)) };
    let first = bench.service.submit(&acme, submission()).await.expect("accepted");
    let second = bench.service.submit(&acme, submission()).await.expect("accepted");
    let id = first.id();
    assert_eq!(second.id(), id);
    drop(first);
    pass(30.0).await;
    let image = bench.service.image(&acme, id, SECOND).await.expect("it is there");
    assert_eq!(image.status, Status::Running);
    drop(second);
    pass(12.0).await;
    let image = bench.service.image(&acme, id, SECOND).await.expect("it is there");
    assert_eq!(image.status, Status::Canceled);
}

#[tokio::test(start_paused = true)]
async fn one_customers_waiting_requests_do_not_keep_anothers_one_out() {
    let bench = Bench::with(ServiceSettings { queue: 2, ..settings() }, NullEngine::new(SECOND));
    let many = customer(&bench, "many", Policy::default()).await;
    let one = customer(&bench, "one", Policy::default()).await;
    let mut waiting = Vec::new();
    for at in 0..3 {
        waiting
            .push(bench.service.submit(&many, seeded(&bench, &format!("{at}"), 5)).await.expect("accepted"));
    }
    let full = bench.service.submit(&many, seeded(&bench, "one too many", 5)).await;
    assert!(matches!(full, Err(ServiceError::QueueFull { .. })));
    let other = bench.service.submit(&one, seeded(&bench, "x", 5)).await.expect("nobody keeps it out");
    let again = bench.service.submit(&one, seeded(&bench, "y", 5)).await;
    assert!(matches!(again, Err(ServiceError::QueueFull { .. })));
    other.finished().await.expect("a picture");
}

#[tokio::test(start_paused = true)]
async fn strangers_have_pictures_made_and_see_nothing_of_each_other() {
    let strangers = ServiceSettings { anonymous: AnonymousAccess::Public, ..settings() };
    let bench = Bench::with(strangers, NullEngine::new(SECOND));
    let anybody = bench.service.authenticate(None).await.expect("anybody is let in");
    let made = bench.service.generate(&anybody, seeded(&bench, "x", 1)).await.expect("a picture");
    let again = bench.service.generate(&anybody, seeded(&bench, "x", 1)).await.expect("a picture");
    assert_eq!((again.source, bench.engine.started()), (ServedFrom::Made, 2), "no cache between strangers");
    assert!(bench.service.image(&anybody, made.id, SECOND).await.is_ok(), "whoever knows its id sees it");
    let unknown = |end: Result<(), ServiceError>| matches!(end, Err(ServiceError::Unauthenticated(_)));
    assert!(unknown(bench.service.images(&anybody, None, 10).await.map(drop)));
    assert!(unknown(bench.service.cancel(&anybody, made.id).await.map(drop)));
    assert!(unknown(bench.service.delete(&anybody, made.id).await));
    let once = seeded(&bench, "x", 1).with_idempotency_key("order-1".into(), b"body");
    assert!(unknown(bench.service.submit(&anybody, once).await.map(drop)));
    assert!(matches!(bench.service.metrics(&anybody).await, Err(ServiceError::NotAdmin)));
}

#[tokio::test(start_paused = true)]
async fn no_more_is_reserved_than_a_request_can_take() {
    let engine = NullEngine::new(SECOND).with_max_duration(SECOND * 60);
    let bench = Bench::with(ServiceSettings::default(), engine);
    let acme = customer(&bench, "acme", budget("300s/day")).await;
    bench.service.generate(&acme, seeded(&bench, "small", 1)).await.expect("a picture");
    // By its work, a thousand times as large; but nothing takes the engine more than a minute.
    let draft = Draft { width: Some(512), height: Some(512), ..draft("large", 30) };
    let large = bench.service.check(draft).expect("valid");
    bench.service.generate(&acme, Submission::new(large)).await.expect("a picture");
}

#[tokio::test(start_paused = true)]
async fn what_takes_twice_its_reservation_is_stopped() {
    let bench = bench();
    let acme = customer(&bench, "acme", budget("100s/day")).await;
    let other = customer(&bench, "other", Policy::default()).await;
    // Measured at no size but this, so that a job of the same steps seems to take 4 s.
    bench.service.generate(&other, seeded(&bench, "measured", 4)).await.expect("a picture");
    let draft = Draft { seed: Some(7), ..draft("x", 9) };
    let slow = bench.service.check(draft).expect("valid");
    let reserved = 4.0 / 5.0 * 10.0;
    bench.engine.set_step_duration(SECOND * 10);
    let end = bench.service.generate(&acme, Submission::new(slow)).await;
    assert!(
        matches!(&end, Err(ServiceError::Failed(failure)) if failure.reason == Reason::Overrun),
        "{end:?}"
    );
    let today = utc_day(OffsetDateTime::now_utc());
    let usage = bench.service.usage(&acme, today - time::Duration::DAY, today).await.expect("usage");
    let spent: u64 = usage.iter().map(|(_, day)| day.spent.engine_ms).sum();
    assert_eq!(spent, 20_000, "stopped at the first step after {} s", reserved * 2.0);
}

#[tokio::test(start_paused = true)]
async fn one_customers_thousand_jobs_do_not_starve_anothers_one() {
    let bench = bench();
    let (many, one) =
        (customer(&bench, "many", Policy::default()).await, customer(&bench, "one", Policy::default()).await);
    for _ in 0..50 {
        let submission = Submission { detached: true, ..Submission::new(bench.request("x", 1)) };
        bench.service.submit(&many, submission).await.expect("accepted");
    }
    let began = tokio::time::Instant::now();
    bench.service.generate(&one, Submission::new(bench.request("y", 1))).await.expect("a picture");
    assert!(began.elapsed() <= Duration::from_secs(3), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_what_waits_and_what_runs() {
    let bench = bench();
    let acme = customer(&bench, "acme", Policy::default()).await;
    let by = |prompt: &str, seconds| Submission {
        deadline: Some(Duration::from_secs(seconds)),
        ..seeded(&bench, prompt, 100)
    };
    let running = bench.service.submit(&acme, by("x", 5)).await.expect("accepted");
    pass(0.5).await;
    let waiting = bench.service.submit(&acme, by("y", 2)).await.expect("accepted");
    for handle in [running, waiting] {
        let end = handle.finished().await;
        assert!(
            matches!(&end, Err(ServiceError::Failed(failure)) if failure.reason == Reason::Deadline),
            "{end:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn cancel_and_delete_stop_and_remove() {
    let bench = bench();
    let acme = customer(&bench, "acme", Policy::default()).await;
    let later = |prompt: &str| Submission { detached: true, ..seeded(&bench, prompt, 10) };
    let running = bench.service.submit(&acme, later("x")).await.expect("accepted");
    let waiting = bench.service.submit(&acme, later("y")).await.expect("accepted");
    pass(1.5).await;
    let canceled = bench.service.cancel(&acme, waiting.id()).await.expect("canceled");
    assert_eq!((canceled.status, canceled.cost.map(|cost| cost.engine_ms)), (Status::Canceled, Some(0)));
    bench.service.cancel(&acme, running.id()).await.expect("canceled");
    for handle in [running, waiting] {
        let end = handle.finished().await;
        assert!(matches!(end, Err(ServiceError::Canceled)), "{end:?}");
    }
    let made = bench.service.generate(&acme, seeded(&bench, "z", 1)).await.expect("a picture");
    assert_eq!(bench.store.list("images/", None, 10).await.expect("list").objects.len(), 1);
    bench.service.delete(&acme, made.id).await.expect("deleted");
    assert_eq!(bench.store.list("images/", None, 10).await.expect("list").objects, []);
    let end = bench.service.image(&acme, made.id, SECOND).await;
    assert!(matches!(end, Err(ServiceError::NotFound(_))), "{end:?}");
    let again = bench.service.generate(&acme, seeded(&bench, "z", 1)).await.expect("a picture");
    assert_eq!(again.source, ServedFrom::Made, "what is deleted is not found again");
}
