//! Redirects are checked as the first URL is.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use tintype_outbound::{OutboundError, OutboundRequest, Policy, UrlProblem};

use crate::server::{Names, Server, client, client_for, ok, policy, redirect};

#[tokio::test]
async fn a_redirect_to_a_private_address_is_refused() {
    let secret = Server::start(|_| ok("secret")).await;
    let by_name = secret.url("http", "internal.test", "/");
    let by_address = secret.url("http", "127.0.0.1", "/");
    let metadata = "http://169.254.169.254/latest/meta-data/";
    for location in [by_name.as_str(), &by_address, metadata, "http://[::ffff:a9fe:a9fe]/"] {
        let to = location.to_owned();
        let server = Server::start(move |_| redirect(302, &to)).await;
        let names = Arc::new(Names::default().with("internal.test", &["127.0.0.1"]));
        // The port of the other server is allowed for public addresses.
        let policy = Policy { ports: vec![80, secret.address.port()], ..policy(&[&server]) };
        let error = client(policy, names)
            .send(OutboundRequest::get(&server.url("http", "127.0.0.1", "/")))
            .await
            .expect_err("a private address");
        assert!(matches!(error, OutboundError::ForbiddenAddress), "{location}: {error:?}");
        assert_eq!(server.requests().len(), 1);
    }
    assert!(secret.requests().is_empty());
}

#[tokio::test]
async fn each_redirect_resolves_anew_and_is_checked_anew() {
    let server = Server::start(|_| redirect(302, "/again")).await;
    let names = Arc::new(Names::default().with("a.test", &["127.0.0.1"]).with("a.test", &["10.0.0.1"]));
    let client = client(policy(&[&server]), names.clone());
    let error = client.send(OutboundRequest::get(&server.url("http", "a.test", "/"))).await.err();
    assert!(matches!(error, Some(OutboundError::ForbiddenAddress)), "{error:?}");
    assert_eq!((names.lookups().len(), server.requests().len()), (2, 1));
}

#[tokio::test]
async fn loops_end_at_the_limit() {
    let server = Server::start(|_| redirect(301, "/")).await;
    let error = client_for(&server).send(OutboundRequest::get(&server.url("http", "127.0.0.1", "/"))).await;
    assert!(matches!(error, Err(OutboundError::TooManyRedirects { limit: 5 })), "{error:?}");
    assert_eq!(server.requests().len(), 6);

    let policy = Policy { max_redirects: 0, ..policy(&[&server]) };
    let request = OutboundRequest::get(&server.url("http", "127.0.0.1", "/"));
    let error = client(policy, Arc::default()).send(request).await;
    assert!(matches!(error, Err(OutboundError::TooManyRedirects { limit: 0 })), "{error:?}");
}

#[tokio::test]
async fn other_schemes_and_user_names_are_refused_in_redirects() {
    for (location, problem) in [
        ("file:///etc/passwd", UrlProblem::Scheme),
        ("http://user:password@example.com/", UrlProblem::UserInfo),
        ("http://example.com:6379/", UrlProblem::Port(6379)),
        ("http://[/", UrlProblem::Malformed),
    ] {
        let server = Server::start(move |_| redirect(302, location)).await;
        let error =
            client_for(&server).send(OutboundRequest::get(&server.url("http", "127.0.0.1", "/"))).await;
        let found = match error {
            Err(OutboundError::InvalidUrl(found)) => Some(found),
            _ => None,
        };
        assert_eq!(found, Some(problem), "{location}");
    }
}

#[tokio::test]
async fn a_body_is_sent_again_only_after_307_and_308() {
    for (status, repeated) in [(301, false), (302, false), (303, false), (307, true), (308, true)] {
        let server = Server::start(move |path| match path {
            "/" => redirect(status, "/moved?x=1"),
            _ => ok("done"),
        })
        .await;
        let url = server.url("http", "127.0.0.1", "/#fragment");
        let json = HeaderValue::from_static("application/json");
        let request = OutboundRequest::post(&url, json, Bytes::from_static(b"{\"a\":1}"));
        let response = client_for(&server).send(request).await.expect("a response");
        assert_eq!(response.bytes().await.expect("a body"), "done");
        let requests = server.requests();
        assert!(requests[0].starts_with("POST / HTTP/1.1\r\n") && requests[0].ends_with("{\"a\":1}"));
        let method = if repeated { "POST" } else { "GET" };
        assert!(requests[1].starts_with(&format!("{method} /moved?x=1 HTTP/1.1\r\n")), "{}", requests[1]);
        assert_eq!(requests[1].ends_with("{\"a\":1}"), repeated, "{status}");
        assert_eq!(requests[1].contains("content-type"), repeated, "{status}");
    }
}

#[tokio::test]
async fn additional_headers_are_sent_to_the_same_origin_only() {
    let other = Server::start(|_| ok("other")).await;
    let to = other.url("http", "127.0.0.1", "/");
    let server = Server::start(move |path| match path {
        "/" => redirect(307, "/same"),
        _ => redirect(307, &to),
    })
    .await;
    let name = HeaderName::from_static("webhook-signature");
    let request = OutboundRequest::get(&server.url("http", "127.0.0.1", "/"))
        .with_header(name, HeaderValue::from_static("v1,abc"));
    client(policy(&[&server, &other]), Arc::default()).send(request).await.expect("a response");
    assert!(server.requests().iter().all(|request| request.contains("webhook-signature: v1,abc\r\n")));
    assert_eq!(server.requests().len(), 2);
    assert!(!other.requests()[0].contains("webhook-signature"), "{}", other.requests()[0]);
}

#[tokio::test]
async fn a_redirect_status_without_a_location_is_a_response() {
    let server = Server::start(|path| match path {
        "/" => crate::server::Answer::Bytes(b"HTTP/1.1 304 X\r\nlocation: /x\r\n\r\n".to_vec()),
        _ => crate::server::Answer::Bytes(b"HTTP/1.1 302 X\r\ncontent-length: 0\r\n\r\n".to_vec()),
    })
    .await;
    for (path, status) in [("/", 304), ("/x", 302)] {
        let request = OutboundRequest::get(&server.url("http", "127.0.0.1", path));
        let response = client_for(&server).send(request).await.expect("a response");
        assert_eq!(response.status().as_u16(), status);
        assert!(matches!(response.success(), Err(OutboundError::Status(found)) if found.as_u16() == status));
    }
}
