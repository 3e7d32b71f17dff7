//! Errors in OpenAI's format and their retry headers.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use tintype_ledger::policy::Policy;
use tintype_service::{AnonymousAccess, ServiceSettings};
use tintype_testing::{Fault, NullEngine};

use super::{ApiError, PATH, api_error, assert_error, generate};
use crate::{SECOND, TestServer};

const INVALID: ApiError = api_error(400, "invalid_request_error", Some("invalid_value"));

#[tokio::test]
async fn violations_are_reported() {
    let server = TestServer::new();
    for (field, value, expected) in [
        ("n", json!(0), "between 1 and 10"),
        ("n", json!(11), "between 1 and 10"),
        ("n", json!("two"), "a whole number"),
        ("size", json!("large"), "WIDTHxHEIGHT"),
        ("size", json!(64), "a string"),
        ("quality", json!("best"), "one of auto, low"),
        ("response_format", json!("b64"), "one of url, b64_json"),
        ("output_format", json!("gif"), "one of png, jpeg, webp"),
        ("output_compression", json!(101), "between 0 and 100"),
        ("background", json!("transparent"), "no transparency"),
        ("background", json!("red"), "one of auto, opaque"),
        ("moderation", json!("high"), "one of auto, low"),
        ("style", json!("dull"), "one of vivid, natural"),
        ("user", json!(1), "a string"),
        ("stream", json!("true"), "true or false"),
        ("partial_images", json!(4), "between 0 and 3"),
        ("partial_images", json!(-1), "between 0 and 3"),
        ("partial_images", json!(1.5), "a whole number"),
        ("seed", json!(-2), "between 0 and"),
        ("steps", json!(1000), "between 1 and 150"),
    ] {
        let response = generate(&server, json!({"prompt": "x", field: value})).await;
        let error = assert_error(&response, INVALID);
        assert_eq!(error["param"], field);
        assert!(
            error["message"].as_str().is_some_and(|message| message.contains(expected)),
            "{expected}: {error}"
        );
    }
    for (body, (code, param)) in [
        (json!({}), ("missing_required_parameter", "prompt")),
        (json!({"prompt": " "}), ("invalid_value", "prompt")),
        (json!({"prompt": "x", "frame_count": 9}), ("unknown_parameter", "frame_count")),
        (json!({"prompt": "x", "size": "64x64", "width": 64}), ("invalid_value", "size")),
        (json!({"prompt": "x", "format": "png", "output_format": "png"}), ("invalid_value", "output_format")),
        (
            json!({"prompt": "x", "stream": true, "response_format": "url"}),
            ("invalid_value", "response_format"),
        ),
    ] {
        let response = generate(&server, body).await;
        let error = assert_error(&response, api_error(400, "invalid_request_error", Some(code)));
        assert_eq!(error["param"], param);
    }
    let error = assert_error(&generate(&server, json!({"prompt": "x", "n": 0, "seed": -2})).await, INVALID);
    let message = error["message"].as_str().expect("text");
    assert!(message.contains("`n`") && message.contains("`seed`"), "{message}");
    assert_eq!(server.engine.started(), 0);
}

#[tokio::test]
async fn parameters_that_exclude_each_other_are_named() {
    let server = TestServer::new();
    for (body, message) in [
        (json!({"size": "64x64", "width": 64}), "`size` must be absent if `width` is given."),
        (json!({"size": "64x64", "height": 64}), "`size` must be absent if `height` is given."),
        (
            json!({"size": "64x64", "width": 64, "height": 64}),
            "`size` must be absent if `width` or `height` is given.",
        ),
        (
            json!({"format": "png", "output_format": "webp"}),
            "`output_format` must be absent if `format` is given.",
        ),
        (json!({"n": 1, "num_images": 1}), "`num_images` must be absent if `n` is given."),
    ] {
        let mut body = body;
        body["prompt"] = json!("x");
        let error = assert_error(&generate(&server, body).await, INVALID);
        assert_eq!(error["message"], message);
    }
    let auto = generate(&server, json!({"prompt": "x", "size": "auto", "width": 72})).await;
    assert_eq!(auto.json()["size"], "72x64");
}

#[tokio::test]
async fn empty_texts_are_absent_and_numbers_may_be_text() {
    let server = TestServer::new();
    let empty = json!({
        "prompt": "x", "model": "", "size": "", "quality": "", "style": "", "response_format": "", "user": "",
        "output_format": "", "background": "", "moderation": "", "stream": "", "partial_images": "", "n": "",
        "seed": "",
    });
    let body = super::generate_ok(&server, empty).await;
    assert_eq!((&body["size"], &body["output_format"]), (&json!("64x64"), &json!("png")));
    let text =
        json!({"prompt": "x", "n": "2", "partial_images": "1", "output_compression": "80", "seed": "7"});
    assert_eq!(super::generate_ok(&server, text).await["data"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn messages_about_the_body_are_complete() {
    let server = TestServer::new();
    let send = async |content_type: &str, body: String| {
        let request = Request::post(PATH).header("content-type", content_type).body(Body::from(body));
        server.request(request.expect("a request")).await
    };
    let json = "application/json";
    for (response, status, code, message) in [
        (
            send(json, " ".repeat(65_537)).await,
            413,
            "too_large",
            "The request body exceeds the limit of 65,536 bytes; send a shorter body.",
        ),
        (
            send(json, "prompt=x".into()).await,
            400,
            "malformed_json",
            "The request body is not a JSON object, such as `{\"name\": \"value\"}`: expected value at line 1 \
             column 1.",
        ),
        (
            send("application/x-www-form-urlencoded", "prompt=x".into()).await,
            415,
            "not_json",
            "The content type of the request is `application/x-www-form-urlencoded`; send JSON with \
             `Content-Type: application/json`.",
        ),
    ] {
        let error = assert_error(&response, api_error(status, "invalid_request_error", Some(code)));
        assert_eq!(error["message"], message);
    }
}

#[tokio::test]
async fn invalid_methods_and_content_types() {
    let server = TestServer::new();
    let none = server.send("GET", PATH, &[]).await;
    assert_error(&none, api_error(405, "invalid_request_error", Some("method_not_allowed")));
    assert_eq!(none.header("allow"), Some("POST"));
    let plain = server.send("POST", PATH, &[("content-type", "text/plain")]).await;
    assert_error(&plain, api_error(415, "invalid_request_error", Some("not_json")));
    // `edits` is not the id of a job.
    let options = server.send("OPTIONS", PATH, &[]).await;
    assert_error(&options, api_error(405, "invalid_request_error", Some("method_not_allowed")));
    assert_eq!(options.header("allow"), Some("POST"));
}

#[tokio::test]
async fn unknown_paths_are_answered_in_the_dialect_of_the_client() {
    let server = TestServer::new();
    for (path, nearest) in [
        ("/v1/images/edits", "`/v1/images/generations`"),
        ("/v1/images/variations", "`/v1/images/generations`"),
        ("/images/generations", "`/v1/images/generations`"),
        ("/openai/deployments/x/images/generations?api-version=1", "`/v1/images/generations`"),
        ("/v1/chat/completions", "`/v1/images`"),
        ("/v1/responses", "`/v1/images`"),
        ("/v1/embeddings", "`/v1/images`"),
        ("/v1//chat/completions/", "`/v1/images`"),
    ] {
        let response = server.send_json(path, &json!({}), &[]).await;
        let error = assert_error(&response, api_error(404, "invalid_request_error", Some("not_found")));
        assert!(error["message"].as_str().is_some_and(|message| message.contains(nearest)), "{error}");
    }
    for path in ["/nowhere", "/v1/nowhere", "/v1/images/x", "/v1/images/x/cancel/y"] {
        let response = server.send_json(path, &json!({}), &[]).await;
        response.assert_problem(404, "not-found");
        for header in [("x-stainless-lang", "python"), ("user-agent", "OpenAI/Python 2.8.1")] {
            let response = server.send_json(path, &json!({}), &[header]).await;
            assert_error(&response, api_error(404, "invalid_request_error", Some("not_found")));
        }
    }
    // A native path has the native format for every client.
    let sdk = ("x-stainless-lang", "python");
    server.send_json("/v1/images", &json!({}), &[sdk]).await.assert_problem(400, "invalid-request");
    let job = "/v1/images/019aaf60-ac00-7000-8000-000000000000";
    server.send("POST", job, &[]).await.assert_problem(405, "method-not-allowed");
    server.send("POST", &format!("{job}/events"), &[]).await.assert_problem(405, "method-not-allowed");
    server.send("GET", &format!("{job}/cancel"), &[]).await.assert_problem(405, "method-not-allowed");
    server.send("GET", "/v1/images/x/cancel", &[]).await.assert_problem(404, "not-found");
}

#[tokio::test]
async fn slashes_do_not_change_the_route() {
    let server = TestServer::new();
    for path in ["/v1//images/generations", "//v1/images/generations", "/v1/images/generations/"] {
        assert_eq!(server.send_json(path, &json!({"prompt": "x"}), &[]).await.status(), 200, "{path}");
    }
    for path in ["/docs/", "//healthz", "/v1/models/", "/v1//models//null/", "/generate/?prompt=x"] {
        assert_eq!(server.get(path).await.status(), 200, "{path}");
    }
}

#[tokio::test]
async fn every_key_is_accepted_if_none_is_required() {
    let server = TestServer::new();
    let foreign = ("authorization", "Bearer sk-proj-abc");
    let body = json!({"prompt": "x"});
    assert_eq!(server.send_json(PATH, &body, &[foreign]).await.status(), 200);
    assert_eq!(server.send("GET", "/v1/models", &[foreign]).await.status(), 200);
    // A key in tintype's format is checked.
    let unknown =
        format!("Bearer {}", tintype_ledger::key::ApiKey::generate().expect("random").secret().expose());
    let response = server.send_json(PATH, &body, &[("authorization", &unknown)]).await;
    assert_error(&response, api_error(401, "invalid_request_error", Some("invalid_api_key")));
    // A request with another key is subject to the rules for anonymous requests.
    let page = server.send_json(PATH, &body, &[foreign, ("origin", "https://evil.example")]).await;
    assert_error(&page, api_error(403, "permission_error", Some("cross_site")));
    server.send("GET", "/v1/images", &[foreign]).await.assert_problem(401, "unauthenticated");

    let settings = ServiceSettings { anonymous: AnonymousAccess::Denied, ..ServiceSettings::default() };
    let strict = TestServer::with(settings, NullEngine::new(Duration::ZERO));
    let response = strict.send_json(PATH, &body, &[foreign]).await;
    let error = assert_error(&response, api_error(401, "invalid_request_error", Some("invalid_api_key")));
    assert!(error["message"].as_str().is_some_and(|message| message.contains("tt_")), "{error}");
    assert_error(&generate(&strict, body).await, api_error(401, "invalid_request_error", None));
}

#[tokio::test(start_paused = true)]
async fn errors_of_limits_have_retry_headers() {
    let policy = |json: Value| serde_json::from_value::<Policy>(json).expect("limits");
    for (limits, (r#type, code), retry) in [
        (json!({"rate": "1/day"}), ("rate_limit_error", "rate_limit_exceeded"), false),
        (json!({"rate": "1/min"}), ("rate_limit_error", "rate_limit_exceeded"), true),
        (json!({"budgets": ["1s/day"]}), ("insufficient_quota", "insufficient_quota"), false),
    ] {
        let server = TestServer::keyed();
        let (name, key) = server.key(policy(limits)).await;
        let generate = async || server.send_json(PATH, &json!({"prompt": "x"}), &[(name, &key)]).await;
        generate().await;
        let response = generate().await;
        assert_error(&response, ApiError { retry, ..api_error(429, r#type, Some(code)) });
        assert!(response.header("retry-after").is_some());
    }
    let server =
        TestServer::with(ServiceSettings { queue: 0, ..ServiceSettings::default() }, NullEngine::new(SECOND));
    let (first, second) = tokio::join!(generate(&server, json!({"prompt": "x"})), async {
        tokio::time::sleep(SECOND).await;
        generate(&server, json!({"prompt": "y"})).await
    });
    assert_eq!(first.status(), 200);
    assert_error(&second, api_error(429, "rate_limit_error", Some("queue_full")).retryable());
    assert!(second.header("retry-after").is_some());
}

#[tokio::test(start_paused = true)]
async fn failed_jobs_are_not_retried() {
    for (fault, (status, r#type, code), retry) in [
        (Fault::Error, (500, "server_error", "internal"), false),
        (Fault::NotFinite, (500, "server_error", "not_finite"), false),
        (Fault::OutcomeUnknown, (502, "server_error", "outcome_unknown"), false),
        (Fault::Model(422, "too rude"), (424, "invalid_request_error", "model_error"), false),
        (Fault::Busy, (503, "server_error", "engine_busy"), true),
    ] {
        let server = TestServer::with(ServiceSettings::default(), NullEngine::new(SECOND).with_fault(fault));
        let response = generate(&server, json!({"prompt": "x"})).await;
        let error = assert_error(&response, ApiError { retry, ..api_error(status, r#type, Some(code)) });
        assert!(!error.to_string().contains("secret"), "{error}");
        assert_eq!(response.header("retry-after").is_some(), retry, "{fault:?}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_ready_has_retry_headers() {
    let server = TestServer::loading(ServiceSettings::default(), NullEngine::new(Duration::ZERO));
    for response in [generate(&server, json!({"prompt": "x"})).await, server.get("/v1/models").await] {
        assert_error(&response, api_error(503, "server_error", Some("loading")).retryable());
        assert_eq!(response.header("retry-after"), Some("5"));
    }
    server.service.engine_failed("x".into());
    for response in [generate(&server, json!({"prompt": "x"})).await, server.get("/v1/models").await] {
        assert_error(&response, api_error(503, "server_error", Some("no_model")));
    }
    server.service.drain(SECOND).await;
    for path in ["/v1/models", "/v1/models/x"] {
        assert_error(
            &server.get(path).await,
            api_error(503, "server_error", Some("shutting_down")).retryable(),
        );
    }
}
