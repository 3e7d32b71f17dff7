//! Errors that do not depend on a key, and their responses.

use serde_json::{Value, json};
use time::OffsetDateTime;
use tintype_core::engine::CallObstacle;
use tintype_core::store::{NewObject, ObjectStore};
use tintype_http::{HostPolicy, HttpSettings};
use tintype_ledger::accept::{Idempotency, NewJob, Reuse};
use tintype_ledger::id::Fingerprint;
use tintype_ledger::job::{Lease, MAX_RUNS, OnWorkerLoss, RecoveryScope};
use tintype_ledger::money::Spend;
use tintype_ledger::policy::Policy;
use tintype_service::{Caller, ServiceSettings};
use tintype_testing::{Fault, NullEngine};
use tokio::time::sleep;

use crate::{SECOND, TestServer};

#[tokio::test]
async fn unknown_paths() {
    let server = TestServer::new();
    for path in ["/nothing", "/generated", "/v1", "/v1/", "/v1/pictures", "/%ff", "/healthz/x"] {
        for method in ["GET", "POST", "DELETE"] {
            server.send(method, path, &[]).await.assert_problem(404, "not-found");
        }
    }
    // A path parameter that is not UTF-8 names nothing.
    for (method, path) in [
        ("GET", "/v1/images/%ff"),
        ("DELETE", "/v1/images/%ff"),
        ("GET", "/v1/images/%ff/content"),
        ("GET", "/v1/images/%ff/events"),
        ("POST", "/v1/images/%ff/cancel"),
        ("GET", "/v1/images/files/%ff?X-Amz-Signature=0f"),
    ] {
        server.send(method, path, &[]).await.assert_problem(404, "not-found");
    }
    TestServer::keyed().get("/v1/images/%ff").await.assert_problem(401, "unauthenticated");
}

#[tokio::test]
async fn methods_that_are_not_allowed() {
    let server = TestServer::new();
    for (path, allowed) in [
        ("/generate?prompt=x", "GET"),
        ("/?prompt=x", "GET"),
        ("/healthz", "GET, HEAD"),
        ("/readyz", "GET, HEAD"),
        ("/metrics", "GET, HEAD"),
        ("/v1/usage", "GET, HEAD"),
        ("/v1/images", "GET, HEAD, POST"),
        ("/v1/images/019aaf60-ac00-7000-8000-000000000000", "GET, HEAD, DELETE"),
        ("/v1/images/019aaf60-ac00-7000-8000-000000000000/content", "GET, HEAD"),
        ("/v1/images/019aaf60-ac00-7000-8000-000000000000/events", "GET, HEAD"),
        ("/v1/images/019aaf60-ac00-7000-8000-000000000000/cancel", "POST"),
        ("/v1/keys", "GET, HEAD, POST"),
        ("/v1/keys/x", "GET, HEAD, DELETE"),
    ] {
        let allows = |method: &&str| allowed.split(", ").any(|allowed| allowed == *method);
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"] {
            let response = server.send(method, path, &[]).await;
            if allows(&method) {
                assert_ne!(response.status(), 405, "{method} {path}");
                continue;
            }
            response.assert_problem(405, "method-not-allowed");
            assert_eq!(response.header("allow"), Some(allowed), "{method} {path}");
        }
    }
    assert_eq!(server.engine.started(), 2, "GET /generate and GET /");
    for path in ["/generate?prompt=x", "/?prompt=x", "/"] {
        let response = server.send("HEAD", path, &[]).await;
        assert_eq!((response.status().as_u16(), response.header("allow")), (405, Some("GET")), "HEAD {path}");
    }
    let cancel = "/v1/images/019aaf60-ac00-7000-8000-000000000000/cancel";
    assert_eq!(server.send("HEAD", cancel, &[]).await.header("allow"), Some("POST"));
    assert_eq!(server.engine.started(), 2);
}

#[tokio::test]
async fn get_can_be_disabled() {
    let server = TestServer::new()
        .settings(HttpSettings { get_enabled: false, ..crate::settings_for(HostPolicy::Any) });
    for path in ["/generate?prompt=x", "/?prompt=x", "/generate"] {
        server.get(path).await.assert_problem(404, "get-turned-off");
    }
    assert_eq!(server.engine.started(), 0);
    assert_eq!(server.get("/readyz").await.status(), 200);
}

#[tokio::test]
async fn while_the_model_is_loading() {
    let server = TestServer::loading(ServiceSettings::default(), NullEngine::new(SECOND));
    let response = server.get("/generate?prompt=x").await;
    response.assert_problem(503, "loading");
    assert_eq!(response.header("retry-after"), Some("5"));
    server.get("/generate?prompt=x&n=2").await.assert_problem(400, "invalid-request");
    server.service.engine_failed("no such folder: /secret".into());
    let response = server.get("/generate?prompt=x").await;
    response.assert_problem(503, "no-model");
    assert_eq!(response.header("retry-after"), None);
    assert!(!response.text.contains("secret"));
}

#[tokio::test(start_paused = true)]
async fn when_the_queue_is_full() {
    let settings = ServiceSettings { queue: 1, ..ServiceSettings::default() };
    let server = TestServer::with(settings, NullEngine::new(SECOND));
    let began = tokio::time::Instant::now();
    // 4 s per image: one job runs, one waits, the third is rejected immediately.
    let (first, second, third) =
        tokio::join!(server.get("/generate?prompt=x"), server.get("/generate?prompt=y"), async {
            sleep(SECOND / 2).await;
            let response = server.get("/generate?prompt=z").await;
            assert_eq!(began.elapsed(), SECOND / 2);
            response
        });
    assert_eq!((first.status().as_u16(), second.status().as_u16()), (200, 200));
    third.assert_problem(429, "queue-full");
    assert_eq!(third.header("retry-after"), Some("5"), "no job was measured yet");
}

#[tokio::test(start_paused = true)]
async fn while_the_server_shuts_down() {
    let server = TestServer::with(ServiceSettings::default(), NullEngine::new(SECOND));
    let (running, late, ()) = tokio::join!(
        server.get("/generate?prompt=x"),
        async {
            sleep(SECOND * 2).await;
            server.get("/generate?prompt=y").await
        },
        async {
            sleep(SECOND).await;
            server.service.drain(SECOND).await;
        }
    );
    for refused in [running, late] {
        refused.assert_problem(503, "shutting-down");
        assert_eq!(refused.header("retry-after"), Some("5"));
    }
}

#[tokio::test(start_paused = true)]
async fn the_cause_of_a_server_error_is_not_disclosed() {
    for fault in [Fault::Error, Fault::Panic, Fault::NoPicture] {
        let engine = NullEngine::new(SECOND).with_fault(fault);
        let server = TestServer::with(ServiceSettings::default(), engine);
        let response = server.get("/generate?prompt=x").await;
        response.assert_problem(500, "internal");
        assert!(!response.text.contains("secret"), "{}", response.text);
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_image_store_is_named_and_not_charged() {
    let server = TestServer::new();
    server.store.fill_up();
    let response = server.get("/generate?prompt=x").await;
    let problem = response.assert_problem(503, "store-full");
    assert_eq!(problem["title"], "Image store full");
    assert!(!response.text.contains("secret"), "{}", response.text);
    let body = serde_json::json!({"prompt": "x"});
    let openai = server.send_json("/v1/images/generations", &body, &[]).await;
    assert_eq!((openai.status().as_u16(), openai.header("x-should-retry")), (503, Some("false")));
    assert_eq!(openai.json()["error"]["code"], "store_full");
    let job = &server.get("/v1/images").await.json()["data"][0];
    assert_eq!(
        (&job["error"]["reason"], &job["cost"]["engine_seconds"]),
        (&"store_full".into(), &0.0.into())
    );
    server.store.make_room();
    assert_eq!(server.get("/generate?prompt=x").await.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_remote_engine_that_cannot_be_called_is_named() {
    let server = TestServer::new();
    server.engine.set_obstacle(Some(CallObstacle::NoCredentials));
    let response = server.get("/generate?prompt=x").await;
    let problem = response.assert_problem(503, "engine-unavailable");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("credentials")), "{problem}");
    assert!(!response.text.contains("secret"), "{}", response.text);
    sleep(SECOND).await;
    let readiness = server.get("/readyz").await;
    assert_eq!((readiness.status().as_u16(), readiness.header("retry-after")), (503, Some("5")));
    let expected = serde_json::json!({"state": "engine_unavailable", "reason": "no_credentials"});
    assert_eq!(readiness.json(), expected);
    server.engine.set_obstacle(None);
    sleep(SECOND * 16).await;
    assert_eq!(server.get("/readyz").await.json(), serde_json::json!({"state": "ready"}));
}

#[tokio::test(start_paused = true)]
async fn while_the_ledger_is_not_writable() {
    let server = TestServer::new();
    server.ledger_store.fill_up();
    let response = server.get("/generate?prompt=x").await;
    response.assert_problem(503, "unavailable");
    assert_eq!(response.header("retry-after"), Some("5"));
    assert!(!response.text.contains("secret"), "{}", response.text);
    // The readiness check repeats the write until it succeeds.
    for _ in 0..2 {
        let readiness = server.get("/readyz").await;
        assert_eq!((readiness.status().as_u16(), readiness.header("retry-after")), (503, Some("5")));
        assert_eq!(readiness.json()["state"], "ledger_unavailable");
    }
    assert_eq!(server.get("/healthz").await.status(), 200);
    server.ledger_store.make_room();
    assert_eq!(server.get("/readyz").await.status(), 200);
    assert_eq!(server.get("/generate?prompt=x").await.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn while_a_ledger_record_is_corrupt() {
    let server = TestServer::new();
    let (name, key) = server.key(Policy::default()).await;
    let stored = server.ledger_store.list("keys/", None, 10).await.expect("list").objects.remove(0);
    let garbage = NewObject { bytes: "a secret cause".into(), content_type: "application/json".into() };
    server.ledger_store.put(&stored.key, garbage).await.expect("put");
    let response = server.send("GET", "/v1/images", &[(name, &key)]).await;
    // A retry cannot succeed.
    response.assert_problem(500, "internal");
    assert_eq!(response.header("retry-after"), None);
    assert!(!response.text.contains("secret"), "{}", response.text);
}

#[tokio::test(start_paused = true)]
async fn jobs_that_take_too_long() {
    let settings = ServiceSettings { max_job: SECOND * 5, ..ServiceSettings::default() };
    let server = TestServer::with(settings, NullEngine::new(SECOND));
    let response = server.post(&json!({"prompt": "x", "steps": 4, "deadline": 2}), &[]).await;
    let problem = response.assert_problem(504, "deadline");
    let job = problem["instance"].as_str().expect("the job's path");
    let body = server.get(job).await.json();
    assert_eq!(body["error"]["reason"], "deadline", "{body}");

    let response = server.post(&json!({"prompt": "x", "steps": 20}), &[]).await;
    let problem = response.assert_problem(504, "overrun");
    let body = server.get(problem["instance"].as_str().expect("the job's path")).await.json();
    assert_eq!(body["error"]["reason"], "overrun", "{body}");
}

#[tokio::test(start_paused = true)]
async fn a_job_canceled_by_another_request() {
    let server = TestServer::with(ServiceSettings::default(), NullEngine::new(SECOND));
    let (response, ()) = tokio::join!(server.get("/generate?prompt=x"), async {
        sleep(SECOND * 2).await;
        let id = server.get("/v1/images").await.json()["data"][0]["id"].as_str().expect("one").to_owned();
        let canceled = server.send("POST", &format!("/v1/images/{id}/cancel"), &[]).await;
        assert_eq!(canceled.status(), 200);
    });
    response.assert_problem(409, "canceled");
    assert_eq!(server.engine.finished(), 0);
}

#[tokio::test(start_paused = true)]
async fn errors_of_a_remote_engine() {
    for (fault, status, kind, retry_after, detail) in [
        (
            Fault::Busy,
            503,
            "engine-busy",
            Some("17"),
            "The engine is busy. No image was generated and nothing was charged; retry later.",
        ),
        (
            Fault::Model(422, "too rude"),
            424,
            "model-error",
            None,
            "The model rejected the request with status 422: too rude",
        ),
        (
            Fault::Model(500, "a secret cause"),
            424,
            "model-error",
            None,
            "The model failed with status 500. Its message is in the server log.",
        ),
        (
            Fault::Withheld("CONTENT_FILTERED"),
            424,
            "model-error",
            None,
            "The model returned no image: image withheld (CONTENT_FILTERED).",
        ),
        (
            Fault::OutcomeUnknown,
            502,
            "outcome-unknown",
            None,
            "The engine accepted the job, but no response arrived: the connection broke or the call timed \
             out. The images may have been generated, so the job is not repeated, to avoid a second charge.",
        ),
    ] {
        let server = TestServer::with(ServiceSettings::default(), NullEngine::new(SECOND).with_fault(fault));
        let response = server.get("/generate?prompt=x").await;
        let problem = response.assert_problem(status, kind);
        assert_eq!((problem["detail"].as_str(), response.header("retry-after")), (Some(detail), retry_after));
        let model_status = problem.get("model_status").and_then(Value::as_u64);
        assert_eq!(model_status.is_some(), matches!(fault, Fault::Model(..)), "{problem}");
        assert!(!response.text.contains("secret"), "{}", response.text);
        let body = server.get(problem["instance"].as_str().expect("the job's path")).await.json();
        assert_eq!(
            (&body["error"]["detail"], &body["error"]["model_status"]),
            (&problem["detail"], &problem["model_status"])
        );
    }
}

/// The model of a local engine computes no image.
#[tokio::test(start_paused = true)]
async fn an_image_that_is_not_finite() {
    let server =
        TestServer::with(ServiceSettings::default(), NullEngine::new(SECOND).with_fault(Fault::NotFinite));
    let response = server.get("/generate?prompt=x&seed=7").await;
    let problem = response.assert_problem(500, "not-finite");
    assert_eq!(problem["title"], "Image not finite");
    let detail = problem["detail"].as_str().expect("a detail");
    assert!(detail.contains("NaN or infinity") && detail.contains("`seed`"), "{detail}");
    assert!(!response.text.contains("secret"), "{}", response.text);
    assert_eq!(response.header("retry-after"), None);
    let job = server.get(problem["instance"].as_str().expect("the job's path")).await.json();
    assert_eq!(
        (&job["status"], &job["error"]["reason"], &job["error"]["detail"], &job["cost"]["engine_seconds"]),
        (&json!("failed"), &json!("not_finite"), &problem["detail"], &json!(0.0)),
        "{job}"
    );
}

/// Jobs of a crashed process: a remote engine's call without a known outcome, and a job that crashed the
/// process too often.
#[tokio::test(start_paused = true)]
async fn jobs_of_a_crashed_process() {
    for (on_worker_loss, runs, status, kind) in [
        (OnWorkerLoss::OutcomeUnknown, 1, 502, "outcome-unknown"),
        (OnWorkerLoss::Requeue, MAX_RUNS, 500, "internal"),
    ] {
        let server = TestServer::loading(ServiceSettings::default(), NullEngine::new(SECOND));
        let body = Fingerprint::of(br#"["/v1/images",{"prompt":"x"}]"#);
        let (caller, now) = (Caller::anonymous(), OffsetDateTime::now_utc());
        let new = NewJob {
            owner: caller.owner,
            key: caller.key,
            policy: caller.policy,
            reserve: Spend::ZERO,
            model: "null".to_owned(),
            request: Value::Null,
            request_key: body,
            reuse: Reuse::default(),
            idempotency: Some(Idempotency { key: "once".into(), body }),
            on_worker_loss,
            waiter: None,
            deadline: None,
            events_key: None,
            queue: None,
            start_with: None,
        };
        server.ledger.accept(new, now).await.expect("accepted");
        for _ in 0..runs {
            let lease = Lease { worker: "dead".parse().expect("a name"), until: now };
            server.ledger.claim_next("null", lease, now).await.expect("claimed").expect("a job");
            server.ledger.recover(now, RecoveryScope::All).await.expect("recovered");
        }
        server.service.engine_ready(server.engine.clone());
        let response = server.post(&json!({"prompt": "x"}), &[("idempotency-key", "once")]).await;
        response.assert_problem(status, kind);
        assert_eq!(response.header("idempotency-replayed"), Some("true"));
        assert_eq!(server.engine.started(), 0);
    }
}
