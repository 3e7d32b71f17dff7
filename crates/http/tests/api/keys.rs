//! `/v1/keys`: an admin creates, reads and revokes keys.

use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};
use tintype_ledger::policy::Policy;
use tintype_service::{AnonymousAccess, ServiceSettings};
use tintype_testing::NullEngine;

use crate::{SECOND, TestServer};

#[tokio::test(start_paused = true)]
async fn a_key_is_created_shown_once_and_revoked() {
    let settings = ServiceSettings {
        price: "0.01usd".parse().ok(),
        anonymous: AnonymousAccess::Denied,
        ..ServiceSettings::default()
    };
    let server = TestServer::with(settings, NullEngine::new(SECOND));
    let (name, admin) = server.admin_key().await;
    let auth = [(name, admin.as_str())];
    let body = json!({
        "name": "acme", "owner": "acme-inc", "rate": "60/min", "concurrency": 4, "budgets": ["3600s/day", "5usd/day"],
        "expires_in": "90d", "admin": null,
    });
    let response = server.send_json("/v1/keys", &body, &auth).await;
    assert_eq!((response.status().as_u16(), response.header("cache-control")), (201, Some("no-store")));
    let made = response.json();
    let text = |member: &str| made[member].as_str().expect("text").to_owned();
    let (key, id, created, expires) = (text("key"), text("id"), text("created_at"), text("expires_at"));
    let expected = format!(
        r#"{{"key":"{key}","id":"{id}","name":"acme","owner":"acme-inc","created_at":"{created}","expires_at":"{expires}","admin":false,"rate":"60/min","concurrency":4,"budgets":["3600s/day","5usd/day"]}}"#
    );
    assert_eq!(response.text, expected);
    assert_eq!(response.header("location"), Some(&*format!("/v1/keys/{id}")));
    let [from, to] =
        [&created, &expires].map(|text| OffsetDateTime::parse(text, &Rfc3339).expect("RFC 3339"));
    assert!((to - from - Duration::days(90)).abs() < Duration::MINUTE, "{created} to {expires}");
    let customer = [("x-api-key", key.as_str())];
    assert_eq!(server.send("GET", "/v1/images", &customer).await.status(), 200);

    let path = format!("/v1/keys/{id}");
    let read = server.send("GET", &path, &auth).await;
    let mut without = made.clone();
    without.as_object_mut().expect("an object").remove("key");
    assert_eq!((read.status().as_u16(), read.json()), (200, without.clone()));
    let list = server.send("GET", "/v1/keys", &auth).await;
    let data = list.json()["data"].as_array().expect("a list").clone();
    assert!(data.len() == 2 && data.contains(&without), "{data:?}");
    for response in [&read, &list] {
        assert!(!response.text.contains(&key) && !response.text.contains("hash"), "{}", response.text);
    }

    let revoked = server.send("DELETE", &path, &auth).await;
    assert_eq!(revoked.status(), 200);
    let at = revoked.json()["revoked_at"].clone();
    assert!(at.is_string(), "{}", revoked.text);
    server.send("GET", "/v1/images", &customer).await.assert_problem(401, "unauthenticated");
    assert_eq!(server.send("DELETE", &path, &auth).await.json()["revoked_at"], at, "the first time counts");
}

#[tokio::test(start_paused = true)]
async fn only_an_admin_manages_keys() {
    for server in [TestServer::keyed(), TestServer::new()] {
        let (name, key) = server.key(Policy::default()).await;
        let auth = [(name, key.as_str())];
        for headers in [&auth[..], &[]] {
            for (method, path) in [("GET", "/v1/keys"), ("GET", "/v1/keys/x"), ("DELETE", "/v1/keys/x")] {
                let response = server.send(method, path, headers).await;
                let status = response.status().as_u16();
                // Anonymous callers are never admins.
                assert!([401, 403].contains(&status), "{method} {path}: {status}");
            }
        }
        server.send_json("/v1/keys", &json!({"name": "x"}), &auth).await.assert_problem(403, "not-admin");
        server.send_json("/v1/keys", &json!({"nonsense": 1}), &auth).await.assert_problem(403, "not-admin");
    }
}

#[tokio::test]
async fn unknown_keys() {
    let server = TestServer::keyed();
    let (name, admin) = server.admin_key().await;
    for id in ["0123456789abcdef", ".x", "%20", "%ff", &"a".repeat(65)] {
        for method in ["GET", "DELETE"] {
            let response = server.send(method, &format!("/v1/keys/{id}"), &[(name, &admin)]).await;
            response.assert_problem(404, "not-found");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn invalid_keys() {
    let server = TestServer::keyed();
    let (name, admin) = server.admin_key().await;
    let refused = async |body: Value| -> Value {
        let problem = server
            .send_json("/v1/keys", &body, &[(name, &admin)])
            .await
            .assert_problem(400, "invalid-request");
        problem["errors"].as_array().expect("a list").iter().map(|error| error["parameter"].clone()).collect()
    };
    for (member, value) in [
        ("name", json!("  ")),
        ("name", json!("x".repeat(201))),
        ("name", json!(7)),
        ("owner", json!("a/b")),
        ("rate", json!("60")),
        ("rate", json!(60)),
        ("concurrency", json!(0)),
        ("concurrency", json!(-1)),
        ("concurrency", json!("4")),
        ("budgets", json!("3600s/day")),
        ("budgets", json!(["3600s"])),
        ("budgets", json!([3_600])),
        ("budgets", json!(["5eur/day"])),
        ("models", json!("null")),
        ("models", json!([""])),
        ("models", json!(["null", "other"])),
        ("models", json!(["dall-e-2"])),
        ("expires_in", json!("90")),
        ("expires_in", json!(90)),
        ("expires_at", json!("2020-01-01T00:00:00Z")),
        ("expires_at", json!("tomorrow")),
        ("expires_at", json!("9999-12-31T23:59:59-08:00")),
        ("admin", json!("yes")),
        ("limit", json!("60/min")),
    ] {
        let mut body = json!({"name": "acme"});
        body[member] = value;
        assert_eq!(refused(body.clone()).await, json!([member]), "{body}");
    }
    assert_eq!(refused(json!({})).await, json!(["name"]));
    assert_eq!(
        refused(json!({"rate": "x", "cat": 1, "admin": 2})).await,
        json!(["admin", "cat", "rate", "name"])
    );
    let flood: serde_json::Map<_, _> = (0..1_000).map(|i| (i.to_string(), json!(0))).collect();
    assert_eq!(refused(Value::from(flood)).await.as_array().map(Vec::len), Some(20));
    let both = json!({"name": "x", "expires_in": "1d", "expires_at": "2099-01-01T00:00:00Z"});
    assert_eq!(refused(both).await, json!(["expires_at"]));
    let unknown =
        server.send_json("/v1/keys", &json!({"name": "x", "models": ["other"]}), &[(name, &admin)]).await;
    assert!(unknown.text.contains("a list of names (not aliases) of models: null"), "{}", unknown.text);
    let limited =
        server.send_json("/v1/keys", &json!({"name": "x", "models": ["null"]}), &[(name, &admin)]).await;
    assert_eq!((limited.status().as_u16(), &limited.json()["models"]), (201, &json!(["null"])));
    let until = json!({"name": "x", "expires_at": "2099-01-01T00:00:00+01:00"});
    let made = server.send_json("/v1/keys", &until, &[(name, &admin)]).await.json();
    assert_eq!(made["expires_at"], "2098-12-31T23:00:00Z");
    // In UTC the year is 10000, which RFC 3339 lacks.
    let beyond = json!({"name": "x", "expires_at": "9999-12-31T23:59:59-08:00"});
    let refused = server.send_json("/v1/keys", &beyond, &[(name, &admin)]).await;
    assert!(
        refused.text.contains("`expires_at`") && refused.text.contains("9999-12-31T23:59:59Z"),
        "{}",
        refused.text
    );
    let last = json!({"name": "x", "expires_at": "9999-12-31T15:59:59-08:00"});
    let made = server.send_json("/v1/keys", &last, &[(name, &admin)]).await.json();
    assert_eq!(made["expires_at"], "9999-12-31T23:59:59Z");
    assert_eq!(
        server.send("GET", "/v1/keys", &[(name, &admin)]).await.json()["data"].as_array().map(Vec::len),
        Some(4)
    );
}
