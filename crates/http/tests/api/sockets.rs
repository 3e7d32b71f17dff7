//! Behavior of the HTTP library, over real connections.

use std::net::SocketAddr;
use std::time::Duration;

use tintype_service::ServiceSettings;
use tintype_testing::NullEngine;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use crate::TestServer;

/// Serves on a free port until the test's runtime ends.
async fn serve(server: &TestServer) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(axum::serve(listener, server.router.clone()).into_future());
    address
}

/// Sends a request and reads until the server closes the connection.
async fn exchange(address: SocketAddr, request: &str) -> String {
    let mut connection = TcpStream::connect(address).await.expect("a connection");
    connection.write_all(request.as_bytes()).await.expect("sent");
    let mut response = Vec::new();
    connection.read_to_end(&mut response).await.expect("an answer");
    String::from_utf8(response).expect("UTF-8")
}

/// The clock is real, but the test does not wait: the first image would take 30 s.
#[tokio::test]
async fn a_closed_connection_stops_its_job() {
    let settings = ServiceSettings { abandon_after: Duration::ZERO, ..ServiceSettings::default() };
    let server = TestServer::with(settings, NullEngine::new(Duration::from_millis(200)));
    let address = serve(&server).await;
    let mut first = TcpStream::connect(address).await.expect("a connection");
    first.write_all(b"GET /generate?prompt=x&steps=150 HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("sent");
    while server.engine.started() == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    drop(first);

    let request = "GET /generate?prompt=y&steps=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let response = exchange(address, request).await;
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
    assert_eq!((server.engine.started(), server.engine.finished()), (2, 1));
}

#[tokio::test]
async fn requests_that_are_too_large_are_rejected_unread() {
    let server = TestServer::new();
    let address = serve(&server).await;
    for (request, status) in [
        (format!("GET /generate?prompt={} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(65_536)), "414"),
        (format!("GET /healthz HTTP/1.1\r\nHost: x\r\n{}\r\n", "a: b\r\n".repeat(200)), "431"),
    ] {
        let response = exchange(address, &request).await;
        assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{response}");
    }
    assert_eq!(server.engine.started(), 0);
}

#[tokio::test]
async fn events_arrive_as_they_happen_and_end_with_the_server() {
    let server = TestServer::with(ServiceSettings::default(), NullEngine::new(Duration::from_millis(200)));
    let address = serve(&server).await;
    let body = r#"{"prompt":"x","steps":150}"#;
    let started = exchange(
        address,
        &format!(
            "POST /v1/images HTTP/1.1\r\nHost: x\r\nPrefer: respond-async\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        ),
    )
    .await;
    assert!(started.starts_with("HTTP/1.1 202 Accepted\r\n"), "{started}");
    let job = started.lines().find_map(|line| line.strip_prefix("location: ")).expect("a path");

    let mut connection = TcpStream::connect(address).await.expect("a connection");
    let request = format!("GET {job}/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await.expect("sent");
    let (mut received, mut piece) = (String::new(), [0; 4_096]);
    while !received.contains("event: progress") {
        let length = connection.read(&mut piece).await.expect("more");
        assert!(length > 0, "{received}");
        received.push_str(std::str::from_utf8(&piece[..length]).expect("ASCII"));
    }
    assert!(server.engine.finished() == 0 && received.contains("event: started"), "{received}");
    server.service.drain(Duration::ZERO).await;
    connection.read_to_string(&mut received).await.expect("an end");
    assert!(received.ends_with("\r\n0\r\n\r\n") && !received.contains("event: succeeded"), "{received}");
}
