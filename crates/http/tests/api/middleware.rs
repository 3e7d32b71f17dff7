//! The headers of every response.

use uuid::Uuid;

use crate::TestServer;

/// One path for each kind of response.
const PATHS: [&str; 6] = ["/", "/healthz", "/readyz", "/generate?prompt=x", "/generate", "/nothing"];

#[tokio::test]
async fn every_response_has_a_request_id() {
    let server = TestServer::new();
    for path in PATHS {
        let response = server.get(path).await;
        let own = response.header("x-request-id").expect("an id");
        assert!(Uuid::parse_str(own).is_ok(), "{own}");
        for (sent, kept) in
            [("req_1-abc", true), (&*"x".repeat(128), true), (&*"x".repeat(129), false), ("a b", false)]
        {
            let response = server.send("GET", path, &[("x-request-id", sent)]).await;
            assert_eq!(response.header("x-request-id") == Some(sent), kept, "{path} {sent}");
        }
    }
    let refused = server.send("POST", "/healthz", &[("x-request-id", "mine")]).await;
    assert_eq!(refused.assert_problem(405, "method-not-allowed")["request_id"], "mine");
}

#[tokio::test]
async fn no_response_is_cached_sniffed_or_shared() {
    let server = TestServer::new();
    for path in PATHS {
        let response = server.send("GET", path, &[("origin", "https://evil.example")]).await;
        for (name, value) in [
            ("cache-control", Some("no-store")),
            ("x-content-type-options", Some("nosniff")),
            ("referrer-policy", Some("no-referrer")),
            ("content-security-policy", Some("default-src 'none'; frame-ancestors 'none'")),
            ("access-control-allow-origin", None),
        ] {
            assert_eq!(response.header(name), value, "{name} of {path}");
        }
    }
}

#[tokio::test]
async fn a_panicking_handler_gets_a_response() {
    let server = TestServer::new();
    server.store.panic_at_links();
    let response = server.get("/generate?prompt=x").await;
    response.assert_problem(500, "internal");
    assert!(!response.text.contains("secret"), "{}", response.text);
}
