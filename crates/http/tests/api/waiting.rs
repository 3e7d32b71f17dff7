//! The `Prefer` header and the operator's time budget.

use std::time::Duration;

use serde_json::{Value, json};
use tintype_http::{HostPolicy, HttpSettings};
use tintype_service::ServiceSettings;
use tintype_testing::NullEngine;
use tokio::time::{Instant, sleep};

use crate::{SECOND, TestServer};

fn slow() -> TestServer {
    TestServer::with(ServiceSettings::default(), NullEngine::new(SECOND))
}

/// The response to a job of 4 s.
struct TimedResponse {
    /// Seconds until the response.
    waited: f64,
    status: u16,
    /// `Preference-Applied`.
    applied: Option<String>,
    body: Value,
}

/// Submits a job of 4 s with these `Prefer` headers.
async fn post_and_time(server: &TestServer, prefer: &[&str], prompt: &str) -> TimedResponse {
    let began = Instant::now();
    let headers: Vec<_> = prefer.iter().map(|value| ("prefer", *value)).collect();
    let response = server.post(&json!({"prompt": prompt}), &headers).await;
    let waited = began.elapsed().as_secs_f64();
    if response.status() == 202 {
        assert_eq!(response.header("retry-after"), Some("2"));
    }
    let location = format!("/v1/images/{}", response.json()["id"].as_str().expect("an id"));
    assert_eq!(response.header("location"), Some(&*location));
    let applied = response.header("preference-applied").map(str::to_owned);
    TimedResponse {
        waited: waited.round(),
        status: response.status().as_u16(),
        applied,
        body: response.json(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_says_how_long_it_waits() {
    for (prefer, waited, status, applied) in [
        (&[][..], 4.0, 201, None),
        (&["respond-async"], 0.0, 202, Some("respond-async")),
        (&["wait=2"], 2.0, 202, Some("wait=2")),
        (&["wait=0"], 0.0, 202, Some("wait=0")),
        (&["wait=20"], 4.0, 201, Some("wait=20")),
        (&["wait=20, respond-async"], 4.0, 201, Some("wait=20")),
        (&["respond-async", "wait=2; x=y"], 2.0, 202, Some("respond-async, wait=2")),
        (&["handling=lenient"], 4.0, 201, None),
        (&["wait=soon"], 4.0, 201, None),
        (&["wait=9999"], 4.0, 201, Some("wait=600")),
    ] {
        let server = slow();
        let response = post_and_time(&server, prefer, "x").await;
        let expected = (waited, status, applied.map(str::to_owned));
        assert_eq!((response.waited, response.status, response.applied), expected, "{prefer:?}");
        // The job continues after the response.
        sleep(SECOND * 30).await;
        let path = format!("/v1/images/{}", response.body["id"].as_str().expect("an id"));
        assert_eq!(server.get(&path).await.json()["status"], "succeeded", "{prefer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn after_the_time_budget_the_job_continues() {
    let with_budget = |seconds| HttpSettings {
        time_budget: Some(Duration::from_secs(seconds)),
        ..crate::settings_for(HostPolicy::Any)
    };
    let server = slow().settings(with_budget(2));
    let began = Instant::now();
    let response = server.get("/generate?prompt=x").await;
    assert_eq!((response.status().as_u16(), began.elapsed().as_secs()), (202, 2), "{}", response.text);
    let body = response.json();
    let path = format!("/v1/images/{}", body["id"].as_str().expect("an id"));
    assert_eq!((response.header("location"), response.header("retry-after")), (Some(&*path), Some("2")));
    assert_eq!((&body["status"], &body["prompt"]), (&json!("running"), &json!("x")));
    // The job continues without a waiting client.
    sleep(SECOND * 30).await;
    assert_eq!(server.get(&path).await.json()["status"], "succeeded");
    // A client can wait for less than the budget, but not for more.
    assert_eq!(post_and_time(&server, &["wait=1"], "y").await.waited, 1.0);
    sleep(SECOND * 30).await;
    assert_eq!(post_and_time(&server, &["wait=20"], "z").await.waited, 2.0);

    let server = slow().settings(with_budget(20));
    assert_eq!(server.get("/generate?prompt=x").await.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn jobs_without_a_client_are_rejected_when_the_backlog_is_full() {
    let settings = ServiceSettings { backlog: 1, ..ServiceSettings::default() };
    let server = TestServer::with(settings, NullEngine::new(SECOND));
    let prefer = [("prefer", "respond-async")];
    let mut responses = Vec::new();
    for prompt in ["x", "y", "z"] {
        responses.push(server.post(&json!({"prompt": prompt}), &prefer).await);
        sleep(SECOND / 10).await;
    }
    assert_eq!((responses[0].status().as_u16(), responses[1].status().as_u16()), (202, 202));
    responses[2].assert_problem(429, "queue-full");
    assert_eq!(responses[2].header("retry-after"), Some("5"), "no job was measured yet");
}
