//! Limits of size and time.

use std::sync::Arc;
use std::time::Duration;

use tintype_outbound::{OutboundError, OutboundRequest, Policy, Response};

use crate::server::{Answer, Server, client, client_for, policy};

/// The response of a server that gives this answer, with a limit of 1,000 bytes.
async fn fetch(answer: Answer) -> Result<Response, OutboundError> {
    let server = Server::start(move |_| answer.clone()).await;
    let policy = Policy { max_response_bytes: 1000, ..policy(&[&server]) };
    client(policy, Arc::default()).send(OutboundRequest::get(&server.url("http", "127.0.0.1", "/"))).await
}

fn with_length(length: usize, body: usize) -> Answer {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
    Answer::Bytes([head.into_bytes(), vec![b'x'; body]].concat())
}

fn until_close(body: usize) -> Answer {
    Answer::Bytes([b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b'x'; body]].concat())
}

#[tokio::test]
async fn a_body_of_the_limit_is_read() {
    for answer in [with_length(1000, 1000), until_close(1000)] {
        let response = fetch(answer).await.expect("a response").success().expect("a success");
        assert_eq!(response.bytes().await.expect("a body").len(), 1000);
    }
}

#[tokio::test]
async fn a_larger_body_is_refused_with_and_without_a_length() {
    let announced = fetch(with_length(1001, 0)).await;
    assert!(matches!(announced, Err(OutboundError::TooLarge { limit: 1000 })), "{announced:?}");
    for answer in [
        until_close(1001),
        Answer::Bytes(
            [
                b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3e9\r\n".to_vec(),
                vec![b'x'; 1001],
                b"\r\n0\r\n\r\n".to_vec(),
            ]
            .concat(),
        ),
        Answer::Endless(b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b'x'; 300], Duration::ZERO),
    ] {
        let body = fetch(answer).await.expect("a response").bytes().await;
        assert!(matches!(body, Err(OutboundError::TooLarge { limit: 1000 })), "{body:?}");
    }
}

#[tokio::test]
async fn a_compressed_body_is_not_decompressed() {
    let bomb =
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\n\x1f\x8b\x08\0".to_vec();
    let response = fetch(Answer::Bytes(bomb)).await.expect("a response");
    assert_eq!(response.headers()["content-encoding"], "gzip");
    assert_eq!(response.bytes().await.expect("a body"), &b"\x1f\x8b\x08\0"[..]);
}

#[tokio::test]
async fn a_flood_of_headers_is_refused() {
    let many = "x: y\r\n".repeat(101);
    let large = format!("x: {}\r\n", "y".repeat(200 << 10));
    for headers in [many, large] {
        let error = fetch(Answer::Bytes(format!("HTTP/1.1 200 OK\r\n{headers}\r\n").into_bytes())).await;
        assert!(matches!(error, Err(OutboundError::HeadersTooLarge)), "{error:?}");
    }
    let endless = Answer::Endless(b"HTTP/1.1 200 OK\r\n".to_vec(), b"x: y\r\n".repeat(50), Duration::ZERO);
    let error = fetch(endless).await;
    assert!(matches!(error, Err(OutboundError::HeadersTooLarge)), "{error:?}");
}

#[tokio::test]
async fn a_response_that_is_no_http_is_a_failed_connection() {
    for answer in [b"SSH-2.0-OpenSSH_9.9\r\n".to_vec(), Vec::new(), b"HTTP/1.1 200".to_vec()] {
        let error = fetch(Answer::Bytes(answer)).await;
        assert!(matches!(error, Err(OutboundError::Connection(_))), "{error:?}");
    }
    // The connection breaks within the body.
    let body = fetch(with_length(900, 10)).await.expect("a response").bytes().await;
    assert!(matches!(body, Err(OutboundError::Connection(_))), "{body:?}");
}

#[tokio::test]
async fn a_server_that_does_not_answer_times_out() {
    let server = Server::start(|_| Answer::Stall(Vec::new())).await;
    let (client, url) = (client_for(&server), server.url("http", "127.0.0.1", "/"));
    let sent = tokio::spawn(async move { client.send(OutboundRequest::get(&url)).await });
    server.received().await;
    tokio::time::pause();
    let error = sent.await.expect("no panic");
    assert!(matches!(error, Err(OutboundError::TimedOut)), "{error:?}");
}

#[tokio::test]
async fn a_body_that_stalls_times_out() {
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nx".to_vec();
    let mut response = fetch(Answer::Stall(head)).await.expect("a response");
    assert_eq!(response.chunk().await.expect("a part").as_deref(), Some(&b"x"[..]));
    tokio::time::pause();
    let error = response.chunk().await;
    assert!(matches!(error, Err(OutboundError::TimedOut)), "{error:?}");
}

#[tokio::test]
async fn a_body_in_drops_does_not_extend_the_time() {
    // One byte per second is never a silence, and never the limit of bytes.
    let head = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    let response = fetch(Answer::Endless(head, b"x".to_vec(), Duration::from_secs(1))).await;
    let response = response.expect("a response");
    tokio::time::pause();
    let error = response.bytes().await;
    assert!(matches!(error, Err(OutboundError::TimedOut)), "{error:?}");
}

#[tokio::test]
async fn redirects_share_the_time() {
    let server = Server::start(|path| match path {
        "/" => crate::server::redirect(302, "/stall"),
        _ => Answer::Stall(Vec::new()),
    })
    .await;
    let (client, url) = (client_for(&server), server.url("http", "127.0.0.1", "/"));
    let sent = tokio::spawn(async move { client.send(OutboundRequest::get(&url)).await });
    server.received().await;
    server.received().await;
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    let error = sent.await.expect("no panic");
    assert!(matches!(error, Err(OutboundError::TimedOut)), "{error:?}");
    assert!(began.elapsed() <= Policy::default().total_timeout + Duration::from_millis(1));
}
