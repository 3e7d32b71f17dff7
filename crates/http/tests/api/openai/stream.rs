//! `stream: true`: images as server-sent events.

use std::time::Duration;

use serde_json::{Value, json};
use tintype_core::picture::Format;
use tintype_http::HttpSettings;
use tintype_service::ServiceSettings;
use tintype_testing::{Fault, NullEngine};
use tokio::time::{sleep, timeout};

use super::{api_error, assert_error, generate, picture};
use crate::{HostPolicy, SECOND, TestServer, settings_for};

fn slow() -> TestServer {
    TestServer::with(ServiceSettings::default(), NullEngine::new(SECOND))
}

/// The names and data of all events. The data of the last event is not JSON.
async fn collect_events(server: &TestServer, body: Value) -> Vec<(String, String)> {
    let response = generate(server, body).await;
    assert_eq!(
        (response.status().as_u16(), response.header("content-type")),
        (200, Some("text/event-stream")),
        "{}",
        response.text
    );
    assert_eq!(response.header("cache-control"), Some("no-store"));
    let field = |block: &str, name: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or_default().to_owned()
    };
    let blocks = response.text.split("\n\n").filter(|block| !block.is_empty() && !block.starts_with(':'));
    blocks.map(|block| (field(block, "event"), field(block, "data"))).collect()
}

/// The JSON data of an event of this type.
fn data(event: &(String, String), r#type: &str) -> Value {
    let (name, data) = event;
    assert_eq!(name, r#type);
    let data: Value = serde_json::from_str(data).expect("JSON");
    assert_eq!(data["type"], r#type);
    data
}

#[tokio::test(start_paused = true)]
async fn partial_images_come_first() {
    let server = slow();
    for (format, name) in [(Format::Png, "png"), (Format::Jpeg, "jpeg"), (Format::Webp, "webp")] {
        let body = json!({
            "prompt": "x", "stream": true, "partial_images": 3, "steps": 8, "seed": 5, "output_format": name,
            "quality": "low",
        });
        let events = collect_events(&server, body).await;
        assert_eq!(events.len(), 5, "{events:?}");
        for (index, event) in events[..3].iter().enumerate() {
            let data = data(event, "image_generation.partial_image");
            assert_eq!(data["partial_image_index"], index);
            let about = ["size", "quality", "background", "output_format"].map(|name| data[name].as_str());
            assert_eq!(about, [Some("64x64"), Some("low"), Some("opaque"), Some(name)]);
            assert!(data["created_at"].is_i64());
            // The null engine's previews get brighter with every step.
            let grey = picture(&data, format).rgb()[0];
            let expected = (index + 1) * 64;
            assert!(usize::from(grey).abs_diff(expected) <= 36, "{grey} at {expected}");
        }
        let last = data(&events[3], "image_generation.completed");
        assert_eq!(picture(&last, format).width(), 64);
        let about = ["size", "quality", "background", "output_format"].map(|name| last[name].as_str());
        assert_eq!(about, [Some("64x64"), Some("low"), Some("opaque"), Some(name)]);
        assert_eq!(
            (&last["usage"]["total_tokens"], &last["seed"], last["created_at"].is_i64()),
            (&json!(0), &json!(5), true)
        );
        assert_eq!(events[4], (String::new(), "[DONE]".to_owned()));
    }
}

#[tokio::test(start_paused = true)]
async fn without_partial_images_there_are_only_complete_ones() {
    let server = slow();
    let events = collect_events(&server, json!({"prompt": "x", "stream": true, "n": 2, "seed": 5})).await;
    assert_eq!(events.len(), 3);
    for (seed, event) in (5..).zip(&events[..2]) {
        let data = data(event, "image_generation.completed");
        assert_eq!(data["quality"], "auto");
        assert_eq!((&data["seed"], picture(&data, Format::Png).rgb()[0]), (&json!(seed), seed));
    }
    // Stored images are sent immediately.
    let again = collect_events(
        &server,
        json!({"prompt": "x", "stream": true, "n": 2, "seed": 5, "partial_images": 2}),
    )
    .await;
    assert_eq!(
        (again.len(), data(&again[0], "image_generation.completed")["cache"].clone()),
        (3, json!("hit"))
    );
    assert_eq!(server.engine.started(), 1);
}

#[tokio::test(start_paused = true)]
async fn every_event_has_a_quality() {
    let body = json!({"prompt": "x", "stream": true, "partial_images": 1});
    let events = collect_events(&slow(), body).await;
    let names = ["image_generation.partial_image", "image_generation.completed"];
    assert_eq!(events.len(), names.len() + 1, "{events:?}");
    for (event, name) in events.iter().zip(names) {
        assert_eq!(data(event, name)["quality"], "auto");
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_ends_the_stream() {
    let server = slow();
    assert_error(
        &generate(&server, json!({"prompt": "", "stream": true})).await,
        api_error(400, "invalid_request_error", Some("invalid_value")),
    );
    let failing =
        TestServer::with(ServiceSettings::default(), NullEngine::new(SECOND).with_fault(Fault::Error));
    let late = HttpSettings { time_budget: Some(SECOND * 2), ..settings_for(HostPolicy::Any) };
    for (server, code) in [(failing, "internal"), (slow().settings(late), "on_its_way")] {
        let events = collect_events(&server, json!({"prompt": "x", "stream": true})).await;
        let [(name, data)] = &events[..] else { panic!("{events:?}") };
        let data: Value = serde_json::from_str(data).expect("JSON");
        assert_eq!((name.as_str(), &data["error"]["code"]), ("error", &json!(code)));
        assert!(!data.to_string().contains("secret"), "{data}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_stops_reading_is_disconnected() {
    let server = slow();
    let body = json!({"prompt": "x", "stream": true, "partial_images": 1, "steps": 100});
    let cut = timeout(Duration::from_secs(5), generate(&server, body)).await;
    assert!(cut.is_err());
    sleep(SECOND * 30).await;
    assert_eq!((server.engine.started(), server.engine.finished()), (1, 0));
}
