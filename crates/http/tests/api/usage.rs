//! `/v1/usage`: usage and remaining quota.

use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};
use tintype_ledger::policy::Policy;
use tintype_service::{AnonymousAccess, ServiceSettings};
use tintype_testing::NullEngine;

use crate::{SECOND, TestServer};

fn server() -> TestServer {
    let settings = ServiceSettings {
        price: "0.01usd".parse().ok(),
        anonymous: AnonymousAccess::Denied,
        ..ServiceSettings::default()
    };
    TestServer::with(settings, NullEngine::new(SECOND))
}

#[tokio::test(start_paused = true)]
async fn a_key_sees_its_usage_and_remaining_quota() {
    let server = server();
    let limits = json!({"rate": "10/day", "concurrency": 3, "budgets": ["1000s/day", "50usd/month"]});
    let policy: Policy = serde_json::from_value(limits).expect("limits");
    let (name, key) = server.key(policy).await;
    let (_, other) = server.key(Policy::default()).await;
    let auth = [(name, key.as_str())];
    for _ in 0..2 {
        server.send("GET", "/generate?prompt=x&seed=7", &auth).await;
    }
    server.post(&json!({"prompt": "y", "n": 2, "steps": 4}), &[auth[0], ("prefer", "respond-async")]).await;

    let body = server.send("GET", "/v1/usage", &auth).await.json();
    let today = OffsetDateTime::now_utc().date().to_string();
    // The estimate for the second job: two images at 4 s each.
    let expected = json!([{
        "date": today, "jobs": 2, "pictures": 1, "stored": 1, "joined": 0, "engine_seconds": 4.0,
        "reserved_engine_seconds": 8.0, "amounts": [{"amount": 0.04, "currency": "usd"}],
        "models": [{
            "model": "null", "jobs": 1, "pictures": 1, "engine_seconds": 4.0,
            "amounts": [{"amount": 0.04, "currency": "usd"}],
        }],
    }]);
    assert_eq!(body["data"], expected);
    let limits: Vec<_> = body["limits"].as_array().expect("a list").iter().collect();
    let reported: Vec<_> = limits.iter().map(|limit| json!([limit["limit"], limit["remaining"]])).collect();
    let expected = json!([
        ["rate 10/day", 7],
        ["concurrency 3", 2],
        ["budget 1000s/day", 988.0],
        ["budget 50usd/month", 49.88],
    ]);
    assert_eq!(sorted(Value::from(reported)), sorted(expected));
    for limit in limits {
        let concurrency = limit["limit"] == "concurrency 3";
        assert_eq!(limit["resets_at"].as_str().is_none(), concurrency, "{limit}");
    }

    let body = server.send("GET", "/v1/usage", &[(name, &other)]).await.json();
    assert_eq!(body, json!({"data": [], "limits": []}));
}

fn sorted(list: Value) -> Vec<String> {
    let mut items: Vec<_> = list.as_array().expect("a list").iter().map(Value::to_string).collect();
    items.sort();
    items
}

#[tokio::test(start_paused = true)]
async fn days_can_be_selected() {
    let server = server();
    let (name, key) = server.key(Policy::default()).await;
    server.send("GET", "/generate?prompt=x", &[(name, &key)]).await;
    let today = OffsetDateTime::now_utc().date();
    let ago = |days| today - Duration::days(days);
    let days = async |query: String| {
        let response = server.send("GET", &format!("/v1/usage?{query}"), &[(name, &key)]).await;
        response.json()["data"].as_array().map(Vec::len)
    };
    for (from, to, expected) in [(0, 0, 1), (399, 0, 1), (30, 1, 0)] {
        assert_eq!(
            days(format!("from={}&to={}", ago(from), ago(to))).await,
            Some(expected),
            "{from} to {to}"
        );
    }
    assert_eq!(days(format!("from={}", ago(0))).await, Some(1));
    assert_eq!(days(format!("to={}", ago(1))).await, Some(0));
    for (query, wrong) in [
        (format!("from={}&to={}", ago(0), ago(1)), json!(["from"])),
        (format!("from={}", ago(400)), json!(["from"])),
        ("from=2026-02-30".into(), json!(["from"])),
        ("from=x&to=2026-1-1".into(), json!(["from", "to"])),
        ("since=2026-01-01".into(), json!(["since"])),
    ] {
        let response = server.send("GET", &format!("/v1/usage?{query}"), &[(name, &key)]).await;
        let problem = response.assert_problem(400, "invalid-request");
        let named: Value = problem["errors"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|error| error["parameter"].clone())
            .collect();
        assert_eq!(named, wrong, "{query}");
    }
}
