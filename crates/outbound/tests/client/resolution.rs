//! Addresses are checked, and connections are made to the checked addresses only.

use std::error::Error;
use std::sync::Arc;

use tintype_outbound::{OutboundError, OutboundRequest, Policy};

use crate::server::{Names, Server, client, ok, policy};

#[tokio::test]
async fn special_addresses_are_refused_in_every_notation() {
    let server = Server::start(|_| ok("secret")).await;
    let port = server.address.port();
    // The port is allowed, but not with these addresses.
    let policy = Policy { allow_http: true, ports: vec![port, 80, 443], ..Policy::default() };
    let client = client(policy, Arc::default());
    for host in [
        "127.0.0.1",
        "127.0.0.1.",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "127.1",
        "0",
        "①②⑦.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "169.254.169.254",
        "[fd00:ec2::254]",
        "10.0.0.1",
        "100.100.100.200",
        "[fe80::1]",
        "192.168.1.1",
        "224.0.0.1",
    ] {
        let error = client.send(OutboundRequest::get(&server.url("http", host, "/"))).await.err();
        assert!(matches!(error, Some(OutboundError::ForbiddenAddress)), "{host}: {error:?}");
    }
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn a_name_with_a_private_address_is_refused() {
    let server = Server::start(|_| ok("secret")).await;
    for addresses in [
        &["10.0.0.1"][..],
        &["fd00::1"],
        &["127.0.0.2"],
        // An allowed address does not make up for another one.
        &["127.0.0.1", "10.0.0.1"],
        &["10.0.0.1", "127.0.0.1"],
        &["93.184.216.34", "::1"],
    ] {
        let names = Arc::new(Names::default().with("a.test", addresses));
        let client = client(policy(&[&server]), names);
        let error = client.send(OutboundRequest::get(&server.url("http", "a.test", "/"))).await;
        let error = error.expect_err("a private address");
        assert!(matches!(error, OutboundError::ForbiddenAddress), "{addresses:?}: {error:?}");
        let text = error.to_string();
        assert!(addresses.iter().all(|address| !text.contains(address)), "{text}");
    }
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn a_second_answer_of_the_name_server_has_no_effect() {
    let server = Server::start(|_| ok("public")).await;
    // The first answer is allowed, as a public one would be; the second one is not.
    let names = Arc::new(Names::default().with("a.test", &["127.0.0.1"]).with("a.test", &["127.0.0.2"]));
    let client = client(policy(&[&server]), names.clone());
    let url = server.url("http", "a.test", "/");
    let response = client.send(OutboundRequest::get(&url)).await.expect("a response");
    assert_eq!(response.bytes().await.expect("a body"), "public");
    assert_eq!(names.lookups(), ["a.test"], "one lookup for one connection");
    let error = client.send(OutboundRequest::get(&url)).await.err();
    assert!(matches!(error, Some(OutboundError::ForbiddenAddress)), "{error:?}");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn the_next_address_is_tried_if_the_first_refuses() {
    let server = Server::start(|_| ok("here")).await;
    let mut policy = policy(&[&server]);
    // Nothing listens there: a server of this process has the port at another address only.
    policy.allowed_addresses.push((std::net::Ipv4Addr::new(127, 0, 0, 2), server.address.port()).into());
    let names = Arc::new(Names::default().with("a.test", &["127.0.0.2", "127.0.0.1"]));
    let response =
        client(policy, names).send(OutboundRequest::get(&server.url("http", "A.test.", "/"))).await;
    assert_eq!(response.expect("a response").bytes().await.expect("a body"), "here");
    assert!(server.requests()[0].contains(&format!("host: a.test:{}\r\n", server.address.port())));
}

#[tokio::test]
async fn names_that_do_not_resolve_are_reported_without_details() {
    let server = Server::start(|_| ok("")).await;
    let names = Arc::new(Names::default().with("empty.test", &[]));
    let client = client(policy(&[&server]), names);
    for host in ["empty.test", "unknown.test"] {
        let error = client.send(OutboundRequest::get(&server.url("http", host, "/"))).await;
        let error = error.expect_err("no address");
        assert!(matches!(error, OutboundError::Unresolvable(_)), "{error:?}");
        assert_eq!(error.to_string(), "the host name cannot be resolved");
        let cause = error.source().map(ToString::to_string);
        assert_eq!(
            cause.is_some_and(|cause| cause.contains("10.9.8.7")),
            host == "unknown.test",
            "for the log"
        );
    }
}
