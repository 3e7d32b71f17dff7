//! Invalid request bodies.

use std::io::Write;

use axum::body::Body;
use axum::http::Request;
use futures::StreamExt;
use serde_json::{Value, json};
use tintype_core::picture::Format;
use tokio::time::Instant;

use crate::{TestResponse, TestServer};

const KNOWN: &str = "prompt, negative_prompt, width, height, steps, guidance, seed, n, format, expires_in, coalesce, model, deadline";

async fn send(server: &TestServer, content_type: Option<&str>, body: impl Into<Body>) -> TestResponse {
    let mut request = Request::post("/v1/images");
    if let Some(content_type) = content_type {
        request = request.header("content-type", content_type);
    }
    server.request(request.body(body.into()).expect("a request")).await
}

#[tokio::test]
async fn only_json_is_read() {
    let server = TestServer::new();
    let body = r#"{"prompt":"x"}"#;
    for content_type in
        [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("multipart/form-data")]
    {
        send(&server, content_type, body).await.assert_problem(415, "not-json");
    }
    for content_type in ["application/json", "application/json; charset=utf-8", "application/vnd.x+json"] {
        assert_eq!(send(&server, Some(content_type), body).await.status(), 201, "{content_type}");
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_rejected() {
    let server = TestServer::new();
    let body = |length: usize| format!(r#"{{"prompt":"{}"}}"#, "x".repeat(length - r#"{"prompt":""}"#.len()));
    let json = Some("application/json");
    send(&server, json, body(65_537)).await.assert_problem(413, "too-large");
    send(&server, json, body(65_536)).await.assert_problem(400, "invalid-request");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_arrive_times_out() {
    let server = TestServer::new();
    let body = || {
        let first = futures::stream::iter([Ok::<_, std::io::Error>("{")]);
        Body::from_stream(first.chain(futures::stream::pending()))
    };
    let began = Instant::now();
    send(&server, Some("application/json"), body()).await.assert_problem(408, "too-slow");
    assert_eq!(began.elapsed().as_secs(), 30);
    // A request that is rejected anyway is not waited for.
    send(&server, None, body()).await.assert_problem(415, "not-json");
    let request = Request::post("/v1/images").header("x-api-key", "x").body(body()).expect("a request");
    server.request(request).await.assert_problem(401, "unauthenticated");
    assert_eq!(began.elapsed().as_secs(), 30);
}

#[tokio::test]
async fn malformed_json_is_reported_with_its_position() {
    let server = TestServer::new();
    for (body, place) in [
        ("", "line 1 column 0"),
        ("{", "line 1 column 1"),
        ("{\"prompt\":\n x}", "line 2 column 2"),
        ("{\"prompt\":\"x\"} {}", "line 1 column 16"),
        ("[]", "line 1 column 0"),
        ("\"x\"", "line 1 column 3"),
        ("{\"prompt\":\"\u{0}\"}", "line 1 column 12"),
    ] {
        let problem = send(&server, Some("application/json"), body.to_owned())
            .await
            .assert_problem(400, "malformed-json");
        assert!(problem["detail"].as_str().expect("text").contains(place), "{body}: {problem}");
    }
    let broken = futures::stream::iter([Ok("{\"prompt\":"), Err(std::io::Error::other("a secret cause"))]);
    let response = send(&server, Some("application/json"), Body::from_stream(broken)).await;
    let problem = response.assert_problem(400, "malformed-json");
    assert_eq!(problem["detail"], "The connection broke before the end of the request body.");
    assert_eq!(server.engine.started(), 0);
}

/// The violations of a body: `[(parameter, detail)]`.
async fn violations(server: &TestServer, body: impl Into<Body>) -> Value {
    let problem = send(server, Some("application/json"), body).await.assert_problem(400, "invalid-request");
    let errors = problem["errors"].as_array().expect("a list").iter();
    errors.map(|error| json!([error["parameter"], error["detail"]])).collect()
}

#[tokio::test]
async fn one_violation() {
    let server = TestServer::new();
    let unknown = format!("is not a parameter of this request; valid parameters: {KNOWN}");
    let (text, whole, number) = ("must be a string", "must be a whole number", "must be a number");
    for (member, value, detail) in [
        ("prompt", json!(7), text),
        ("prompt", json!(""), "must not be empty"),
        ("prompt", json!("x".repeat(2_001)), "must be at most 2000 characters long; it has 2001"),
        ("negative_prompt", json!(["y"]), text),
        ("width", json!("64px"), whole),
        ("width", json!(64.5), whole),
        ("width", json!(65), "must be a multiple of 8"),
        ("height", json!(1e30), "must be between 64 and 16384"),
        ("steps", json!(true), whole),
        ("steps", json!(0), "must be between 1 and 150"),
        ("guidance", json!("7x"), number),
        ("guidance", json!(30.5), "must be between 0 and 30"),
        ("seed", json!(-2), "must be between 0 and 9007199254740991"),
        ("seed", json!(u64::MAX), "must be between 0 and 9007199254740991"),
        ("n", json!(0), "must be between 1 and 10"),
        ("n", json!(11), "must be between 1 and 10"),
        ("n", json!({}), whole),
        ("format", json!("gif"), "must be one of jpeg, png, webp"),
        ("format", json!(1), "must be one of jpeg, png, webp"),
        ("prompt", json!("\u{200b}\u{feff}"), "must not be empty"),
        ("num_inference_steps", json!(0), "must be between 1 and 150"),
        ("guidance_scale", json!(31), "must be between 0 and 30"),
        ("num_images", json!("11"), "must be between 1 and 10"),
        ("expires_in", json!(604_801), "must be between 1 and 604800"),
        ("coalesce", json!("true"), "must be true or false"),
        ("coalesce", json!(1), "must be true or false"),
        ("deadline", json!(0), "must be between 1 and 86400"),
        ("deadline", json!(86_401), "must be between 1 and 86400"),
        ("deadline", json!("1h"), whole),
        ("Prompt", json!("x"), &unknown),
        ("size", json!("1024x1024"), &unknown),
    ] {
        let mut body = json!({"prompt": "x"});
        body[member] = value;
        let violations = violations(&server, body.to_string()).await;
        assert_eq!(violations, json!([[member, detail]]), "{body}");
    }
    assert_eq!(violations(&server, "{}").await, json!([["prompt", "is required"]]));
    assert_eq!(
        violations(&server, r#"{"prompt":"x","steps":3,"steps":4}"#).await,
        json!([["steps", "must be given only once"]])
    );
    assert_eq!(
        violations(&server, r#"{"prompt":"x","cfg":3,"guidance":4,"format":"png","output_format":"png"}"#)
            .await,
        json!([
            ["guidance", "must be absent if `cfg` is given"],
            ["output_format", "must be absent if `format` is given"],
        ])
    );
    assert_eq!(server.engine.started(), 0);
}

#[tokio::test]
async fn notations_of_other_servers_are_accepted() {
    let server = TestServer::new();
    let body = json!({
        "prompt": "x", "negative_prompt": "", "width": "72", "height": "", "num_inference_steps": "4",
        "guidance_scale": "2.5", "seed": "", "num_images": "2", "format": "", "expires_in": "60", "coalesce": "",
        "deadline": "",
    });
    let response = server.post(&body, &[]).await;
    assert_eq!(response.status(), 201, "{}", response.text);
    let job = response.json();
    let request = ["width", "height", "steps", "guidance", "n"].map(|name| job[name].clone());
    assert_eq!(request, [json!(72), json!(64), json!(4), json!(2.5), json!(2)]);
    for body in [
        json!({"prompt": "x", "cfg": 3}),
        json!({"prompt": "x", "cfg_scale": 3.0}),
        json!({"prompt": "x", "guidance": "3.0"}),
    ] {
        assert_eq!(server.post(&body, &[]).await.json()["guidance"], 3.0, "{body}");
    }
    let seed = async || server.post(&json!({"prompt": "x", "seed": -1}), &[]).await.json()["seed"].clone();
    assert_ne!(seed().await, seed().await, "a random seed each time");
}

#[tokio::test]
async fn all_violations_are_reported() {
    let violations =
        violations(&TestServer::new(), r#"{"width":"a","steps":0,"cat":"tom","deadline":-1}"#).await;
    let expected = json!([
        ["width", "must be a whole number"],
        ["cat", format!("is not a parameter of this request; valid parameters: {KNOWN}")],
        ["deadline", "must be between 1 and 86400"],
        ["prompt", "is required"],
        ["steps", "must be between 1 and 150"],
    ]);
    assert_eq!(violations, expected);
}

#[tokio::test]
async fn null_means_absent() {
    let body = json!({"prompt": "x", "seed": null, "n": null, "format": null, "width": 64.0});
    let response = TestServer::new().post(&body, &[]).await;
    assert_eq!((response.status().as_u16(), &response.json()["format"]), (201, &json!(Format::default())));
}

/// Sends a JSON body with another header.
async fn send_with(server: &TestServer, header: (&str, &str), body: impl Into<Body>) -> TestResponse {
    let request = Request::post("/v1/images").header("content-type", "application/json");
    server.request(request.header(header.0, header.1).body(body.into()).expect("a request")).await
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).expect("memory");
    encoder.finish().expect("memory")
}

#[tokio::test]
async fn gzip_is_the_only_content_encoding() {
    let server = TestServer::new();
    let body = r#"{"prompt":"x"}"#;
    for encoding in ["gzip", "GZIP", "x-gzip"] {
        let response = send_with(&server, ("content-encoding", encoding), gzip(body)).await;
        assert_eq!(response.status(), 201, "{encoding}: {}", response.text);
    }
    assert_eq!(send_with(&server, ("content-encoding", "identity"), body).await.status(), 201);
    for encoding in ["br", "zstd", "deflate", "gzip, br", "x"] {
        let response = send_with(&server, ("content-encoding", encoding), body).await;
        let problem = response.assert_problem(415, "unsupported-content-encoding");
        assert_eq!(response.header("accept-encoding"), Some("gzip"));
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(&format!("`{encoding}`"))));
    }
    let large = format!(r#"{{"prompt":"{}"}}"#, "x".repeat(10_000_000));
    send_with(&server, ("content-encoding", "gzip"), gzip(&large)).await.assert_problem(413, "too-large");
    for broken in [body.as_bytes(), &gzip(body)[..20], b""] {
        let response = send_with(&server, ("content-encoding", "gzip"), broken.to_vec()).await;
        let problem = response.assert_problem(400, "malformed-json");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("gzip")), "{problem}");
    }
}

#[tokio::test]
async fn text_is_utf_8_with_or_without_a_byte_order_mark() {
    let server = TestServer::new();
    let body = r#"{"prompt":"虎"}"#;
    let json = Some("application/json");
    assert_eq!(send(&server, json, format!("\u{feff}{body}")).await.status(), 201);
    let utf_16 = |to_bytes: fn(u16) -> [u8; 2], mark: &str| {
        format!("{mark}{body}").encode_utf16().flat_map(to_bytes).collect::<Vec<_>>()
    };
    for bytes in [
        utf_16(u16::to_le_bytes, "\u{feff}"),
        utf_16(u16::to_be_bytes, "\u{feff}"),
        utf_16(u16::to_le_bytes, ""),
        utf_16(u16::to_be_bytes, ""),
    ] {
        let problem = send(&server, json, bytes).await.assert_problem(400, "malformed-json");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("UTF-16")), "{problem}");
    }
    let gbk = b"{\"prompt\":\"\xbb\xa2\"}";
    for (content_type, expected) in [
        ("application/json", "perhaps as GBK or Latin-1: the byte at position 11"),
        ("application/json; charset=utf-8", "perhaps as GBK"),
        ("application/json; charset=\"gb18030\"", "encoded as `gb18030`: the byte at position 11"),
    ] {
        let problem =
            send(&server, Some(content_type), gbk.to_vec()).await.assert_problem(400, "malformed-json");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(expected)), "{problem}");
    }
    assert_eq!(server.engine.started(), 1);
}

#[tokio::test]
async fn lone_surrogates_are_replaced_with_a_warning() {
    let server = TestServer::new();
    let json = Some("application/json");
    let response = send(&server, json, r#"{"prompt":"a cat \ud83d","negative_prompt":"\ude00"}"#).await;
    assert_eq!(response.status(), 201, "{}", response.text);
    let job = response.json();
    assert_eq!((&job["prompt"], &job["negative_prompt"]), (&json!("a cat \u{fffd}"), &json!("\u{fffd}")));
    for (warning, name) in
        job["warnings"].as_array().expect("a list").iter().zip(["negative_prompt", "prompt"])
    {
        assert_eq!(warning["code"], "lone_surrogate");
        assert!(
            warning["message"].as_str().is_some_and(|text| text.starts_with(&format!("`{name}` "))),
            "{job}"
        );
    }
    assert_eq!(job["warnings"].as_array().map(Vec::len), Some(2));
    let whole = send(&server, json, r#"{"prompt":"a cat \ud83d\ude00"}"#).await.json();
    assert_eq!((&whole["prompt"], &whole["warnings"]), (&json!("a cat 😀"), &json!([])));

    let path = "/v1/images/generations";
    let request = Request::post(path).header("content-type", "application/json");
    let body = Body::from(r#"{"prompt":"a cat \ud83d","size":"4096x4096"}"#);
    let response = server.request(request.body(body).expect("a request")).await.json();
    let codes: Vec<_> =
        response["warnings"].as_array().expect("a list").iter().map(|one| &one["code"]).collect();
    assert_eq!(codes, ["lone_surrogate", "size_fitted"]);
    let (name, admin) = server.admin_key().await;
    let key = Request::post("/v1/keys").header("content-type", "application/json").header(name, admin);
    let key = server.request(key.body(Body::from(r#"{"name":"a \ud83d"}"#)).expect("a request")).await;
    assert_eq!(key.assert_problem(400, "invalid-request")["errors"][0]["parameter"], "name");
}
