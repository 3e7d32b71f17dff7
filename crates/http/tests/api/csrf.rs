//! Cross-site requests, prefetches and the `Host` header.

use tintype_http::{HostPolicy, RESERVED};
use tintype_ledger::policy::Policy;

use crate::{TestServer, settings_for};

#[tokio::test]
async fn prefetches_and_cross_site_requests_are_rejected() {
    let server = TestServer::new();
    for (header, value, kind) in [
        ("sec-purpose", "prefetch", Some("prefetch")),
        ("sec-purpose", "prefetch;prerender", Some("prefetch")),
        ("sec-purpose", "Prefetch; anonymous-client-ip", Some("prefetch")),
        ("purpose", "prefetch", Some("prefetch")),
        ("x-purpose", "preview", Some("prefetch")),
        ("x-moz", "prefetch", Some("prefetch")),
        ("sec-fetch-site", "cross-site", Some("cross-site")),
        ("sec-fetch-site", "same-origin", None),
        ("sec-fetch-site", "same-site", Some("cross-site")),
        ("origin", "http://evil.example", Some("cross-site")),
        ("origin", "http://localhost:3000", Some("cross-site")),
        ("origin", "null", Some("cross-site")),
        ("sec-fetch-site", "none", None),
        ("purpose", "art", None),
    ] {
        for path in ["/generate?prompt=x", "/?prompt=x"] {
            let response = server.send("GET", path, &[(header, value)]).await;
            match kind {
                Some(kind) => _ = response.assert_problem(403, kind),
                None => assert_eq!(response.status(), 200, "{header}: {value}"),
            }
        }
    }
    assert_eq!(server.engine.started(), 2 * 3);
    assert_eq!(server.send("GET", "/", &[("sec-fetch-site", "cross-site")]).await.status(), 200);
}

#[tokio::test]
async fn cross_site_requests_need_a_key() {
    let server = TestServer::new();
    let (name, key) = server.key(Policy::default()).await;
    let cross = ("sec-fetch-site", "cross-site");
    let id = "019aaf60-ac00-7000-8000-000000000000";
    for (method, path) in [
        ("POST", "/v1/images".to_owned()),
        ("POST", format!("/v1/images/{id}/cancel")),
        ("DELETE", format!("/v1/images/{id}")),
        ("POST", "/v1/keys".to_owned()),
    ] {
        server.send(method, &path, &[cross]).await.assert_problem(403, "cross-site");
        let with_key = server.send(method, &path, &[cross, (name, &key)]).await;
        assert!([404, 415].contains(&with_key.status().as_u16()), "{method} {path}: {}", with_key.text);
    }
    assert_eq!(server.send("GET", "/generate?prompt=x", &[cross, (name, &key)]).await.status(), 200);
    assert_eq!(server.send("GET", "/v1/images", &[cross]).await.status(), 200);
}

#[tokio::test]
async fn on_loopback_only_local_names_are_served() {
    let public = Some("pictures.example".parse().expect("an authority"));
    let server = TestServer::new().settings(settings_for(HostPolicy::Loopback { port: 8080, public }));
    for path in ["/healthz", "/generate?prompt=x", "/nothing"] {
        for (headers, served) in [
            (&[("host", "localhost:8080")][..], true),
            (&[("host", "127.0.0.1:8080")], true),
            (&[("host", "[::1]:8080")], true),
            (&[("host", "bucket.localhost:8080")], true),
            (&[("host", "pictures.example")], true),
            (&[("host", "evil.example")], false),
            (&[("host", "evil.example:8080")], false),
            (&[("host", "localhost:8081")], false),
            (&[("host", "not a host")], false),
            (&[("host", "localhost:8080"), ("host", "evil.example")], false),
            (&[], false),
        ] {
            let response = server.send("GET", path, headers).await;
            if served {
                assert_ne!(response.status(), 421, "{headers:?}");
            } else {
                response.assert_problem(421, "wrong-host");
            }
        }
    }
    // HTTP/2 and proxies put the host into the request line.
    assert_eq!(server.get("http://localhost:8080/healthz").await.status(), 200);
    server
        .send("GET", "http://evil.example/healthz", &[("host", "localhost:8080")])
        .await
        .assert_problem(421, "wrong-host");
}

#[tokio::test]
async fn a_forwarded_request_needs_a_key_on_loopback() {
    let server = TestServer::new().settings(settings_for(HostPolicy::Loopback { port: 8080, public: None }));
    let (name, key) = server.key(Policy::default()).await;
    let host = ("host", "localhost:8080");
    for proxy in ["forwarded", "x-forwarded-for", "x-real-ip", "via"] {
        let response = server.send("GET", "/generate?prompt=x", &[host, (proxy, "192.0.2.1")]).await;
        response.assert_problem(401, "unauthenticated");
        let with_key = [host, (proxy, "192.0.2.1"), (name, &key)];
        assert_eq!(server.send("GET", "/generate?prompt=x", &with_key).await.status(), 200, "{proxy}");
    }
    assert_eq!(server.send("GET", "/generate?prompt=x", &[host]).await.status(), 200);
}

#[test]
fn reserved_names_are_sorted_and_cover_every_route() {
    assert!(RESERVED.is_sorted());
    for name in ["generate", "v1", "ping", "invocations", "endpoints", "healthz", "readyz", "metrics"] {
        assert!(RESERVED.contains(&name), "{name}");
    }
}
