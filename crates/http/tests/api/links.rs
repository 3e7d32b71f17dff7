//! Warnings about links that cannot work for the client.

use std::time::Duration;

use serde_json::{Value, json};
use tintype_http::{HostPolicy, HttpSettings};

use crate::{TestServer, settings_for};

/// A server that does not know the origin that its clients use.
fn without_public_url() -> TestServer {
    let origin = "http://localhost:8080".to_owned();
    let server = TestServer::new().settings(HttpSettings { origin, ..settings_for(HostPolicy::Any) });
    // The links are then on the server's own origin.
    server.store.limit_url_lifetime(Duration::from_secs(1));
    server
}

fn codes(body: &Value) -> Vec<&str> {
    let warnings = body["warnings"].as_array().expect("warnings");
    warnings.iter().map(|warning| warning["code"].as_str().expect("a code")).collect()
}

#[tokio::test]
async fn every_response_with_links_warns_a_client_that_cannot_open_them() {
    let server = without_public_url();
    for (host, expected) in [("images.example", vec!["unreachable_link"]), ("localhost:8080", vec![])] {
        let host = ("host", host);
        let made = server.send("GET", "/generate?prompt=x", &[host]).await.json();
        assert_eq!(codes(&made), expected);
        let path = format!("/v1/images/{}", made["id"].as_str().expect("an id"));
        let created = server.post(&json!({"prompt": "y"}), &[host]).await.json();
        let read = server.send("GET", &path, &[host]).await.json();
        let listed = server.send("GET", "/v1/images", &[host]).await.json()["data"][0].clone();
        let events = server.send("GET", &format!("{path}/events"), &[host]).await.text;
        let event = events.lines().find_map(|line| line.strip_prefix("data: ")).expect("an event");
        let event = serde_json::from_str(event).expect("JSON");
        let request = json!({"prompt": "z", "response_format": "url"});
        let openai = server.send_json("/v1/images/generations", &request, &[host]).await.json();
        for body in [created, read, listed, event, openai] {
            assert_eq!(codes(&body), expected, "{body}");
        }
        // Without links, there is nothing to warn about.
        let request = json!({"prompt": "z", "response_format": "b64_json"});
        let files = server.send_json("/v1/images/generations", &request, &[host]).await.json();
        assert_eq!(codes(&files), [""; 0]);
    }
}

#[tokio::test]
async fn refusals_name_the_settings_that_fix_them() {
    let local = HostPolicy::Loopback { port: 8080, public: None };
    let server = TestServer::new().settings(settings_for(local));
    let host = ("host", "localhost:8080");
    let keyed = TestServer::keyed();
    for (response, parts) in [
        (server.send("GET", "/v1/images", &[("host", "images.example")]).await, &["--public-url"][..]),
        (
            server.send("GET", "/v1/images", &[host, ("x-forwarded-for", "192.0.2.1")]).await,
            &["tintype keys create", "`public_url`", "`allow_anonymous`"],
        ),
        (
            server.send("GET", "/generate?prompt=x", &[host, ("origin", "app://electron")]).await,
            &["tintype keys create", "`public_url`"],
        ),
        (keyed.get("/v1/images").await, &["tintype keys create", "`allow_anonymous`"]),
    ] {
        let detail = response.json()["detail"].as_str().expect("a detail").to_owned();
        for part in parts {
            assert!(detail.contains(part), "{part}: {detail}");
        }
    }
}

/// With a public URL, the proxy in front of the server is expected.
#[tokio::test]
async fn a_forwarded_request_is_served_if_the_operator_allows_it() {
    let public = Some("images.example".parse().expect("an authority"));
    let server = TestServer::new().settings(settings_for(HostPolicy::Loopback { port: 8080, public }));
    let headers = [("host", "images.example"), ("x-forwarded-for", "192.0.2.1")];
    assert_eq!(server.send("GET", "/generate?prompt=x", &headers).await.status(), 200);
}
