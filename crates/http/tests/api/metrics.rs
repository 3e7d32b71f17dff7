//! `/metrics`.

use std::time::Duration;

use tintype_core::store::{NewObject, ObjectStore};
use tintype_ledger::policy::Policy;
use tintype_service::ServiceSettings;
use tintype_testing::NullEngine;

use crate::TestServer;

/// The value of a series, by its name with labels.
fn value(text: &str, series: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map(|number| number.parse().expect("a number"))
}

#[tokio::test]
async fn exchanges_are_counted_by_route() {
    let server = TestServer::with(ServiceSettings::default(), NullEngine::new(Duration::ZERO));
    for path in ["/generate?prompt=zebra", "/generate?prompt=lion", "/generate", "/zebra", "/v1/images/zebra"]
    {
        server.get(path).await;
    }
    server.send("BREW", "/zebra", &[]).await;
    let response = server.get("/metrics").await;
    let expected = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!((response.status().as_u16(), response.header("content-type")), (200, Some(expected)));
    let count = |method: &str, route: &str, status: u16| {
        let labels = format!(r#"{{method="{method}",route="{route}",status="{status}"}}"#);
        value(&response.text, &format!("tintype_http_requests_total{labels}"))
    };
    assert_eq!(count("GET", "/generate", 200), Some(2.0), "{}", response.text);
    assert_eq!(count("GET", "/generate", 400), Some(1.0));
    assert_eq!(count("GET", "/v1/images/{id}", 404), Some(1.0));
    assert_eq!((count("GET", "none", 404), count("other", "none", 404)), (Some(1.0), Some(1.0)));
    assert_eq!(value(&response.text, r#"tintype_generations_total{model="null"}"#), Some(2.0));
    let generated = r#"{method="GET",route="/generate",status="200"}"#;
    assert_eq!(value(&response.text, &format!("tintype_http_request_seconds_count{generated}")), Some(2.0));
    assert!(!response.text.contains("zebra") && response.text.ends_with("# EOF\n"), "{}", response.text);
}

#[tokio::test]
async fn prometheus_text_has_help_and_a_type_for_every_sample() {
    let server = TestServer::with(ServiceSettings::default(), NullEngine::new(Duration::ZERO));
    server.get("/generate?prompt=zebra").await;
    let response = server.send("GET", "/metrics", &[("accept", "text/plain;version=0.0.4")]).await;
    assert_eq!(response.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert_eq!(response.header("vary"), Some("accept"));
    let families: Vec<_> = response.text.lines().filter_map(|line| line.strip_prefix("# HELP ")).collect();
    let types: Vec<_> = response.text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    let has = |lines: &[&str], family: &str| {
        lines
            .iter()
            .any(|line| line.split_once(' ').is_some_and(|(name, rest)| name == family && !rest.is_empty()))
    };
    let samples: Vec<_> = response.text.lines().filter(|line| !line.starts_with('#')).collect();
    assert!(samples.len() > 20, "{}", response.text);
    for sample in samples {
        let name = sample.split(['{', ' ']).next().expect("a name");
        let histogram = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
        let family = histogram.unwrap_or(name);
        assert!(has(&families, family) && has(&types, family), "{sample}");
    }
    assert_eq!(value(&response.text, r#"tintype_generations_total{model="null"}"#), Some(1.0));
}

#[tokio::test]
async fn metrics_require_an_admin_key() {
    let server = TestServer::keyed();
    let (name, customer) = server.key(Policy::default()).await;
    let (_, admin) = server.admin_key().await;
    server.send("GET", "/metrics", &[(name, &customer)]).await.assert_problem(403, "not-admin");
    assert_eq!(server.send("GET", "/metrics", &[(name, &admin)]).await.status(), 200);
}

#[tokio::test]
async fn unreadable_records_are_counted() {
    let server = TestServer::keyed();
    let (name, admin) = server.admin_key().await;
    let get = async |path| server.send("GET", path, &[(name, &admin)]).await;
    let count = async || value(&get("/metrics").await.text, "tintype_unreadable_records");
    assert_eq!(count().await, Some(0.0));
    let key = tintype_core::store::Key::new("keys/0123456789abcdef").expect("a key");
    let object = NewObject { bytes: "{".into(), content_type: "application/json".into() };
    server.ledger_store.put(&key, object).await.expect("written");
    let keys = get("/v1/keys").await;
    assert_eq!((keys.status().as_u16(), keys.json()["data"].as_array().map(Vec::len)), (200, Some(1)));
    assert_eq!(count().await, Some(1.0));
}
