//! `/metrics`.

use std::time::Duration;

use tintype_service::ServiceSettings;
use tintype_service::ledger::policy::Policy;
use tintype_testing::NullEngine;

use crate::Bench;

/// The number of a series; the name with its labels as it is written.
fn value(text: &str, series: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map(|number| number.parse().expect("a number"))
}

#[tokio::test]
async fn exchanges_are_counted_by_route() {
    let bench = Bench::with(ServiceSettings::default(), NullEngine::new(Duration::ZERO));
    for path in ["/generate?prompt=zebra", "/generate?prompt=lion", "/generate", "/zebra", "/v1/images/zebra"]
    {
        bench.get(path).await;
    }
    bench.send("BREW", "/zebra", &[]).await;
    let answer = bench.get("/metrics").await;
    let expected = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!((answer.status().as_u16(), answer.header("content-type")), (200, Some(expected)));
    let count = |method: &str, route: &str, status: u16| {
        let labels = format!(r#"{{method="{method}",route="{route}",status="{status}"}}"#);
        value(&answer.text, &format!("tintype_http_requests_total{labels}"))
    };
    assert_eq!(count("GET", "/generate", 200), Some(2.0), "{}", answer.text);
    assert_eq!(count("GET", "/generate", 400), Some(1.0));
    assert_eq!(count("GET", "/v1/images/{id}", 404), Some(1.0));
    assert_eq!((count("GET", "none", 404), count("other", "none", 404)), (Some(1.0), Some(1.0)));
    assert_eq!(value(&answer.text, "tintype_generations_total"), Some(2.0));
    let generated = r#"{method="GET",route="/generate",status="200"}"#;
    assert_eq!(value(&answer.text, &format!("tintype_http_request_seconds_count{generated}")), Some(2.0));
    assert!(!answer.text.contains("zebra") && answer.text.ends_with("# EOF\n"), "{}", answer.text);
}

#[tokio::test]
async fn where_keys_are_needed_an_admin_reads_them() {
    let bench = Bench::keyed();
    let (name, customer) = bench.key(Policy::default()).await;
    let (_, admin) = bench.admin_key().await;
    bench.send("GET", "/metrics", &[(name, &customer)]).await.assert_problem(403, "not-admin");
    assert_eq!(bench.send("GET", "/metrics", &[(name, &admin)]).await.status(), 200);
}
