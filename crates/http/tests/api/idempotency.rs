//! The `Idempotency-Key` header.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use tintype_ledger::policy::Policy;
use tintype_service::ServiceSettings;
use tintype_testing::{Fault, NullEngine};
use tokio::time::{Instant, sleep, timeout};

use crate::{SECOND, TestServer};

const KEY: (&str, &str) = ("idempotency-key", "8e03978e-40d5-43dd-bc93-6894a57f9324");

fn slow() -> TestServer {
    TestServer::with(ServiceSettings::default(), NullEngine::new(SECOND))
}

/// A body without the expiry, which differs in every response.
fn without_expiry(mut body: Value) -> Value {
    body["expires_at"] = Value::Null;
    body
}

#[tokio::test(start_paused = true)]
async fn a_repeated_request_gets_the_same_response() {
    let server = slow();
    let first = server.post(&json!({"prompt": "x", "steps": 4}), &[KEY]).await;
    assert_eq!((first.status().as_u16(), first.header("idempotency-replayed")), (201, None));
    let body = "{ \"steps\" : 4.0,\n\"seed\":null, \"prompt\":\"\\u0078\"}";
    let request = Request::post("/v1/images").header("content-type", "application/json").header(KEY.0, KEY.1);
    let again = server.request(request.body(Body::from(body)).expect("a request")).await;
    assert_eq!((again.status().as_u16(), again.header("idempotency-replayed")), (201, Some("true")));
    assert_eq!(without_expiry(again.json()), without_expiry(first.json()));

    let asynchronous = [KEY, ("prefer", "respond-async")];
    let again = server.post(&json!({"prompt": "x", "steps": 4}), &asynchronous).await;
    assert_eq!((again.status().as_u16(), again.header("idempotency-replayed")), (201, Some("true")));
    assert_eq!(server.engine.started(), 1);
}

#[tokio::test(start_paused = true)]
async fn get_supports_idempotency_keys() {
    let server = slow();
    let first = server.send("GET", "/generate?prompt=x&steps=4", &[KEY]).await;
    let again = server.send("GET", "/?steps=4&prompt=%78", &[KEY]).await;
    assert_eq!((again.status().as_u16(), again.header("idempotency-replayed")), (200, Some("true")));
    assert_eq!(without_expiry(again.json()), without_expiry(first.json()));
    assert_eq!(server.engine.started(), 1);
    // The path is part of the request.
    server
        .post(&json!({"prompt": "x", "steps": 4}), &[KEY])
        .await
        .assert_problem(422, "idempotency-conflict");
}

#[tokio::test(start_paused = true)]
async fn another_request_with_the_same_key_is_a_conflict() {
    let server = slow();
    server.post(&json!({"prompt": "x"}), &[KEY]).await;
    for body in
        [json!({"prompt": "y"}), json!({"prompt": "x", "n": 1}), json!({"prompt": "x", "expires_in": 60})]
    {
        server.post(&body, &[KEY]).await.assert_problem(422, "idempotency-conflict");
    }
    assert_eq!(server.engine.started(), 1);
    // Each owner has its own idempotency keys.
    let (name, other) = server.key(Policy::default()).await;
    assert_eq!(server.post(&json!({"prompt": "y"}), &[KEY, (name, &other)]).await.status(), 201);
}

#[tokio::test(start_paused = true)]
async fn repeated_requests_join_a_running_job() {
    let server = slow();
    let body = json!({"prompt": "x"});
    // The first client disconnects; with an idempotency key the job continues.
    assert!(timeout(SECOND, server.post(&body, &[KEY])).await.is_err());
    let waiting = server.post(&body, &[KEY, ("prefer", "respond-async")]).await;
    assert_eq!((waiting.status().as_u16(), waiting.header("idempotency-replayed")), (202, Some("true")));
    let second = server.post(&body, &[KEY]).await;
    assert_eq!((second.status().as_u16(), second.header("idempotency-replayed")), (201, Some("true")));
    assert_eq!(second.json()["id"], waiting.json()["id"]);
    assert_eq!(server.engine.started(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_repeated_request_gets_the_same_error() {
    let server =
        TestServer::with(ServiceSettings::default(), NullEngine::new(SECOND).with_fault(Fault::Error));
    let body = json!({"prompt": "x"});
    let first = server.post(&body, &[KEY]).await.assert_problem(500, "internal");
    for prefer in ["wait=60", "respond-async"] {
        let again = server.post(&body, &[KEY, ("prefer", prefer)]).await;
        assert_eq!(again.assert_problem(500, "internal")["instance"], first["instance"]);
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
    }
    assert_eq!(server.engine.started(), 1);

    let server = slow();
    let path = server.post(&body, &[KEY, ("prefer", "respond-async")]).await;
    server.send("POST", &format!("{}/cancel", path.header("location").expect("a path")), &[]).await;
    sleep(SECOND * 2).await;
    server.post(&body, &[KEY]).await.assert_problem(409, "canceled");
}

/// The path of the only job.
async fn only_job(server: &TestServer) -> String {
    let jobs = server.get("/v1/images").await.json();
    format!("/v1/images/{}", jobs["data"][0]["id"].as_str().expect("a job"))
}

#[tokio::test(start_paused = true)]
async fn a_repeated_request_of_a_job_that_is_being_canceled_is_answered_at_once() {
    let long = json!({"prompt": "x", "steps": 20});
    let path = "/v1/images/generations";
    for dialect in ["/v1/images", "/generate?prompt=x&steps=20", path] {
        let server = slow();
        let call = async |more: &[(&str, &str)]| {
            let headers = [&[KEY][..], more].concat();
            match dialect {
                "/v1/images" | "/v1/images/generations" => server.send_json(dialect, &long, &headers).await,
                _ => server.send("GET", dialect, &headers).await,
            }
        };
        assert!(timeout(SECOND * 3, call(&[])).await.is_err(), "the job is running");
        server.send("POST", &format!("{}/cancel", only_job(&server).await), &[]).await;
        let began = Instant::now();
        for prefer in ["wait=60", "respond-async"] {
            let again = call(&[("prefer", prefer)]).await;
            assert_eq!((again.status().as_u16(), again.header("idempotency-replayed")), (409, Some("true")));
            let body = again.json();
            let code = if dialect == path { &body["error"]["code"] } else { &body["type"] };
            assert!(code.as_str().is_some_and(|code| code.ends_with("canceled")), "{body}");
            assert_eq!(again.header("x-should-retry"), (dialect == path).then_some("false"));
        }
        assert_eq!(began.elapsed(), Duration::ZERO, "before the engine's next step");
        sleep(SECOND * 2).await;
        assert_eq!(call(&[]).await.status(), 409, "after the end of the job");
        assert_eq!(server.engine.started(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_repeated_request_of_a_job_at_its_deadline_gets_its_end() {
    // The engine notices the deadline after its third step.
    let engine = NullEngine::new(Duration::from_millis(700));
    let server = TestServer::with(ServiceSettings::default(), engine);
    let body = json!({"prompt": "x", "steps": 20, "deadline": 2});
    assert!(timeout(Duration::from_millis(2050), server.post(&body, &[KEY])).await.is_err());
    server.post(&body, &[KEY]).await.assert_problem(504, "deadline");
    assert_eq!(server.engine.started(), 1);
}

#[tokio::test]
async fn a_key_is_visible_ascii() {
    let server = TestServer::new();
    let body = json!({"prompt": "x"});
    let long = "k".repeat(256);
    for keys in [&[""][..], &["two words"], &["k\tk"], &["\u{e9}"], &[&long], &["a", "a"]] {
        let headers: Vec<_> = keys.iter().map(|key| (KEY.0, *key)).collect();
        server.post(&body, &headers).await.assert_problem(400, "invalid-idempotency-key");
        server
            .send("GET", "/generate?prompt=x", &headers)
            .await
            .assert_problem(400, "invalid-idempotency-key");
    }
    assert_eq!(server.engine.started(), 0);
    for key in ["k", &long[1..], "\"8e03978e\"", "!~"] {
        assert_eq!(server.post(&body, &[(KEY.0, key)]).await.status(), 201, "{key}");
    }
}
