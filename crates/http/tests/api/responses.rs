//! Successful responses, compared as text where the order of members counts.

use std::time::Duration;

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tintype_core::store::ObjectStore;
use tintype_service::ServiceSettings;
use tintype_testing::NullEngine;

use crate::TestServer;

#[tokio::test]
async fn a_prompt_becomes_a_link() {
    let server = TestServer::new();
    let response = server.get("/generate?prompt=cyborg_tiger&seed=7").await;
    assert_eq!(
        (response.status().as_u16(), response.header("content-type")),
        (200, Some("application/json"))
    );
    let body = response.json();
    let [url, id, expires_at] = ["url", "id", "expires_at"].map(|key| body[key].as_str().expect("text"));
    let expected = format!(
        r#"{{"url":"{url}","prompt":"cyborg_tiger","id":"{id}","seed":7,"width":64,"height":64,"expires_at":"{expires_at}","cost":{{"engine_seconds":0.0}},"warnings":[]}}"#
    );
    assert_eq!(response.text, expected);

    assert!(expires_at.ends_with('Z') && expires_at.len() == "2026-11-23T08:00:00Z".len(), "{expires_at}");
    let life = OffsetDateTime::parse(expires_at, &Rfc3339).expect("RFC 3339") - OffsetDateTime::now_utc();
    assert!((297..=300).contains(&life.whole_seconds()), "{life}");
    let stored = server.store.list("images/", None, 10).await.expect("list");
    assert_eq!(stored.objects.len(), 1);
    assert!(url.contains(stored.objects[0].key.as_str()), "{url}");
}

#[tokio::test]
async fn prompts_are_decoded() {
    let server = TestServer::new();
    for (query, prompt) in [
        ("prompt=cyborg_tiger", "cyborg_tiger"),
        ("prompt=cyborg+tiger", "cyborg tiger"),
        ("prompt=cyborg%20tiger", "cyborg tiger"),
        ("prompt=1%2B1", "1+1"),
        ("prompt=%E6%9C%BA%E5%99%A8%E8%99%8E", "机器虎"),
        ("prompt=%22quoted%22+%5C", "\"quoted\" \\"),
        ("%70rompt=x", "x"),
    ] {
        for path in ["/generate", "/"] {
            let response = server.get(&format!("{path}?{query}")).await;
            assert_eq!(
                (response.status().as_u16(), &response.json()["prompt"]),
                (200, &json!(prompt)),
                "{path} {query}"
            );
        }
    }
}

#[tokio::test]
async fn every_parameter_has_an_effect() {
    let server = TestServer::with(ServiceSettings::default(), NullEngine::new(Duration::ZERO));
    let query = "prompt=x&negative_prompt=y&width=72&height=88&steps=3&guidance=2.5&seed=9007199254740991&format=webp&expires_in=60&coalesce=true";
    let body = server.get(&format!("/generate?{query}")).await.json();
    assert_eq!(body["seed"], 9_007_199_254_740_991_u64);
    assert_eq!((&body["width"], &body["height"]), (&json!(72), &json!(88)));
    let url = body["url"].as_str().expect("text");
    assert!(url.ends_with(".webp?expires_in=60"), "{url}");
    let stored = server.store.list("images/", None, 1).await.expect("list").objects.remove(0);
    let object = server.store.get(&stored.key, None).await.expect("stored");
    assert_eq!(object.meta.content_type, "image/webp");
    // EXIF contains UTF-16 text.
    let text = String::from_utf8_lossy(&object.bytes).replace('\0', "");
    for part in ["Negative prompt: y", "Steps: 3", "CFG scale: 2.5"] {
        assert!(text.contains(part), "{part} in the file's metadata");
    }
}

#[tokio::test]
async fn without_a_seed_a_random_one_is_reported() {
    let body = TestServer::new().get("/generate?prompt=x").await.json();
    assert!(body["seed"].as_u64().is_some_and(|seed| seed < 1 << 32), "{body}");
}

#[tokio::test]
async fn the_root_has_an_introduction() {
    let server = TestServer::new();
    for path in ["/", "/?", "/?utm_source=chat"] {
        let response = server.get(path).await;
        assert_eq!(response.status(), 200);
        assert!(response.text.contains("GET /generate?prompt=cyborg_tiger"), "{}", response.text);
        assert_eq!(response.header("content-type"), Some("text/plain; charset=utf-8"));
    }
    assert_eq!(server.engine.started(), 0);
}

#[tokio::test]
async fn health() {
    let server = TestServer::loading(ServiceSettings::default(), NullEngine::new(Duration::ZERO));
    let ready = async || {
        let response = server.get("/readyz").await;
        (response.status().as_u16(), response.json(), response.header("retry-after").map(str::to_owned))
    };
    let state = |state: &str| -> Value { json!({ "state": state }) };
    assert_eq!(ready().await, (503, state("loading"), Some("5".into())));
    server.service.engine_ready(server.engine.clone());
    assert_eq!(ready().await, (200, state("ready"), None));
    server.service.drain(Duration::ZERO).await;
    assert_eq!(ready().await, (503, state("draining"), Some("5".into())));
    let alive = server.get("/healthz").await;
    assert_eq!((alive.status().as_u16(), alive.text.as_str()), (200, r#"{"status":"ok"}"#));
    assert_eq!(server.send("HEAD", "/healthz", &[]).await.status(), 200);

    let broken = TestServer::loading(ServiceSettings::default(), NullEngine::new(Duration::ZERO));
    broken.service.engine_failed("no such folder: /secret".into());
    let response = broken.get("/readyz").await;
    assert_eq!((response.status().as_u16(), response.text.as_str()), (503, r#"{"state":"failed"}"#));
}
