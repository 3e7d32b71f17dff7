//! Certificates belong to the name in the URL, not to the address.

use std::sync::Arc;

use tintype_outbound::{OutboundError, OutboundRequest, Policy, UrlProblem};

use crate::server::{Answer, Names, Server, client, ok, policy, redirect};

#[tokio::test]
async fn the_certificate_must_be_of_the_name() {
    let server = Server::start_tls(|_| ok("secure")).await;
    let names = Names::default().with("good.test", &["127.0.0.1"]).with("bad.test", &["127.0.0.1"]);
    let policy = Policy { allow_http: false, ..policy(&[&server]) };
    let client = client(policy, Arc::new(names));
    let response = client.send(OutboundRequest::get(&server.url("https", "good.test.", "/"))).await;
    assert_eq!(response.expect("a response").bytes().await.expect("a body"), "secure");
    for host in ["bad.test", "127.0.0.1"] {
        let error = client.send(OutboundRequest::get(&server.url("https", host, "/"))).await;
        assert!(matches!(error, Err(OutboundError::Connection(_))), "{host}: {error:?}");
    }
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn http_is_refused_by_default_and_after_https() {
    let plain = Server::start(|_| ok("plain")).await;
    let url = plain.url("http", "127.0.0.1", "/");
    let strict = Policy { allow_http: false, ..policy(&[&plain]) };
    let error = client(strict, Arc::default()).send(OutboundRequest::get(&url)).await;
    assert!(matches!(error, Err(OutboundError::InvalidUrl(UrlProblem::Scheme))), "{error:?}");

    let to = url.clone();
    let secure = Server::start_tls(move |_| redirect(302, &to)).await;
    let names = Arc::new(Names::default().with("good.test", &["127.0.0.1"]));
    let client = client(policy(&[&plain, &secure]), names);
    let error = client.send(OutboundRequest::get(&secure.url("https", "good.test", "/"))).await;
    assert!(matches!(error, Err(OutboundError::InsecureRedirect)), "{error:?}");
    assert!(plain.requests().is_empty());
}

#[tokio::test]
async fn a_handshake_that_stalls_times_out() {
    // A server without TLS that reads the handshake and answers nothing.
    let server = Server::start(|_| Answer::Stall(Vec::new())).await;
    let names = Arc::new(Names::default().with("good.test", &["127.0.0.1"]));
    let client = client(policy(&[&server]), names);
    tokio::time::pause();
    let error = client.send(OutboundRequest::get(&server.url("https", "good.test", "/"))).await;
    assert!(matches!(error, Err(OutboundError::TimedOut)), "{error:?}");
}
