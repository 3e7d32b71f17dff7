//! Warnings of the engine in responses.

use std::time::Duration;

use serde_json::{Value, json};
use tintype_core::engine::Warning;
use tintype_service::ServiceSettings;
use tintype_testing::NullEngine;

use crate::TestServer;

#[tokio::test]
async fn every_response_with_images_warns_of_a_substituted_scheduler() {
    let warning = Warning::SchedulerSubstituted {
        class: "TCDScheduler".to_owned(),
        substitute: "LCMScheduler".to_owned(),
    };
    let engine = NullEngine::new(Duration::ZERO).with_warning(warning);
    let server = TestServer::with(ServiceSettings::default(), engine);
    let made = server.get("/generate?prompt=x").await.json();
    let path = format!("/v1/images/{}", made["id"].as_str().expect("an id"));
    let created = server.post(&json!({"prompt": "y"}), &[]).await.json();
    let read = server.get(&path).await.json();
    let listed = server.get("/v1/images").await.json()["data"][0].clone();
    let events = server.get(&format!("{path}/events")).await.text;
    let event = events.lines().find_map(|line| line.strip_prefix("data: ")).expect("an event");
    let event: Value = serde_json::from_str(event).expect("JSON");
    let request = json!({"prompt": "z", "response_format": "b64_json"});
    let openai = server.send_json("/v1/images/generations", &request, &[]).await.json();
    // An image that is already stored keeps the warning that it was generated with.
    let stored = server.post(&json!({"prompt": "y"}), &[]).await.json();
    for body in [made, created, read, listed, event, openai, stored] {
        assert_eq!(body["warnings"].as_array().map(Vec::len), Some(1), "{body}");
        assert_eq!(body["warnings"][0]["code"], "scheduler_substituted", "{body}");
        let message = body["warnings"][0]["message"].as_str().expect("a message");
        assert!(message.contains("`TCDScheduler`") && message.contains("`LCMScheduler`"), "{message}");
    }
    let plain = TestServer::new().get("/generate?prompt=x").await.json();
    assert_eq!(plain["warnings"], json!([]));
}
