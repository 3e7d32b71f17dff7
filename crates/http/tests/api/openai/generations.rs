//! Parameters and responses of `POST /v1/images/generations`.

use serde_json::{Value, json};
use tintype_core::picture::Format;

use super::{PATH, api_error, assert_error, generate, generate_ok, picture};
use crate::{ORIGIN, TestServer};

#[tokio::test]
async fn links_are_on_our_own_origin() {
    let server = TestServer::new();
    let body = generate_ok(&server, json!({"prompt": "x", "n": 2, "seed": 7})).await;
    let job = server.get(&format!("/v1/images/{}", body["id"].as_str().expect("an id"))).await.json();
    assert!(body["created"].as_i64().is_some_and(|at| at > 1_700_000_000), "{body}");
    let about = ["background", "output_format", "size", "quality", "cache"].map(|name| &body[name]);
    assert_eq!(about, [&json!("opaque"), &json!("png"), &json!("64x64"), &Value::Null, &Value::Null]);
    assert_eq!(body["usage"]["total_tokens"], 0);
    assert_eq!((&body["warnings"], &body["cost"]["engine_seconds"]), (&json!([]), &json!(0.0)));
    assert_eq!(body["data"].as_array().map(Vec::len), Some(2));
    for (index, item) in body["data"].as_array().expect("a list").iter().enumerate() {
        assert_eq!(item["seed"], json!(7 + index));
        let elsewhere = job["images"][index]["url"].as_str().expect("a link");
        let key = elsewhere.strip_prefix("memory:images/").and_then(|rest| rest.split('?').next());
        let expected = format!("{ORIGIN}/v1/images/files/{}?expires_in=3600", key.expect("a key"));
        assert_eq!(item["url"], *expected);
    }
    let brief = generate_ok(&server, json!({"prompt": "x", "expires_in": 60})).await;
    assert!(brief["data"][0]["url"].as_str().expect("a link").ends_with("?expires_in=60"));
}

#[tokio::test]
async fn a_link_redirects_to_the_image_with_its_signature() {
    let server = TestServer::keyed();
    let name = "2025/11/23/019aaf60-ac00-7000-8000-000000000000.png";
    let path = &*format!("/v1/images/files/{name}");
    let query = "X-Amz-Expires=3600&X-Amz-Signature=a%2Fb";
    // The API key is not checked.
    for headers in [&[][..], &[("authorization", "Bearer anything")]] {
        let response = server.send("GET", &format!("{path}?{query}"), headers).await;
        assert_eq!(response.status(), 302, "{}", response.text);
        assert_eq!(response.header("location"), Some(&*format!("memory:images/{name}?{query}")));
    }
    server.get(path).await.assert_problem(404, "not-found");
    server.get(&format!("{path}?expires_in=1")).await.assert_problem(404, "not-found");
    for key in [
        "..%2fsecret.png",
        "..%2F..%2Ftintype%2Fx",
        "%2e%2e/x.png",
        "2025%2F11/23/..%2f019aaf60-ac00-7000-8000-000000000000.png",
        "2025/11/24/019aaf60-ac00-7000-8000-000000000000.png",
        "2025/11/23/x.png",
        "https:%2f%2fevil.example/x.png",
        "%5c%5cevil.example",
        &"x".repeat(2000),
    ] {
        server.get(&format!("/v1/images/files/{key}?{query}")).await.assert_problem(404, "not-found");
    }
}

#[tokio::test]
async fn files_can_be_in_the_body() {
    let server = TestServer::new();
    let base64 = |body: Value| {
        let Value::Object(mut body) = body else { panic!("an object") };
        body.insert("response_format".into(), "b64_json".into());
        body.insert("prompt".into(), "x".into());
        Value::Object(body)
    };
    let body = generate_ok(&server, base64(json!({"n": 3, "seed": 7, "quality": "high"}))).await;
    assert_eq!((&body["quality"], body["data"].as_array().map(Vec::len)), (&json!("high"), Some(3)));
    for (seed, item) in (7..).zip(body["data"].as_array().expect("a list")) {
        assert_eq!((&item["seed"], item["url"].is_null()), (&json!(seed), true));
        assert_eq!(picture(item, Format::Png).rgb()[..3], [seed, 0, 0]);
    }
    for (format, name) in [(Format::Jpeg, "jpeg"), (Format::Webp, "webp"), (Format::Png, "png")] {
        let body =
            generate_ok(&server, base64(json!({"output_format": name, "output_compression": 40}))).await;
        assert_eq!(body["output_format"], name);
        assert_eq!(picture(&body["data"][0], format).width(), 64);
        let ours = generate_ok(&server, base64(json!({"format": name}))).await;
        assert_eq!(picture(&ours["data"][0], format).width(), 64);
    }
    // A repeated request is served from the store.
    let again = generate_ok(&server, base64(json!({"n": 3, "seed": 7}))).await;
    assert_eq!((&again["cache"], &again["data"]), (&json!("hit"), &body["data"]));
    for (model, links) in [("gpt-image-2.6-flare", false), ("dall-e-3", true)] {
        let body = generate_ok(&server, json!({"prompt": "x", "model": model})).await;
        assert_eq!(body["data"][0]["url"].is_string(), links, "{model}");
        let requested =
            generate_ok(&server, json!({"prompt": "x", "model": model, "response_format": "url"})).await;
        assert!(requested["data"][0]["url"].is_string(), "{model}");
    }
}

#[tokio::test]
async fn every_parameter_is_accepted() {
    let server = TestServer::new();
    let body = generate_ok(
        &server,
        json!({
            "prompt": "x", "model": "dall-e-3", "n": 1, "size": "64x72", "quality": "hd", "style": "vivid",
            "response_format": "url", "output_format": "jpeg", "output_compression": 100, "background": "auto",
            "moderation": "low", "user": "u1", "safety_identifier": "u2", "stream": false, "partial_images": 0,
            "negative_prompt": "y", "steps": 3, "guidance": 2.5, "seed": 5, "coalesce": true, "deadline": 60,
            "expires_in": 60,
        }),
    )
    .await;
    let job = server.get(&format!("/v1/images/{}", body["id"].as_str().expect("an id"))).await.json();
    let request =
        ["width", "height", "steps", "guidance", "seed", "negative_prompt"].map(|name| job[name].clone());
    assert_eq!(request, [json!(64), json!(72), json!(3), json!(2.5), json!(5), json!("y")]);
    let nothing = json!({
        "prompt": "x", "model": null, "size": null, "quality": null, "style": null, "response_format": null,
        "background": null, "stream": null, "partial_images": null, "seed": null,
    });
    assert_eq!(generate_ok(&server, nothing).await["size"], "64x64");
}

#[tokio::test]
async fn an_unsupported_size_is_replaced_unless_the_model_was_named() {
    let server = TestServer::new();
    for (body, size) in [
        (json!({"size": "1024x1024"}), "64x64"),
        (json!({"size": "1536x1024", "model": "gpt-image-1"}), "72x64"),
        (json!({"size": "96x64", "model": "null"}), "96x64"),
        (json!({"size": "auto", "model": "null"}), "64x64"),
        (json!({"width": 72, "height": 64}), "72x64"),
    ] {
        let mut requested = body.clone();
        requested["prompt"] = json!("x");
        let response = generate_ok(&server, requested).await;
        assert_eq!(response["size"], size, "{body}");
        let fitted = body["size"].is_string() && !matches!(body["size"].as_str(), Some("auto" | "96x64"));
        assert_eq!(response["warnings"][0]["code"] == "size_fitted", fitted, "{response}");
    }
    for size in ["1024x1024", "70x64", "8x64"] {
        let response = generate(&server, json!({"prompt": "x", "size": size, "model": "null"})).await;
        let expected = api_error(400, "invalid_request_error", Some("invalid_value"));
        assert_eq!(assert_error(&response, expected)["param"], "size");
    }
}

#[tokio::test]
async fn idempotency_keys_are_supported() {
    let server = TestServer::new();
    let key = [("idempotency-key", "k")];
    let body = json!({"prompt": "x", "response_format": "b64_json"});
    let first = server.send_json(PATH, &body, &key).await;
    let again = server.send_json(PATH, &body, &key).await;
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(first.json()["data"], again.json()["data"]);
    let other = server.send_json(PATH, &json!({"prompt": "y"}), &key).await;
    assert_error(&other, api_error(422, "invalid_request_error", Some("idempotency_conflict")));
}
