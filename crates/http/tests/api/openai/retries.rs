//! Automatic retries of OpenAI's SDKs join the job of the first attempt.

use std::time::Duration;

use serde_json::{Value, json};
use tintype_http::HttpSettings;
use tintype_service::ServiceSettings;
use tintype_testing::NullEngine;
use tokio::time::timeout;

use super::{PATH, api_error, assert_error};
use crate::{HostPolicy, SECOND, TestResponse, TestServer, settings_for};

async fn attempt(server: &TestServer, number: u32, body: &Value) -> TestResponse {
    server.send_json(PATH, body, &[("x-stainless-retry-count", &number.to_string())]).await
}

#[tokio::test(start_paused = true)]
async fn after_the_time_budget_a_retry_waits_for_the_same_image() {
    let budget = HttpSettings { time_budget: Some(SECOND * 3), ..settings_for(HostPolicy::Any) };
    let server = TestServer::with(ServiceSettings::default(), NullEngine::new(SECOND)).settings(budget);
    let body = json!({"prompt": "x", "response_format": "b64_json", "steps": 8});
    for number in 0..2 {
        let response = attempt(&server, number, &body).await;
        assert_error(&response, api_error(503, "server_error", Some("on_its_way")).retryable());
        assert_eq!(
            (response.header("retry-after-ms"), response.header("retry-after")),
            (Some("100"), Some("2"))
        );
    }
    let response = attempt(&server, 2, &body).await;
    assert_eq!(response.status(), 200, "{}", response.text);
    assert!(response.json()["data"][0]["b64_json"].is_string());
    assert_eq!((server.engine.started(), server.engine.finished()), (1, 1));
    // A new request starts a new job.
    attempt(&server, 0, &body).await;
    assert_eq!(server.engine.started(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_retry_gets_the_lost_response() {
    let server = TestServer::with(ServiceSettings::default(), NullEngine::new(SECOND));
    for (format, steps) in [("url", 2), ("b64_json", 3)] {
        let body = json!({"prompt": "x", "response_format": format, "steps": steps});
        let started = server.engine.started();
        let ids: Vec<_> = [
            attempt(&server, 0, &body).await.json()["id"].clone(),
            attempt(&server, 1, &body).await.json()["id"].clone(),
            attempt(&server, 2, &body).await.json()["id"].clone(),
        ]
        .into();
        assert!(ids[0].is_string() && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
        assert_eq!(server.engine.started(), started + 1);
        let changed = json!({"prompt": "x", "response_format": format, "steps": steps, "seed": 1});
        assert_ne!(attempt(&server, 1, &changed).await.json()["id"], ids[0]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_disconnected_client_joins_its_running_job() {
    let server = TestServer::with(ServiceSettings::default(), NullEngine::new(SECOND));
    let body = json!({"prompt": "x", "response_format": "b64_json", "steps": 8});
    let cut = timeout(Duration::from_secs(4), attempt(&server, 0, &body)).await;
    assert!(cut.is_err());
    let response = attempt(&server, 1, &body).await;
    assert_eq!(response.status(), 200, "{}", response.text);
    assert_eq!((server.engine.started(), server.engine.finished()), (1, 1));
}
