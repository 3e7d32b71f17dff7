//! Refusals that are nobody's key's business, and what the client is told with them.

use serde_json::{Value, json};
use time::OffsetDateTime;
use tintype_core::store::{NewObject, ObjectStore};
use tintype_http::{HostPolicy, HttpSettings};
use tintype_service::ledger::accept::{Idempotency, NewJob, Reuse};
use tintype_service::ledger::id::Fingerprint;
use tintype_service::ledger::job::{Lease, MAX_RUNS, OnWorkerLoss, RecoveryScope};
use tintype_service::ledger::money::Spend;
use tintype_service::ledger::policy::Policy;
use tintype_service::{Caller, ServiceSettings};
use tintype_testing::{Fault, NullEngine};
use tokio::time::sleep;

use crate::{Bench, SECOND};

#[tokio::test]
async fn what_is_not_there() {
    let bench = Bench::new();
    for path in ["/nothing", "/generate/", "/v1", "/v1/", "/v1/pictures", "//", "/%ff", "/healthz/x"] {
        for method in ["GET", "POST", "DELETE"] {
            bench.send(method, path, &[]).await.assert_problem(404, "not-found");
        }
    }
    // What is not UTF-8 names nothing, wherever a name is taken.
    for (method, path) in [
        ("GET", "/v1/images/%ff"),
        ("DELETE", "/v1/images/%ff"),
        ("GET", "/v1/images/%ff/content"),
        ("GET", "/v1/images/%ff/events"),
        ("POST", "/v1/images/%ff/cancel"),
        ("GET", "/v1/images/files/%ff?X-Amz-Signature=0f"),
    ] {
        bench.send(method, path, &[]).await.assert_problem(404, "not-found");
    }
    Bench::keyed().get("/v1/images/%ff").await.assert_problem(401, "unauthenticated");
}

#[tokio::test]
async fn methods_that_are_not_allowed() {
    let bench = Bench::new();
    for (path, allowed) in [
        ("/generate?prompt=x", "GET"),
        ("/?prompt=x", "GET"),
        ("/healthz", "GET, HEAD"),
        ("/readyz", "GET, HEAD"),
        ("/metrics", "GET, HEAD"),
        ("/v1/usage", "GET, HEAD"),
        ("/v1/images", "GET, HEAD, POST"),
        ("/v1/images/x", "GET, HEAD, DELETE"),
        ("/v1/images/x/content", "GET, HEAD"),
        ("/v1/images/x/events", "GET, HEAD"),
        ("/v1/images/x/cancel", "POST"),
        ("/v1/keys", "GET, HEAD, POST"),
        ("/v1/keys/x", "GET, HEAD, DELETE"),
    ] {
        let allows = |method: &&str| allowed.split(", ").any(|allowed| allowed == *method);
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"] {
            let answer = bench.send(method, path, &[]).await;
            if allows(&method) {
                assert_ne!(answer.status(), 405, "{method} {path}");
                continue;
            }
            answer.assert_problem(405, "method-not-allowed");
            assert_eq!(answer.header("allow"), Some(allowed), "{method} {path}");
        }
    }
    assert_eq!(bench.engine.started(), 2, "GET /generate and GET /");
    for path in ["/generate?prompt=x", "/?prompt=x", "/"] {
        let answer = bench.send("HEAD", path, &[]).await;
        assert_eq!((answer.status().as_u16(), answer.header("allow")), (405, Some("GET")), "HEAD {path}");
    }
    assert_eq!(bench.send("HEAD", "/v1/images/x/cancel", &[]).await.header("allow"), Some("POST"));
    assert_eq!(bench.engine.started(), 2);
}

#[tokio::test]
async fn get_can_be_turned_off() {
    let bench =
        Bench::new().settings(HttpSettings { get_enabled: false, ..crate::settings_for(HostPolicy::Any) });
    for path in ["/generate?prompt=x", "/?prompt=x", "/generate"] {
        bench.get(path).await.assert_problem(404, "get-turned-off");
    }
    assert_eq!(bench.engine.started(), 0);
    assert_eq!(bench.get("/readyz").await.status(), 200);
}

#[tokio::test]
async fn while_the_model_is_loaded() {
    let bench = Bench::loading(ServiceSettings::default(), NullEngine::new(SECOND));
    let answer = bench.get("/generate?prompt=x").await;
    answer.assert_problem(503, "loading");
    assert_eq!(answer.header("retry-after"), Some("5"));
    bench.get("/generate?prompt=x&n=2").await.assert_problem(400, "invalid-request");
    bench.service.engine_failed("no such folder: /secret".into());
    let answer = bench.get("/generate?prompt=x").await;
    answer.assert_problem(503, "no-model");
    assert_eq!(answer.header("retry-after"), None);
    assert!(!answer.text.contains("secret"));
}

#[tokio::test(start_paused = true)]
async fn when_the_queue_is_full() {
    let settings = ServiceSettings { queue: 1, ..ServiceSettings::default() };
    let bench = Bench::with(settings, NullEngine::new(SECOND));
    let began = tokio::time::Instant::now();
    // 4 s per picture: one runs, one waits, the third is refused at once.
    let (first, second, third) =
        tokio::join!(bench.get("/generate?prompt=x"), bench.get("/generate?prompt=y"), async {
            sleep(SECOND / 2).await;
            let answer = bench.get("/generate?prompt=z").await;
            assert_eq!(began.elapsed(), SECOND / 2);
            answer
        });
    assert_eq!((first.status().as_u16(), second.status().as_u16()), (200, 200));
    third.assert_problem(429, "queue-full");
    assert_eq!(third.header("retry-after"), Some("5"), "nothing was measured yet");
}

#[tokio::test(start_paused = true)]
async fn while_it_shuts_down() {
    let bench = Bench::with(ServiceSettings::default(), NullEngine::new(SECOND));
    let (running, late, ()) = tokio::join!(
        bench.get("/generate?prompt=x"),
        async {
            sleep(SECOND * 2).await;
            bench.get("/generate?prompt=y").await
        },
        async {
            sleep(SECOND).await;
            bench.service.drain(SECOND).await;
        }
    );
    for refused in [running, late] {
        refused.assert_problem(503, "shutting-down");
        assert_eq!(refused.header("retry-after"), Some("5"));
    }
}

#[tokio::test(start_paused = true)]
async fn what_broke_here_is_not_told() {
    let faults = [Fault::Error, Fault::Panic, Fault::NoPicture].map(Some);
    for fault in faults.into_iter().chain([None]) {
        let engine = NullEngine::new(SECOND);
        let engine = match fault {
            Some(fault) => engine.with_fault(fault),
            None => engine,
        };
        let bench = Bench::with(ServiceSettings::default(), engine);
        if fault.is_none() {
            bench.store.fill_up();
        }
        let answer = bench.get("/generate?prompt=x").await;
        answer.assert_problem(500, "internal");
        assert!(!answer.text.contains("secret"), "{}", answer.text);
    }
}

#[tokio::test(start_paused = true)]
async fn while_the_books_cannot_be_written() {
    let bench = Bench::new();
    bench.books.fill_up();
    let answer = bench.get("/generate?prompt=x").await;
    answer.assert_problem(503, "unavailable");
    assert_eq!(answer.header("retry-after"), Some("5"));
    assert!(!answer.text.contains("secret"), "{}", answer.text);
}

#[tokio::test(start_paused = true)]
async fn while_the_books_cannot_be_read() {
    let bench = Bench::new();
    let (name, key) = bench.key(Policy::default()).await;
    let stored = bench.books.list("keys/", None, 10).await.expect("list").objects.remove(0);
    let garbage = NewObject { bytes: "a secret cause".into(), content_type: "application/json".into() };
    bench.books.put(&stored.key, garbage).await.expect("put");
    let answer = bench.send("GET", "/v1/images", &[(name, &key)]).await;
    // No use in coming back.
    answer.assert_problem(500, "internal");
    assert_eq!(answer.header("retry-after"), None);
    assert!(!answer.text.contains("secret"), "{}", answer.text);
}

#[tokio::test(start_paused = true)]
async fn what_took_too_long() {
    let settings = ServiceSettings { max_job: SECOND * 5, ..ServiceSettings::default() };
    let bench = Bench::with(settings, NullEngine::new(SECOND));
    let answer = bench.post(&json!({"prompt": "x", "steps": 4, "deadline": 2}), &[]).await;
    let problem = answer.assert_problem(504, "deadline");
    let job = problem["instance"].as_str().expect("the job's path");
    let body = bench.get(job).await.json();
    assert_eq!(body["error"]["reason"], "deadline", "{body}");

    let answer = bench.post(&json!({"prompt": "x", "steps": 20}), &[]).await;
    let problem = answer.assert_problem(504, "overrun");
    let body = bench.get(problem["instance"].as_str().expect("the job's path")).await.json();
    assert_eq!(body["error"]["reason"], "overrun", "{body}");
}

#[tokio::test(start_paused = true)]
async fn what_was_canceled_by_another_request() {
    let bench = Bench::with(ServiceSettings::default(), NullEngine::new(SECOND));
    let (answer, ()) = tokio::join!(bench.get("/generate?prompt=x"), async {
        sleep(SECOND * 2).await;
        let id = bench.get("/v1/images").await.json()["data"][0]["id"].as_str().expect("one").to_owned();
        let canceled = bench.send("POST", &format!("/v1/images/{id}/cancel"), &[]).await;
        assert_eq!(canceled.status(), 200);
    });
    answer.assert_problem(409, "canceled");
    assert_eq!(bench.engine.finished(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_a_remote_engine_says() {
    for (fault, status, kind, retry_after, detail) in [
        (
            Fault::Busy,
            503,
            "engine-busy",
            Some("17"),
            "Nothing was made, and nothing charged. Try again later.",
        ),
        (
            Fault::Model(422, "too rude"),
            424,
            "model-error",
            None,
            "The model refused it with status 422: too rude",
        ),
        (
            Fault::Model(500, "a secret cause"),
            424,
            "model-error",
            None,
            "The model failed with status 500. What it said is in this server's log.",
        ),
        (
            Fault::Withheld("CONTENT_FILTERED"),
            424,
            "model-error",
            None,
            "The model made nothing: it keeps the picture back (CONTENT_FILTERED).",
        ),
        (
            Fault::Unknown,
            502,
            "outcome-unknown",
            None,
            "The engine was given the work and its answer did not come: the connection broke, or the time was over. It may \
             have been made, so it is not made again, and nobody pays twice.",
        ),
    ] {
        let bench = Bench::with(ServiceSettings::default(), NullEngine::new(SECOND).with_fault(fault));
        let answer = bench.get("/generate?prompt=x").await;
        let problem = answer.assert_problem(status, kind);
        assert_eq!((problem["detail"].as_str(), answer.header("retry-after")), (Some(detail), retry_after));
        let told = problem.get("model_status").and_then(Value::as_u64);
        assert_eq!(told.is_some(), matches!(fault, Fault::Model(..)), "{problem}");
        assert!(!answer.text.contains("secret"), "{}", answer.text);
        let body = bench.get(problem["instance"].as_str().expect("the job's path")).await.json();
        assert_eq!(
            (&body["error"]["detail"], &body["error"]["model_status"]),
            (&problem["detail"], &problem["model_status"])
        );
    }
}

/// What a process that died leaves behind: a remote engine's call that nobody knows the end of, a job that took the process
/// down with it too often.
#[tokio::test(start_paused = true)]
async fn what_became_of_it_nobody_knows() {
    for (on_worker_loss, runs, status, kind) in [
        (OnWorkerLoss::OutcomeUnknown, 1, 502, "outcome-unknown"),
        (OnWorkerLoss::Requeue, MAX_RUNS, 500, "internal"),
    ] {
        let bench = Bench::loading(ServiceSettings::default(), NullEngine::new(SECOND));
        let body = Fingerprint::of(br#"["/v1/images",{"prompt":"x"}]"#);
        let (caller, now) = (Caller::anonymous(), OffsetDateTime::now_utc());
        let new = NewJob {
            owner: caller.owner,
            key: caller.key,
            policy: caller.policy,
            reserve: Spend::ZERO,
            request: Value::Null,
            fingerprint: body,
            reuse: Reuse::default(),
            idempotency: Some(Idempotency { key: "once".into(), body }),
            on_worker_loss,
            waiter: None,
            deadline: None,
            queue: None,
            start_with: None,
        };
        bench.ledger.accept(new, now).await.expect("accepted");
        for _ in 0..runs {
            let lease = Lease { worker: "dead".parse().expect("a name"), until: now };
            bench.ledger.claim_next(lease, now).await.expect("claimed").expect("a job");
            bench.ledger.recover(now, RecoveryScope::All).await.expect("recovered");
        }
        bench.service.engine_ready(bench.engine.clone());
        let answer = bench.post(&json!({"prompt": "x"}), &[("idempotency-key", "once")]).await;
        answer.assert_problem(status, kind);
        assert_eq!(answer.header("idempotency-replayed"), Some("true"));
        assert_eq!(bench.engine.started(), 0);
    }
}
