//! The event stream of a job.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use futures::StreamExt;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tintype_core::picture::{Encoded, Format};
use tintype_http::{HostPolicy, router};
use tintype_service::{Service, ServiceSettings, Topology};
use tintype_testing::{Fault, NullEngine};
use tokio::time::{sleep, timeout};
use tower::ServiceExt;

use crate::{SECOND, TestServer, settings_for};

/// A received event.
#[derive(Debug)]
struct Event {
    id: String,
    name: String,
    data: Value,
}

fn slow() -> TestServer {
    TestServer::with(ServiceSettings::default(), NullEngine::new(SECOND))
}

async fn start(server: &TestServer, body: Value) -> String {
    let response = server.post(&body, &[("prefer", "respond-async")]).await;
    response.header("location").expect("a path").to_owned()
}

/// All events until the stream ends.
async fn follow(server: &TestServer, job: &str) -> Vec<Event> {
    let response = server.get(&format!("{job}/events")).await;
    assert_eq!(
        (response.status().as_u16(), response.header("content-type")),
        (200, Some("text/event-stream"))
    );
    assert_eq!(response.header("cache-control"), Some("no-store"));
    assert_eq!(response.header("x-accel-buffering"), Some("no"));
    read(&response.text)
}

fn read(text: &str) -> Vec<Event> {
    let blocks = text.split("\n\n").filter(|block| !block.is_empty() && !block.starts_with(':'));
    blocks
        .map(|block| {
            let field = |name: &str| {
                let line = block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
                line.unwrap_or_else(|| panic!("{name} in {block}")).to_owned()
            };
            let data = serde_json::from_str(&field("data")).expect("JSON");
            Event { id: field("id"), name: field("event"), data }
        })
        .collect()
}

fn names(events: &[Event]) -> Vec<&str> {
    let mut names: Vec<_> = events.iter().map(|event| event.name.as_str()).collect();
    names.dedup();
    names
}

#[tokio::test(start_paused = true)]
async fn a_job_is_followed_from_the_queue_to_its_end() {
    let server = slow();
    start(&server, json!({"prompt": "x"})).await;
    let second = start(&server, json!({"prompt": "y"})).await;
    let third = start(&server, json!({"prompt": "z"})).await;
    sleep(SECOND / 2).await;
    let (events, third_events) = tokio::join!(follow(&server, &second), follow(&server, &third));
    assert_eq!(names(&events), ["queued", "started", "progress", "succeeded"]);
    assert_eq!(events[0].data, json!({"position": 0}));
    let steps: Vec<_> = events.iter().filter_map(|event| event.data["step"].as_u64()).collect();
    assert!(steps.is_sorted() && steps.last() == Some(&4), "{steps:?}");
    assert!(events.iter().filter(|event| event.name == "progress").all(|event| event.data["steps"] == 4));
    let end = events.last().expect("an end");
    assert_eq!(end.id, "end");
    assert_eq!((&end.data["status"], &end.data["prompt"]), (&json!("succeeded"), &json!("y")));
    assert!(end.data["images"][0]["url"].is_string(), "{}", end.data);
    let ids: Vec<u64> =
        events[..events.len() - 1].iter().map(|event| event.id.parse().expect("a number")).collect();
    assert_eq!(ids, (1..events.len() as u64).collect::<Vec<_>>());

    // A job that waits longer reports its new position.
    let places: Vec<_> =
        third_events.iter().filter(|event| event.name == "queued").map(|event| &event.data).collect();
    assert_eq!(places, [&json!({"position": 1}), &json!({"position": 0})]);
}

#[tokio::test(start_paused = true)]
async fn previews_show_the_image_early() {
    let server = slow();
    let job = start(&server, json!({"prompt": "x", "steps": 10})).await;
    let events = follow(&server, &job).await;
    let previews: Vec<_> = events.iter().filter(|event| event.data["preview"].is_string()).collect();
    assert!((1..=10).contains(&previews.len()), "{}", previews.len());
    for event in previews {
        assert_eq!((event.name.as_str(), &event.data["picture"]), ("progress", &json!(0)));
        let url = event.data["preview"].as_str().expect("text");
        let base64 = url.strip_prefix("data:image/jpeg;base64,").expect("a JPEG").as_bytes();
        let bytes = base64_simd::STANDARD.decode_to_vec(base64).expect("base64").into();
        let pixels = tintype_picture::decode(&Encoded { format: Format::Jpeg, bytes }).expect("a JPEG");
        assert_eq!((pixels.width(), pixels.height()), (NullEngine::PREVIEW_SIDE, NullEngine::PREVIEW_SIDE));
        // The null engine's previews get brighter with every step.
        let expected = event.data["step"].as_u64().expect("a number") * 255 / 10;
        assert!(u64::from(pixels.rgb()[0]).abs_diff(expected) <= 26 + 3, "{} at {expected}", pixels.rgb()[0]);
    }
}

#[tokio::test(start_paused = true)]
async fn previews_are_few() {
    let server = TestServer::with(ServiceSettings::default(), NullEngine::new(Duration::from_millis(10)));
    // One and a half seconds.
    let job = start(&server, json!({"prompt": "x", "steps": 150})).await;
    let events = follow(&server, &job).await;
    let previews = events.iter().filter(|event| event.data["preview"].is_string()).count();
    assert!((2..=8).contains(&previews), "{previews}");
}

#[tokio::test(start_paused = true)]
async fn a_job_of_another_process_can_be_followed() {
    let settings = ServiceSettings { topology: Topology::Cluster, ..ServiceSettings::default() };
    let worker = TestServer::with(settings.clone(), NullEngine::new(SECOND));
    let service = Service::new(settings, worker.store.clone(), worker.ledger.clone());
    let router = router(service.clone(), settings_for(HostPolicy::Any));
    let follower = TestServer { service, router, ..TestServer::new() };
    start(&worker, json!({"prompt": "x"})).await;
    let job = start(&worker, json!({"prompt": "y", "steps": 10})).await;
    let events = follow(&follower, &job).await;
    assert_eq!(names(&events), ["queued", "started", "succeeded"]);
}

#[tokio::test(start_paused = true)]
async fn a_reconnected_client_gets_the_current_state() {
    let server = slow();
    let job = start(&server, json!({"prompt": "x"})).await;
    sleep(SECOND * 5 / 2).await;
    let events = follow(&server, &job).await;
    assert_eq!(names(&events), ["started", "progress", "succeeded"]);
    assert_eq!(events[1].data, json!({"step": 2, "steps": 4}));

    let again = follow(&server, &job).await;
    assert_eq!(names(&again), ["succeeded"]);
    // Browsers reconnect after every end; 204 stops one that has received the last event.
    let seen = server.send("GET", &format!("{job}/events"), &[("last-event-id", "end")]).await;
    assert_eq!((seen.status().as_u16(), seen.text.as_str()), (204, ""));
    let before = server.send("GET", &format!("{job}/events"), &[("last-event-id", "3")]).await;
    assert_eq!(names(&read(&before.text)), ["succeeded"]);
}

#[tokio::test(start_paused = true)]
async fn failed_canceled_and_deleted_jobs_end_the_stream() {
    let failing =
        TestServer::with(ServiceSettings::default(), NullEngine::new(SECOND).with_fault(Fault::Error));
    let job = start(&failing, json!({"prompt": "x"})).await;
    let events = follow(&failing, &job).await;
    let end = events.last().expect("an end");
    assert_eq!((end.name.as_str(), &end.data["error"]["reason"]), ("failed", &json!("engine")));

    let server = slow();
    start(&server, json!({"prompt": "x"})).await;
    let job = start(&server, json!({"prompt": "y"})).await;
    let (events, _) = tokio::join!(follow(&server, &job), async {
        sleep(SECOND).await;
        server.send("POST", &format!("{job}/cancel"), &[]).await
    });
    assert_eq!(names(&events), ["queued", "canceled"]);

    // The deletion of a job has no event.
    let job = start(&server, json!({"prompt": "z"})).await;
    let (events, _) = tokio::join!(follow(&server, &job), async {
        sleep(SECOND).await;
        server.send("DELETE", &job, &[]).await
    });
    assert!(events.iter().all(|event| event.name == "queued"), "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn the_stream_ends_with_the_server() {
    let server = slow();
    start(&server, json!({"prompt": "x", "steps": 100})).await;
    let job = start(&server, json!({"prompt": "y"})).await;
    let (events, ()) = tokio::join!(timeout(SECOND * 20, follow(&server, &job)), async {
        sleep(SECOND * 2).await;
        server.service.drain(SECOND * 3).await;
    });
    assert_eq!(names(&events.expect("an end in time")), ["queued"]);
    server.get(&format!("{job}/events")).await.assert_problem(503, "shutting-down");
}

#[tokio::test(start_paused = true)]
async fn keep_alive_comments_are_sent() {
    let server = TestServer::with(ServiceSettings::default(), NullEngine::new(SECOND * 100));
    let job = start(&server, json!({"prompt": "x"})).await;
    let request = Request::get(format!("{job}/events")).body(Body::empty()).expect("a request");
    let response = server.router.clone().oneshot(request).await.expect("infallible");
    let mut stream = response.into_body().into_data_stream();
    let mut comments = 0;
    while let Ok(Some(bytes)) = timeout(Duration::from_secs(16), stream.next()).await {
        comments += usize::from(bytes.expect("bytes").starts_with(b":"));
        if comments == 3 {
            return;
        }
    }
    panic!("{comments} comments, then nothing for more than 15 s");
}

/// A client that only follows a job does not keep it running.
#[tokio::test(start_paused = true)]
async fn following_a_job_does_not_keep_it_running() {
    let server = slow();
    let client = timeout(SECOND * 2, server.get("/generate?prompt=x&steps=60"));
    let (hung_up, events) = tokio::join!(client, async {
        sleep(SECOND).await;
        let job = server.get("/v1/images").await.json()["data"][0]["id"].as_str().expect("one").to_owned();
        follow(&server, &format!("/v1/images/{job}")).await
    });
    assert!(hung_up.is_err());
    assert_eq!(names(&events).last(), Some(&"canceled"), "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn head_has_no_events() {
    let server = slow();
    let job = start(&server, json!({"prompt": "x"})).await;
    let request = Request::head(format!("{job}/events")).body(Body::empty()).expect("a request");
    let response = server.router.clone().oneshot(request).await.expect("infallible");
    assert_eq!(response.status(), 200);
    let body = timeout(SECOND, response.into_body().collect()).await.expect("no events to wait for");
    assert!(body.expect("a body").to_bytes().is_empty());
}
