//! Invalid queries.

use std::time::Duration;

use serde_json::{Value, json};
use tintype_service::ServiceSettings;
use tintype_testing::NullEngine;

use crate::TestServer;

const KNOWN: &str =
    "prompt, negative_prompt, width, height, steps, guidance, seed, format, expires_in, coalesce, model";

/// A server with the limits of a 64 × 64 model.
fn small() -> TestServer {
    let limits = (Some(64 * 64 * 9 / 4), Some(64 * 64 * 200));
    let settings = ServiceSettings { max_pixels: limits.0, max_work: limits.1, ..ServiceSettings::default() };
    TestServer::with(settings, NullEngine::new(Duration::ZERO))
}

/// Checks that a query has exactly these violations: `[(parameter, detail, limit)]`.
async fn assert_refused(server: &TestServer, query: &str, expected: &[(&str, &str, Value)]) {
    for path in ["/generate", "/"] {
        // The root without a parameter of an image is the introduction.
        if path == "/" && !query.contains("prompt") {
            continue;
        }
        let problem = server.get(&format!("{path}?{query}")).await.assert_problem(400, "invalid-request");
        let expected: Vec<_> = expected
            .iter()
            .map(|(parameter, detail, limit)| match limit {
                Value::Null => json!({ "parameter": parameter, "detail": detail }),
                limit => json!({ "parameter": parameter, "detail": detail, "limit": limit }),
            })
            .collect();
        assert_eq!(problem["errors"], Value::from(expected), "{path}?{query}");
    }
}

#[tokio::test]
async fn one_violation() {
    let server = small();
    let long = "%E8%99%8E".repeat(2_001);
    let whole = "must be a whole number";
    let long_detail = "must be at most 2000 characters long; it has 2001";
    let unknown = format!("is not a parameter of this request; valid parameters: {KNOWN}");
    let range = |min: Value, max: Value| json!({ "min": min, "max": max });
    let sides = "must be between 64 and 16384";
    let table: &[(&str, &str, &str, Value)] = &[
        ("", "prompt", "is required", json!(null)),
        ("width=64", "prompt", "is required", json!(null)),
        ("prompt=", "prompt", "must not be empty", json!(null)),
        ("prompt", "prompt", "must not be empty", json!(null)),
        ("prompt=+%0A", "prompt", "must not be empty", json!(null)),
        ("prompt=%E2%80%8B", "prompt", "must not be empty", json!(null)),
        ("prompt=x&cat=", "cat", &unknown, json!(null)),
        (
            "prompt=x&num_inference_steps=0",
            "num_inference_steps",
            "must be between 1 and 150",
            range(json!(1), json!(150)),
        ),
        ("prompt=x&cfg=high", "cfg", "must be a number", json!(null)),
        (
            "prompt=x&steps=4&num_inference_steps=4",
            "num_inference_steps",
            "must be absent if `steps` is given",
            json!(null),
        ),
        (&format!("prompt={long}"), "prompt", long_detail, json!(2_000)),
        (&format!("prompt=x&negative_prompt={long}"), "negative_prompt", long_detail, json!(2_000)),
        ("prompt=%ff", "prompt", "must be valid UTF-8", json!(null)),
        ("prompt=x&negative_prompt=%e8%99", "negative_prompt", "must be valid UTF-8", json!(null)),
        ("prompt=x&prompt=y", "prompt", "must be given only once", json!(null)),
        ("prompt=x&Prompt=y", "Prompt", &unknown, json!(null)),
        ("prompt=x&size=64", "size", &unknown, json!(null)),
        ("prompt=x&%ff=1", "\u{fffd}", &unknown, json!(null)),
        ("prompt=x&width=wide", "width", whole, json!(null)),
        ("prompt=x&width=64.5", "width", whole, json!(null)),
        ("prompt=x&width=65", "width", "must be a multiple of 8", json!(8)),
        ("prompt=x&width=56", "width", sides, range(json!(64), json!(16_384))),
        ("prompt=x&height=-64", "height", sides, range(json!(64), json!(16_384))),
        ("prompt=x&height=99999999999999999999999", "height", sides, range(json!(64), json!(16_384))),
        (
            "prompt=x&width=152",
            "width",
            "must be smaller: width × height is 9728 pixels; the maximum is 9216",
            json!(9_216),
        ),
        (
            "prompt=x&height=152",
            "height",
            "must be smaller: width × height is 9728 pixels; the maximum is 9216",
            json!(9_216),
        ),
        (
            "prompt=x&width=96&height=96&steps=90",
            "steps",
            "must be smaller: width × height × steps × n is 829440; the maximum is 819200",
            json!(819_200),
        ),
        ("prompt=x&steps=0", "steps", "must be between 1 and 150", range(json!(1), json!(150))),
        ("prompt=x&steps=151", "steps", "must be between 1 and 150", range(json!(1), json!(150))),
        ("prompt=x&steps=ten", "steps", whole, json!(null)),
        ("prompt=x&guidance=high", "guidance", "must be a number", json!(null)),
        ("prompt=x&guidance=NaN", "guidance", "must be a number", json!(null)),
        ("prompt=x&guidance=-0.1", "guidance", "must be between 0 and 30", range(json!(0), json!(30))),
        ("prompt=x&guidance=1e999", "guidance", "must be between 0 and 30", range(json!(0), json!(30))),
        (
            "prompt=x&seed=-2",
            "seed",
            "must be between 0 and 9007199254740991",
            range(json!(0), json!(9_007_199_254_740_991_u64)),
        ),
        (
            "prompt=x&seed=9007199254740992",
            "seed",
            "must be between 0 and 9007199254740991",
            range(json!(0), json!(9_007_199_254_740_991_u64)),
        ),
        ("prompt=x&format=gif", "format", "must be one of jpeg, png, webp", json!(null)),
        (
            "prompt=x&expires_in=0",
            "expires_in",
            "must be between 1 and 604800",
            range(json!(1), json!(604_800)),
        ),
        (
            "prompt=x&expires_in=604801",
            "expires_in",
            "must be between 1 and 604800",
            range(json!(1), json!(604_800)),
        ),
        ("prompt=x&coalesce=yes", "coalesce", "must be true or false", json!(null)),
        ("prompt=x&deadline=5", "deadline", &unknown, json!(null)),
        (
            "prompt=x&n=2",
            "n",
            "must be omitted from a GET, which creates one image; use POST for several images",
            json!(null),
        ),
    ];
    let once = "must be omitted from a GET, which creates one image; use POST for several images";
    assert_refused(&server, "prompt=x&num_images=2", &[("num_images", once, json!(null))]).await;
    for (query, parameter, detail, limit) in table {
        assert_refused(&server, query, &[(parameter, detail, limit.clone())]).await;
    }
    assert_eq!(server.engine.started(), 0);
}

#[tokio::test]
async fn notations_of_other_servers_are_accepted() {
    let server = small();
    for query in [
        "width=&height&steps=&guidance=&seed=&format=&coalesce=&negative_prompt=&expires_in=",
        "seed=-1",
        "width=64.0&seed=5.00",
        "num_inference_steps=4&guidance_scale=7.5",
        "sampling_steps=4&cfg_scale=7",
        "cfg=7&output_format=png",
    ] {
        let response = server.get(&format!("/generate?prompt=x&{query}")).await;
        assert_eq!(response.status(), 200, "{query}: {}", response.text);
    }
    let random = server.get("/generate?prompt=x&seed=-1").await.json();
    let again = server.get("/generate?prompt=x&seed=-1").await.json();
    assert!(random["seed"] != again["seed"] && again.get("cache").is_none(), "{random} {again}");
    let page = server.get("/v1/images?limit=&cursor=").await;
    assert_eq!(page.status(), 200, "{}", page.text);
}

#[tokio::test]
async fn too_much_memory() {
    let settings = ServiceSettings { max_memory: Some(1), ..ServiceSettings::default() };
    let server = TestServer::with(settings, tintype_testing::NullEngine::new(std::time::Duration::ZERO));
    let detail = "must be smaller: the request needs about 0 MiB of memory; the maximum is 0 MiB";
    assert_refused(&server, "prompt=x", &[("width", detail, json!(1))]).await;
}

#[tokio::test]
async fn all_violations_are_reported() {
    let server = small();
    let expected = [
        ("width", "must be a whole number", json!(null)),
        ("cat", &*format!("is not a parameter of this request; valid parameters: {KNOWN}"), json!(null)),
        ("prompt", "is required", json!(null)),
        ("steps", "must be between 1 and 150", json!({ "min": 1, "max": 150 })),
    ];
    assert_refused(&server, "width=a&steps=0&cat=tom", &expected).await;
    let problem = server.get("/generate?prompt=x&width=a&steps=0").await.json();
    assert_eq!(problem["detail"], "2 invalid parameters; see `errors`.");
    let problem = server.get("/generate?prompt=x&steps=0").await.json();
    assert_eq!(problem["detail"], "`steps` must be between 1 and 150.");
}

#[tokio::test]
async fn a_problem_has_its_members_in_this_order() {
    let response =
        TestServer::new().send("GET", "/generate?prompt=x&steps=0", &[("x-request-id", "me")]).await;
    assert_eq!(
        response.text,
        r#"{"type":"urn:tintype:problem:invalid-request","title":"Invalid request","status":400,"detail":"`steps` must be between 1 and 150.","request_id":"me","errors":[{"parameter":"steps","detail":"must be between 1 and 150","limit":{"min":1,"max":150}}]}"#
    );
}
