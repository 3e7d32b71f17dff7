//! Errors, in the envelope of which clients read all four members, and with the word on whether to try again.

use std::time::Duration;

use serde_json::{Value, json};
use tintype_service::ledger::policy::Policy;
use tintype_service::{AnonymousAccess, ServiceSettings};
use tintype_testing::{Fault, NullEngine};

use super::{PATH, ask, assert_error};
use crate::{Bench, SECOND};

const INVALID: (u16, &str, Option<&str>) = (400, "invalid_request_error", Some("invalid_value"));

#[tokio::test]
async fn what_is_wrong_is_named() {
    let bench = Bench::new();
    for (field, value, told) in [
        ("n", json!(0), "between 1 and 10"),
        ("n", json!(11), "between 1 and 10"),
        ("n", json!("2"), "a whole number"),
        ("size", json!("large"), "WIDTHxHEIGHT"),
        ("size", json!(64), "a text"),
        ("quality", json!("best"), "one of auto, low"),
        ("response_format", json!("b64"), "one of url, b64_json"),
        ("output_format", json!("gif"), "one of png, jpeg, webp"),
        ("output_compression", json!(101), "between 0 and 100"),
        ("background", json!("transparent"), "no transparency"),
        ("background", json!("red"), "one of auto, opaque"),
        ("moderation", json!("high"), "one of auto, low"),
        ("style", json!("dull"), "one of vivid, natural"),
        ("user", json!(1), "a text"),
        ("stream", json!("true"), "true or false"),
        ("partial_images", json!(4), "between 0 and 3"),
        ("partial_images", json!(-1), "between 0 and 3"),
        ("partial_images", json!(1.5), "a whole number"),
        ("seed", json!(-1), "between 0 and"),
        ("steps", json!(1000), "between 1 and 150"),
    ] {
        let answer = ask(&bench, json!({"prompt": "x", field: value})).await;
        let error = assert_error(&answer, INVALID, false);
        assert_eq!(error["param"], field);
        assert!(error["message"].as_str().is_some_and(|message| message.contains(told)), "{told}: {error}");
    }
    for (body, (code, param)) in [
        (json!({}), ("missing_required_parameter", "prompt")),
        (json!({"prompt": " "}), ("invalid_value", "prompt")),
        (json!({"prompt": "x", "frame_count": 9}), ("unknown_parameter", "frame_count")),
        (json!({"prompt": "x", "size": "64x64", "width": 64}), ("invalid_value", "size")),
        (json!({"prompt": "x", "format": "png", "output_format": "png"}), ("invalid_value", "format")),
        (
            json!({"prompt": "x", "stream": true, "response_format": "url"}),
            ("invalid_value", "response_format"),
        ),
    ] {
        let answer = ask(&bench, body).await;
        let error = assert_error(&answer, (400, "invalid_request_error", Some(code)), false);
        assert_eq!(error["param"], param);
    }
    let several =
        assert_error(&ask(&bench, json!({"prompt": "x", "n": 0, "seed": -1})).await, INVALID, false);
    let message = several["message"].as_str().expect("text");
    assert!(message.contains("`n`") && message.contains("`seed`"), "{message}");
    assert_eq!(bench.engine.started(), 0);
}

#[tokio::test]
async fn requests_that_never_get_that_far() {
    let bench = Bench::new();
    let none = bench.send("GET", PATH, &[]).await;
    assert_error(&none, (405, "invalid_request_error", Some("method_not_allowed")), false);
    assert_eq!(none.header("allow"), Some("POST"));
    let plain = bench.send("POST", PATH, &[("content-type", "text/plain")]).await;
    assert_error(&plain, (415, "invalid_request_error", Some("not_json")), false);
    for path in ["/v1/images/edits", "/v1/images/variations"] {
        let answer = bench.send_json(path, &json!({}), &[]).await;
        assert_error(&answer, (405, "invalid_request_error", Some("method_not_allowed")), false);
    }
    // Other paths have their own errors as before.
    bench.send("POST", "/v1/images/x", &[]).await.assert_problem(405, "method-not-allowed");
    bench.get("/nowhere").await.assert_problem(404, "not-found");
}

#[tokio::test]
async fn a_foreign_key_will_do_where_none_is_needed() {
    let bench = Bench::new();
    let foreign = ("authorization", "Bearer sk-proj-abc");
    let body = json!({"prompt": "x"});
    assert_eq!(bench.send_json(PATH, &body, &[foreign]).await.status(), 200);
    assert_eq!(bench.send("GET", "/v1/models", &[foreign]).await.status(), 200);
    // One that is written like ours is meant.
    let unknown = format!(
        "Bearer {}",
        tintype_service::ledger::key::ApiKey::generate().expect("random").secret().expose()
    );
    let answer = bench.send_json(PATH, &body, &[("authorization", &unknown)]).await;
    assert_error(&answer, (401, "invalid_request_error", Some("invalid_api_key")), false);
    // Whoever has no key of ours is held to what holds for all without.
    let page = bench.send_json(PATH, &body, &[foreign, ("origin", "https://evil.example")]).await;
    assert_error(&page, (403, "permission_error", Some("cross_site")), false);
    bench.send("GET", "/v1/images", &[foreign]).await.assert_problem(401, "unauthenticated");

    let settings = ServiceSettings { anonymous: AnonymousAccess::Denied, ..ServiceSettings::default() };
    let strict = Bench::with(settings, NullEngine::new(Duration::ZERO));
    let answer = strict.send_json(PATH, &body, &[foreign]).await;
    let error = assert_error(&answer, (401, "invalid_request_error", Some("invalid_api_key")), false);
    assert!(error["message"].as_str().is_some_and(|message| message.contains("tt_")), "{error}");
    assert_error(&ask(&strict, body).await, (401, "invalid_request_error", None), false);
}

#[tokio::test(start_paused = true)]
async fn limits_say_whether_to_come_again() {
    let policy = |json: Value| serde_json::from_value::<Policy>(json).expect("limits");
    for (limits, (r#type, code), retry) in [
        (json!({"rate": "1/day"}), ("rate_limit_error", "rate_limit_exceeded"), false),
        (json!({"rate": "1/min"}), ("rate_limit_error", "rate_limit_exceeded"), true),
        (json!({"budgets": ["1s/day"]}), ("insufficient_quota", "insufficient_quota"), false),
    ] {
        let bench = Bench::keyed();
        let (name, key) = bench.key(policy(limits)).await;
        let ask = async || bench.send_json(PATH, &json!({"prompt": "x"}), &[(name, &key)]).await;
        ask().await;
        let answer = ask().await;
        assert_error(&answer, (429, r#type, Some(code)), retry);
        assert!(answer.header("retry-after").is_some());
    }
    let bench =
        Bench::with(ServiceSettings { queue: 0, ..ServiceSettings::default() }, NullEngine::new(SECOND));
    let (first, second) = tokio::join!(ask(&bench, json!({"prompt": "x"})), async {
        tokio::time::sleep(SECOND).await;
        ask(&bench, json!({"prompt": "y"})).await
    });
    assert_eq!(first.status(), 200);
    assert_error(&second, (429, "rate_limit_error", Some("queue_full")), true);
    assert!(second.header("retry-after").is_some());
}

#[tokio::test(start_paused = true)]
async fn what_cost_engine_time_is_not_tried_again() {
    for (fault, (status, r#type, code), retry) in [
        (Fault::Error, (500, "server_error", "internal"), false),
        (Fault::OutcomeUnknown, (502, "server_error", "outcome_unknown"), false),
        (Fault::Model(422, "too rude"), (424, "invalid_request_error", "model_error"), false),
        (Fault::Busy, (503, "server_error", "engine_busy"), true),
    ] {
        let bench = Bench::with(ServiceSettings::default(), NullEngine::new(SECOND).with_fault(fault));
        let answer = ask(&bench, json!({"prompt": "x"})).await;
        let error = assert_error(&answer, (status, r#type, Some(code)), retry);
        assert!(!error.to_string().contains("secret"), "{error}");
        assert_eq!(answer.header("retry-after").is_some(), retry, "{fault:?}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_ready_says_when_to_come() {
    let bench = Bench::loading(ServiceSettings::default(), NullEngine::new(Duration::ZERO));
    for answer in [ask(&bench, json!({"prompt": "x"})).await, bench.get("/v1/models").await] {
        assert_error(&answer, (503, "server_error", Some("loading")), true);
        assert_eq!(answer.header("retry-after"), Some("5"));
    }
    bench.service.engine_failed("x".into());
    for answer in [ask(&bench, json!({"prompt": "x"})).await, bench.get("/v1/models").await] {
        assert_error(&answer, (503, "server_error", Some("no_model")), false);
    }
    bench.service.drain(SECOND).await;
    for path in ["/v1/models", "/v1/models/x"] {
        assert_error(&bench.get(path).await, (503, "server_error", Some("shutting_down")), true);
    }
}
