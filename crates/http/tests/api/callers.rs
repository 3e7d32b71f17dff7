//! Authentication and access to jobs.

use time::{Duration, OffsetDateTime};
use tintype_ledger::key::{ApiKey, NewKey};
use tintype_ledger::policy::Policy;
use tintype_service::{AnonymousAccess, ServiceSettings};
use tintype_testing::NullEngine;

use crate::TestServer;

const ID: &str = "019aaf60-ac00-7000-8000-000000000000";

/// Every call that requires a key.
fn calls() -> Vec<(&'static str, String)> {
    let image = |rest: &str| format!("/v1/images/{ID}{rest}");
    vec![
        ("GET", "/generate?prompt=x".into()),
        ("GET", "/?prompt=x".into()),
        ("POST", "/v1/images".into()),
        ("GET", "/v1/images".into()),
        ("GET", image("")),
        ("GET", image("/content")),
        ("GET", image("/events")),
        ("POST", image("/cancel")),
        ("DELETE", image("")),
        ("POST", "/v1/keys".into()),
        ("GET", "/v1/keys".into()),
        ("GET", "/v1/keys/x".into()),
        ("DELETE", "/v1/keys/x".into()),
        ("GET", "/v1/usage".into()),
        ("GET", "/metrics".into()),
    ]
}

#[tokio::test]
async fn only_health_and_the_introduction_need_no_key() {
    let server = TestServer::keyed();
    for (method, path) in calls() {
        let response = server.send(method, &path, &[]).await;
        let problem = response.assert_problem(401, "unauthenticated");
        assert_eq!(response.header("www-authenticate"), Some("Bearer realm=\"tintype\""), "{method} {path}");
        assert!(problem["detail"].as_str().expect("text").contains("carries no API key"), "{problem}");
    }
    for path in ["/healthz", "/readyz", "/"] {
        assert_eq!(server.get(path).await.status(), 200, "{path}");
    }
    assert_eq!(server.engine.started(), 0);
}

#[tokio::test]
async fn the_response_says_why_the_key_is_rejected() {
    let server = TestServer::keyed();
    let now = OffsetDateTime::now_utc();
    let make = async |expires| {
        let new =
            NewKey { name: "acme".into(), owner: None, expires, admin: false, policy: Policy::default() };
        let (key, record) = server.ledger.create_key(new, now).await.expect("a key");
        (key.secret().expose().to_owned(), record.id)
    };
    let (good, _) = make(None).await;
    let (expired, _) = make(Some(now - Duration::SECOND)).await;
    let (revoked, id) = make(None).await;
    server.ledger.revoke_key(&id, now).await.expect("revoked");
    let unknown = ApiKey::generate().expect("random numbers").secret().expose().to_owned();
    let bearer = |key: &str| ("authorization", format!("Bearer {key}"));
    let plain = |key: &str| ("x-api-key", key.to_owned());
    for (headers, fault) in [
        (vec![bearer("hunter2")], "malformed"),
        (vec![bearer("")], "malformed"),
        (vec![plain(&good[..51])], "malformed"),
        (vec![bearer(&unknown)], "unknown"),
        (vec![plain(&expired)], "expired"),
        (vec![bearer(&revoked)], "revoked"),
        (vec![("authorization", format!("Basic {good}"))], "scheme"),
        (vec![("authorization", good.clone())], "scheme"),
        (vec![bearer(&good), plain(&unknown)], "different"),
        (vec![("authorization", "Bearer \u{e9}".to_owned())], "characters"),
    ] {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let response = server.send("GET", "/v1/images", &headers).await;
        let problem = response.assert_problem(401, "unauthenticated");
        assert_eq!(response.header("www-authenticate"), Some("Bearer realm=\"tintype\""));
        assert!(problem["detail"].as_str().expect("text").contains(fault), "{fault}: {problem}");
    }
    for headers in [vec![bearer(&good)], vec![plain(&good)], vec![bearer(&good), plain(&good)]] {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(server.send("GET", "/v1/images", &headers).await.status(), 200, "{headers:?}");
    }
}

/// Also if the server requires no key.
#[tokio::test]
async fn a_key_must_be_valid_if_one_is_sent() {
    let server = TestServer::new();
    assert_eq!(server.get("/v1/images").await.status(), 200);
    server.send("GET", "/v1/images", &[("x-api-key", "x")]).await.assert_problem(401, "unauthenticated");
}

#[tokio::test(start_paused = true)]
async fn jobs_of_another_owner_are_not_found() {
    let server = TestServer::keyed();
    let (name, mine) = server.key(Policy::default()).await;
    let (_, theirs) = server.key(Policy::default()).await;
    let made = server.send("GET", "/generate?prompt=x", &[(name, &mine)]).await.json();
    let path = format!("/v1/images/{}", made["id"].as_str().expect("an id"));
    for (method, rest) in
        [("GET", ""), ("GET", "/content"), ("GET", "/events"), ("POST", "/cancel"), ("DELETE", "")]
    {
        let response = server.send(method, &format!("{path}{rest}"), &[(name, &theirs)]).await;
        response.assert_problem(404, "not-found");
    }
    let list = server.send("GET", "/v1/images", &[(name, &theirs)]).await.json();
    assert_eq!(list, serde_json::json!({ "data": [] }));
    assert_eq!(server.send("GET", &path, &[(name, &mine)]).await.json()["id"], made["id"]);
}

/// On a public server, all anonymous clients share an owner.
#[tokio::test]
async fn anonymous_clients_of_a_public_server_can_only_read_jobs_by_id() {
    let settings = ServiceSettings { anonymous: AnonymousAccess::Public, ..ServiceSettings::default() };
    let server = TestServer::with(settings, NullEngine::new(std::time::Duration::ZERO));
    let made = server.get("/generate?prompt=x").await.json();
    let path = format!("/v1/images/{}", made["id"].as_str().expect("an id"));
    assert_eq!(server.get(&path).await.json()["prompt"], "x");
    assert_eq!(server.get(&format!("{path}/content")).await.status(), 302);
    assert_eq!(server.get(&format!("{path}/events")).await.status(), 200);
    for (method, path) in [("GET", "/v1/images"), ("POST", &*format!("{path}/cancel")), ("DELETE", &*path)] {
        server.send(method, path, &[]).await.assert_problem(401, "unauthenticated");
    }
    for path in ["/metrics", "/v1/keys"] {
        server.get(path).await.assert_problem(403, "not-admin");
    }
    assert_eq!(server.get(&path).await.status(), 200);
}
