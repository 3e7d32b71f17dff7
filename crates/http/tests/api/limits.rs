//! The limits of a key: headers and errors.

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tintype_ledger::policy::Policy;

use crate::{TestResponse, TestServer};

/// Parses limits.
fn policy(json: Value) -> Policy {
    serde_json::from_value(json).expect("limits")
}

/// Checks a problem's status, name, limit and retry header.
fn assert_limit_problem(response: &TestResponse, status: u16, kind: &str, limit: &str) -> Value {
    let problem = response.assert_problem(status, kind);
    assert_eq!(problem["limit"], limit, "{problem}");
    assert_eq!(
        problem["retry_after"].as_u64().map(|seconds| seconds.to_string()).as_deref(),
        response.header("retry-after")
    );
    problem
}

#[tokio::test(start_paused = true)]
async fn rate() {
    let server = TestServer::keyed();
    let (name, key) = server.key(policy(json!({"rate": "2/day"}))).await;
    for left in [1, 0] {
        let response = server.send("GET", "/generate?prompt=x", &[(name, &key)]).await;
        assert_eq!(response.status(), 200, "{}", response.text);
        assert_eq!(response.header("ratelimit-policy"), Some(r#""rate";q=2;w=86400"#));
        let ratelimit = response.header("ratelimit").expect("told").to_owned();
        assert!(ratelimit.starts_with(&format!(r#""rate";r={left};t="#)), "{ratelimit}");
    }
    for response in [
        server.send("GET", "/generate?prompt=x", &[(name, &key)]).await,
        server.post(&json!({"prompt": "x"}), &[(name, &key)]).await,
    ] {
        let problem = assert_limit_problem(&response, 429, "rate-limited", "rate 2/day");
        let seconds = problem["retry_after"].as_i64().expect("a number");
        assert!((43_190..=43_200).contains(&seconds), "{problem}");
        let at =
            OffsetDateTime::parse(problem["retry_at"].as_str().expect("text"), &Rfc3339).expect("RFC 3339");
        assert!(((at - OffsetDateTime::now_utc()).whole_seconds() - seconds).abs() <= 3, "{problem}");
        assert_eq!(response.header("ratelimit-policy"), Some(r#""rate";q=2;w=86400"#));
        assert!(response.header("ratelimit").is_some_and(|left| left.starts_with(r#""rate";r=0;t="#)));
    }
    // Reading is not limited.
    assert_eq!(server.send("GET", "/v1/images", &[(name, &key)]).await.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn concurrency() {
    let server = TestServer::keyed();
    let (name, key) = server.key(policy(json!({"concurrency": 1}))).await;
    let first = server.post(&json!({"prompt": "x"}), &[(name, &key), ("prefer", "respond-async")]).await;
    assert_eq!((first.status().as_u16(), first.header("ratelimit")), (202, Some(r#""concurrency";r=0"#)));
    let second = server.post(&json!({"prompt": "y"}), &[(name, &key)]).await;
    let problem = assert_limit_problem(&second, 429, "too-many-jobs", "concurrency 1");
    assert_eq!((second.header("retry-after"), &problem["retry_at"]), (Some("1"), &Value::Null));
    assert_eq!(second.header("ratelimit-policy"), Some(r#""concurrency";q=1;qu="concurrent-requests""#));
}

#[tokio::test(start_paused = true)]
async fn budgets() {
    let server = TestServer::keyed();
    let ask = async |key: &(&str, String)| server.send("GET", "/generate?prompt=x", &[(key.0, &key.1)]).await;
    // The first job measures the engine time: 4 s.
    assert_eq!(ask(&server.key(Policy::default()).await).await.status(), 200);
    let small = server.key(policy(json!({"budgets": ["3s/day"]}))).await;
    let never = ask(&small).await;
    let problem = assert_limit_problem(&never, 402, "budget-spent", "budget 3s/day");
    assert_eq!((never.header("retry-after"), &problem["retry_at"]), (None, &Value::Null));
    assert!(problem["detail"].as_str().expect("text").contains("more than"), "{problem}");

    let key = server.key(policy(json!({"rate": "60/min", "budgets": ["10s/month"]}))).await;
    for left in [6, 2] {
        let good = ask(&key).await;
        assert_eq!(good.status(), 200, "{}", good.text);
        let items: Vec<_> = good.header("ratelimit").expect("told").split(", ").collect();
        let engine = format!("\"engine-month\";r={left};t=");
        assert!(items.len() == 2 && items.iter().any(|item| item.starts_with(&engine)), "{items:?}");
    }
    let refused = ask(&key).await;
    let problem = assert_limit_problem(&refused, 402, "budget-spent", "budget 10s/month");
    assert!(problem["retry_after"].as_u64().is_some_and(|seconds| seconds <= 31 * 86_400), "{problem}");
    assert!(problem["retry_at"].as_str().is_some_and(|at| at.ends_with("-01T00:00:00Z")), "{problem}");
    assert_eq!(server.engine.started(), 3);
}

#[tokio::test]
async fn without_limits_there_are_no_headers() {
    let response = TestServer::new().get("/generate?prompt=x").await;
    assert_eq!((response.header("ratelimit"), response.header("ratelimit-policy")), (None, None));
}

#[tokio::test]
async fn a_budget_in_a_currency_without_a_price() {
    let server = TestServer::keyed();
    let (name, key) = server.key(policy(json!({"budgets": ["5eur/day"]}))).await;
    let problem = server
        .send("GET", "/generate?prompt=x", &[(name, &key)])
        .await
        .assert_problem(402, "budget-unpriced");
    assert!(problem["detail"].as_str().expect("text").contains("eur"), "{problem}");
    assert_eq!(server.engine.started(), 0);
}
