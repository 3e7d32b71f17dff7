//! Web pages of other origins: preflight requests, responses, and the checks that they replace.

use axum::body::Body;
use axum::http::Request;
use serde_json::json;
use tintype_http::{CorsPolicy, HostPolicy, HttpSettings};
use tintype_ledger::policy::Policy;
use tintype_service::{AnonymousAccess, ServiceSettings};
use tintype_testing::{Fault, NullEngine};

use crate::{SECOND, TestResponse, TestServer, settings_for};

const PAGE: &str = "https://app.example";

fn policy(origins: &str) -> CorsPolicy {
    origins.parse().expect("origins")
}

impl TestServer {
    fn with_cors(self, origins: &str) -> Self {
        self.settings(HttpSettings { cors: policy(origins), ..settings_for(HostPolicy::Any) })
    }
}

fn allowed(response: &TestResponse) -> Option<&str> {
    response.header("access-control-allow-origin")
}

fn preflight<'a>(origin: &'a str, method: &'a str) -> [(&'a str, &'a str); 3] {
    [
        ("origin", origin),
        ("access-control-request-method", method),
        ("access-control-request-headers", "authorization,content-type,idempotency-key,prefer"),
    ]
}

#[tokio::test]
async fn without_the_setting_no_page_can_read_responses() {
    let server = TestServer::new();
    for method in ["GET", "OPTIONS"] {
        let response = server.send(method, "/v1/images", &preflight(PAGE, "POST")).await;
        assert!(response.head.headers().keys().all(|name| !name.as_str().starts_with("access-control")));
        assert_eq!(response.header("vary"), None);
    }
}

#[tokio::test]
async fn a_preflight_request_needs_no_key() {
    let server = TestServer::keyed().with_cors("https://other.example, https://app.example");
    for path in ["/v1/images", "/v1/images/generations", "/v1/keys", "/generate", "/nothing"] {
        let response = server.send("OPTIONS", path, &preflight(PAGE, "POST")).await;
        assert_eq!((response.status().as_u16(), response.text.as_str()), (204, ""), "{path}");
        assert_eq!(allowed(&response), Some(PAGE));
        assert_eq!(response.header("access-control-allow-methods"), Some("GET, HEAD, POST, DELETE"));
        let headers = response.header("access-control-allow-headers");
        assert_eq!(headers, Some("authorization,content-type,idempotency-key,prefer"));
        assert_eq!(response.header("access-control-max-age"), Some("7200"));
        assert_eq!(response.header("access-control-allow-credentials"), None);
        assert_eq!(response.header("vary"), Some("Origin"));
        assert!(response.header("x-request-id").is_some());
    }
}

#[tokio::test]
async fn other_origins_and_other_requests_get_no_permission() {
    let server = TestServer::new().with_cors(PAGE);
    for origin in [
        "null",
        "https://app.example.evil",
        "http://app.example",
        "https://app.example:8443",
        "https://APP.example",
        "",
        "*",
    ] {
        let response = server.send("OPTIONS", "/v1/images", &preflight(origin, "POST")).await;
        assert_eq!((response.status().as_u16(), allowed(&response)), (405, None), "{origin}");
        let response = server.send("GET", "/v1/images", &[("origin", origin)]).await;
        assert_eq!((allowed(&response), response.header("vary")), (None, Some("Origin")), "{origin}");
    }
    // Not preflight requests, or for a method that the API does not have.
    for headers in [&[][..], &[("origin", PAGE)], &[("access-control-request-method", "POST")]] {
        assert_eq!(server.send("OPTIONS", "/v1/images", headers).await.status(), 405, "{headers:?}");
    }
    assert_eq!(server.send("OPTIONS", "/v1/images", &preflight(PAGE, "TRACE")).await.status(), 405);
    // One of two origins is not allowed.
    let both = [("origin", PAGE), ("origin", "https://evil.example")];
    assert_eq!(allowed(&server.send("GET", "/v1/images", &both).await), None);
}

#[tokio::test(start_paused = true)]
async fn all_responses_can_be_read_also_those_of_errors() {
    let server = TestServer::keyed().with_cors(PAGE);
    let (name, key) = server.key(serde_json::from_value(json!({"rate": "2/hour"})).expect("limits")).await;
    let origin = ("origin", PAGE);
    let created = server.post(&json!({"prompt": "x"}), &[origin, (name, &key)]).await;
    assert_eq!((created.status().as_u16(), allowed(&created)), (201, Some(PAGE)));
    let exposed = created.header("access-control-expose-headers").expect("a list").to_owned();
    for header in ["location", "ratelimit", "ratelimit-policy", "x-request-id"] {
        assert!(created.header(header).is_some() && exposed.contains(header), "{header}");
    }
    for header in ["retry-after", "idempotency-replayed", "preference-applied", "x-should-retry"] {
        assert!(exposed.split(", ").any(|one| one == header), "{header}");
    }
    let content = server
        .send(
            "GET",
            &format!("{}/content", created.header("location").expect("a path")),
            &[origin, (name, &key)],
        )
        .await;
    assert_eq!((content.status().as_u16(), allowed(&content)), (302, Some(PAGE)));
    server.post(&json!({"prompt": "y"}), &[origin, (name, &key)]).await;
    let large = Request::post("/v1/images").header("origin", PAGE).header(name, &key);
    let large = large.header("content-type", "application/json").body(Body::from(vec![b' '; 70_000]));
    for (response, status) in [
        (server.send("GET", "/v1/images", &[origin]).await, 401),
        (server.send("GET", "/nothing", &[origin]).await, 404),
        (server.send("PUT", "/v1/images", &[origin]).await, 405),
        (server.request(large.expect("a request")).await, 413),
        (server.post(&json!({"prompt": "z"}), &[origin, (name, &key)]).await, 429),
        (
            server.send_json("/v1/images/generations", &json!({"prompt": ""}), &[origin, (name, &key)]).await,
            400,
        ),
    ] {
        assert_eq!(
            (response.status().as_u16(), allowed(&response)),
            (status, Some(PAGE)),
            "{}",
            response.text
        );
        assert!(response.header("access-control-expose-headers").is_some());
    }
    let settings = ServiceSettings::default();
    let broken = TestServer::with(settings, NullEngine::new(SECOND).with_fault(Fault::Error)).with_cors(PAGE);
    let response = broken.post(&json!({"prompt": "x"}), &[origin]).await;
    assert_eq!((response.status().as_u16(), allowed(&response)), (500, Some(PAGE)));
    let strict = HostPolicy::Loopback { port: 8080, public: None };
    let strict = TestServer::new().settings(HttpSettings { cors: policy(PAGE), ..settings_for(strict) });
    let wrong_host = [origin, ("host", "evil.example"), ("access-control-request-method", "POST")];
    let response = strict.send("OPTIONS", "/v1/images", &wrong_host).await;
    assert_eq!(response.status(), 421, "the host is checked before the preflight request is answered");
}

#[tokio::test]
async fn a_listed_origin_is_trusted_like_the_server_s_own() {
    let server = TestServer::new().with_cors(PAGE);
    let page = [("origin", PAGE), ("sec-fetch-site", "cross-site")];
    assert_eq!(server.post(&json!({"prompt": "x"}), &page).await.status(), 201);
    assert_eq!(server.send("GET", "/generate?prompt=x", &page).await.status(), 200);
    for other in [
        &[("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")][..],
        &[("sec-fetch-site", "cross-site")],
        &[("origin", PAGE), ("origin", "https://evil.example")],
        &[("origin", "null")],
    ] {
        server.post(&json!({"prompt": "x"}), other).await.assert_problem(403, "cross-site");
        server.send("GET", "/generate?prompt=x", other).await.assert_problem(403, "cross-site");
    }
    let prefetch = [("origin", PAGE), ("sec-purpose", "prefetch")];
    server.send("GET", "/generate?prompt=x", &prefetch).await.assert_problem(403, "prefetch");
    // A key remains necessary where one is necessary.
    let keyed = TestServer::keyed().with_cors(PAGE);
    keyed.post(&json!({"prompt": "x"}), &page).await.assert_problem(401, "unauthenticated");
}

#[tokio::test]
async fn a_page_of_any_origin_needs_a_key_for_everything() {
    let server = TestServer::new().with_cors("*");
    let (name, key) = server.key(Policy::default()).await;
    let page = ("origin", "https://evil.example");
    for path in ["/v1/images", "/v1/usage", "/metrics", "/v1/keys", "/v1/models", "/generate?prompt=x"] {
        let response = server.send("GET", path, &[page]).await;
        assert_eq!((response.status().as_u16(), allowed(&response)), (403, Some("*")), "{path}");
    }
    server.post(&json!({"prompt": "x"}), &[page]).await.assert_problem(403, "cross-site");
    server.post(&json!({"prompt": "x"}), &[("origin", "null")]).await.assert_problem(403, "cross-site");
    let created = server.post(&json!({"prompt": "x"}), &[page, (name, &key)]).await;
    assert_eq!((created.status().as_u16(), allowed(&created)), (201, Some("*")));
    let listed = server.send("GET", "/v1/images", &[page, (name, &key)]).await;
    assert_eq!((listed.status().as_u16(), listed.header("vary")), (200, None));
    assert_eq!(
        server.send("OPTIONS", "/v1/images", &preflight("https://evil.example", "DELETE")).await.status(),
        204
    );
    // Clients that are not pages of another origin need none, as before.
    assert_eq!(server.get("/v1/images").await.status(), 200);
    assert_eq!(allowed(&server.get("/v1/images").await), Some("*"));
    let own = [("origin", "http://localhost:8080"), ("host", "localhost:8080")];
    assert_eq!(server.send("GET", "/v1/images", &own).await.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_page_can_follow_a_job_with_its_events_url() {
    let settings = ServiceSettings { anonymous: AnonymousAccess::Denied, ..ServiceSettings::default() };
    let server = TestServer::with(settings, NullEngine::new(SECOND)).with_cors("*");
    let (name, key) = server.key(Policy::default()).await;
    let page = ("origin", "https://app.example");
    let accepted =
        server.post(&json!({"prompt": "x"}), &[page, (name, &key), ("prefer", "respond-async")]).await;
    let url = accepted.json()["events_url"].as_str().expect("a URL").to_owned();
    let path = url.strip_prefix(crate::ORIGIN).expect("an absolute URL");
    let events = server.send("GET", path, &[page, ("sec-fetch-site", "cross-site")]).await;
    assert_eq!((events.status().as_u16(), allowed(&events)), (200, Some("*")));
    assert!(events.text.contains("event: succeeded"), "{}", events.text);
}
