//! Good answers, read as raw text where their order counts.

use std::time::Duration;

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tintype_core::store::ObjectStore;
use tintype_service::ServiceSettings;
use tintype_testing::NullEngine;

use crate::Bench;

#[tokio::test]
async fn a_prompt_becomes_a_link() {
    let bench = Bench::new();
    let answer = bench.get("/generate?prompt=cyborg_tiger&seed=7").await;
    assert_eq!((answer.status().as_u16(), answer.header("content-type")), (200, Some("application/json")));
    let body = answer.json();
    let [url, id, expires_at] = ["url", "id", "expires_at"].map(|key| body[key].as_str().expect("text"));
    let expected = format!(
        r#"{{"url":"{url}","prompt":"cyborg_tiger","id":"{id}","seed":7,"width":64,"height":64,"expires_at":"{expires_at}","cost":{{"engine_seconds":0.0}},"warnings":[]}}"#
    );
    assert_eq!(answer.text, expected);

    assert!(expires_at.ends_with('Z') && expires_at.len() == "2026-11-23T08:00:00Z".len(), "{expires_at}");
    let life = OffsetDateTime::parse(expires_at, &Rfc3339).expect("RFC 3339") - OffsetDateTime::now_utc();
    assert!((297..=300).contains(&life.whole_seconds()), "{life}");
    let stored = bench.store.list("images/", None, 10).await.expect("list");
    assert_eq!(stored.objects.len(), 1);
    assert!(url.contains(stored.objects[0].key.as_str()), "{url}");
}

#[tokio::test]
async fn prompts_come_back_as_they_were_meant() {
    let bench = Bench::new();
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
            let answer = bench.get(&format!("{path}?{query}")).await;
            assert_eq!(
                (answer.status().as_u16(), &answer.json()["prompt"]),
                (200, &json!(prompt)),
                "{path} {query}"
            );
        }
    }
}

#[tokio::test]
async fn every_parameter_counts() {
    let bench = Bench::with(ServiceSettings::default(), NullEngine::new(Duration::ZERO));
    let query = "prompt=x&negative_prompt=y&width=72&height=88&steps=3&guidance=2.5&seed=9007199254740991&format=webp&expires_in=60&coalesce=true";
    let body = bench.get(&format!("/generate?{query}")).await.json();
    assert_eq!(body["seed"], 9_007_199_254_740_991_u64);
    assert_eq!((&body["width"], &body["height"]), (&json!(72), &json!(88)));
    let url = body["url"].as_str().expect("text");
    assert!(url.ends_with(".webp?expires_in=60"), "{url}");
    let stored = bench.store.list("images/", None, 1).await.expect("list").objects.remove(0);
    let object = bench.store.get(&stored.key, None).await.expect("stored");
    assert_eq!(object.meta.content_type, "image/webp");
    // EXIF has the text in UTF-16.
    let text = String::from_utf8_lossy(&object.bytes).replace('\0', "");
    for part in ["Negative prompt: y", "Steps: 3", "CFG scale: 2.5"] {
        assert!(text.contains(part), "{part} in the file's metadata");
    }
}

#[tokio::test]
async fn without_a_seed_one_is_drawn_and_told() {
    let body = Bench::new().get("/generate?prompt=x").await.json();
    assert!(body["seed"].as_u64().is_some_and(|seed| seed < 1 << 32), "{body}");
}

#[tokio::test]
async fn the_root_says_how_to_ask() {
    let bench = Bench::new();
    for path in ["/", "/?", "/?utm_source=chat"] {
        let answer = bench.get(path).await;
        assert_eq!(answer.status(), 200);
        assert!(answer.text.contains("GET /generate?prompt=cyborg_tiger"), "{}", answer.text);
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    }
    assert_eq!(bench.engine.started(), 0);
}

#[tokio::test]
async fn health() {
    let bench = Bench::loading(ServiceSettings::default(), NullEngine::new(Duration::ZERO));
    let ready = async || {
        let answer = bench.get("/readyz").await;
        (answer.status().as_u16(), answer.json(), answer.header("retry-after").map(str::to_owned))
    };
    let state = |state: &str| -> Value { json!({ "state": state }) };
    assert_eq!(ready().await, (503, state("loading"), Some("5".into())));
    bench.service.engine_ready(bench.engine.clone());
    assert_eq!(ready().await, (200, state("ready"), None));
    bench.service.drain(Duration::ZERO).await;
    assert_eq!(ready().await, (503, state("draining"), Some("5".into())));
    let alive = bench.get("/healthz").await;
    assert_eq!((alive.status().as_u16(), alive.text.as_str()), (200, r#"{"status":"ok"}"#));
    assert_eq!(bench.send("HEAD", "/healthz", &[]).await.status(), 200);

    let broken = Bench::loading(ServiceSettings::default(), NullEngine::new(Duration::ZERO));
    broken.service.engine_failed("no such folder: /secret".into());
    let answer = broken.get("/readyz").await;
    assert_eq!((answer.status().as_u16(), answer.text.as_str()), (503, r#"{"state":"failed"}"#));
}
