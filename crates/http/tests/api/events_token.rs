//! Signed event URLs.

use serde_json::{Value, json};
use time::OffsetDateTime;
use tintype_ledger::key::ApiKey;
use tintype_ledger::policy::Policy;
use tintype_service::{AnonymousAccess, ServiceSettings, Topology};
use tintype_testing::NullEngine;

use crate::{ORIGIN, SECOND, TestServer};

const ASYNC: (&str, &str) = ("prefer", "respond-async");

/// The path and query of a job's events.
fn events_path(job: &Value) -> String {
    let url = job["events_url"].as_str().expect("a URL");
    url.strip_prefix(ORIGIN).expect("an absolute URL").to_owned()
}

async fn start(server: &TestServer, key: &(&'static str, String)) -> Value {
    let response = server.post(&json!({"prompt": "x"}), &[ASYNC, (key.0, &key.1)]).await;
    assert_eq!(response.status(), 202, "{}", response.text);
    response.json()
}

async fn status(server: &TestServer, path: &str) -> u16 {
    server.get(path).await.status().as_u16()
}

#[tokio::test(start_paused = true)]
async fn the_url_is_in_every_response_until_the_job_has_ended() {
    let server = TestServer::keyed();
    let key = server.key(Policy::default()).await;
    let header = [(key.0, key.1.as_str())];
    let job = start(&server, &key).await;
    let location = format!("/v1/images/{}", job["id"].as_str().expect("an id"));
    let read = server.send("GET", &location, &header).await.json();
    let listed = server.send("GET", "/v1/images", &header).await.json()["data"][0].clone();
    for job in [&job, &read, &listed] {
        let path = events_path(job);
        assert!(path.starts_with(&format!("{location}/events?token=")), "{path}");
        assert!(path.chars().all(|one| one.is_ascii_alphanumeric() || "/?=.-_".contains(one)), "{path}");
        assert_eq!(status(&server, &path).await, 200);
    }
    let ended = server.send("GET", &location, &header).await.json();
    assert_eq!((&ended["status"], &ended["events_url"]), (&"succeeded".into(), &Value::Null));
    // A browser that reconnects gets the last event.
    assert!(server.get(&events_path(&job)).await.text.contains("event: succeeded"));
}

#[tokio::test(start_paused = true)]
async fn a_token_is_for_the_events_of_one_job() {
    let server = TestServer::keyed();
    let key = server.key(Policy::default()).await;
    let (first, second) = (start(&server, &key).await, start(&server, &key).await);
    let (path, other) = (events_path(&first), events_path(&second));
    let (events, token) = path.split_once("?token=").expect("a token");
    let job = events.strip_suffix("/events").expect("a path");
    let (other_events, _) = other.split_once('?').expect("a token");
    let refused = server.get(&format!("{other_events}?token={token}")).await;
    let problem = refused.assert_problem(401, "unauthenticated");
    assert_eq!(problem["title"], "Invalid event token");
    for (method, path) in [
        ("GET", format!("{job}?token={token}")),
        ("DELETE", format!("{job}?token={token}")),
        ("POST", format!("{job}/cancel?token={token}")),
        ("GET", format!("{job}/content?token={token}")),
        ("GET", format!("/v1/images?token={token}")),
        ("GET", format!("/v1/usage?token={token}")),
    ] {
        server.send(method, &path, &[]).await.assert_problem(401, "unauthenticated");
    }
    // A changed token.
    let parts: Vec<_> = token.splitn(3, '.').collect();
    let [expiry, mac, id] = parts[..] else { panic!("{token}") };
    let later = expiry.parse::<i64>().expect("seconds") + 1;
    let flipped = format!("{}{}", if mac.starts_with('0') { '1' } else { '0' }, &mac[1..]);
    let another = server.new_key("other", Policy::default()).await;
    let another_id = ApiKey::parse(another.1.trim_start_matches("Bearer ")).expect("a key").hash().id();
    for changed in [
        format!("{later}.{mac}.{id}"),
        format!("{expiry}.{flipped}.{id}"),
        format!("{expiry}.{}.{id}", &mac[..62]),
        format!("{expiry}..{id}"),
        format!("{expiry}.{mac}.{another_id}"),
        format!("{expiry}.{mac}."),
        format!("{expiry}.{mac}.%00"),
        format!("{expiry}.{mac}"),
        format!("x{token}"),
        format!("99999999999999999999.{mac}.{id}"),
        String::new(),
    ] {
        assert_eq!(status(&server, &format!("{events}?token={changed}")).await, 401, "{changed}");
    }
    server.get("/v1/images/no-id/events?token=x").await.assert_problem(404, "not-found");
    assert_eq!(status(&server, &path).await, 200);
    // A key in the header has precedence.
    server.send("GET", &path, &[("x-api-key", "tt_x")]).await.assert_problem(401, "unauthenticated");
}

#[tokio::test(start_paused = true)]
async fn a_token_ends_with_its_time_its_key_and_its_job() {
    let server = TestServer::keyed();
    let key = server.key(Policy::default()).await;
    let job = start(&server, &key).await;
    let path = events_path(&job);
    let (_, token) = path.split_once("?token=").expect("a token");
    let expiry: i64 = token.split('.').next().expect("the expiry").parse().expect("seconds");
    let lifetime = expiry - OffsetDateTime::now_utc().unix_timestamp();
    assert!((3_590..=3_600).contains(&lifetime), "{lifetime}");

    let id = job["id"].as_str().expect("an id");
    server.send("DELETE", &format!("/v1/images/{id}"), &[(key.0, &key.1)]).await;
    assert_eq!(status(&server, &path).await, 401, "the job is deleted");

    let path = events_path(&start(&server, &key).await);
    let key_id = ApiKey::parse(key.1.trim_start_matches("Bearer ")).expect("a key").hash().id();
    server.ledger.revoke_key(&key_id, OffsetDateTime::now_utc()).await.expect("revoked").expect("a key");
    assert_eq!(status(&server, &path).await, 401, "the key is revoked");
}

#[tokio::test(start_paused = true)]
async fn another_process_of_the_ledger_accepts_the_token() {
    let server = TestServer::keyed();
    let key = server.key(Policy::default()).await;
    let path = events_path(&start(&server, &key).await);
    let settings = ServiceSettings {
        anonymous: AnonymousAccess::Denied,
        topology: Topology::Cluster,
        ..ServiceSettings::default()
    };
    let service = tintype_service::Service::new(settings, server.store.clone(), server.ledger.clone());
    service.engine_ready(std::sync::Arc::new(NullEngine::new(SECOND)));
    let router = tintype_http::router(service.clone(), crate::settings_for(tintype_http::HostPolicy::Any));
    let other = TestServer { service, router, ..server };
    assert_eq!(status(&other, &path).await, 200);
}

#[tokio::test(start_paused = true)]
async fn a_caller_without_a_key_needs_no_token() {
    let server = TestServer::with(ServiceSettings::default(), NullEngine::new(SECOND));
    let job = server.post(&json!({"prompt": "x"}), &[ASYNC]).await.json();
    let path = events_path(&job);
    assert!(path.ends_with("/events"), "{path}");
    assert_eq!(status(&server, &path).await, 200);
}
