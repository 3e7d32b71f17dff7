//! A client that goes away stops its work: by dropping the future, and over a socket.

use std::time::Duration;

use tintype_core::testing::NullEngine;
use tintype_service::ServiceSettings;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use crate::Bench;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_dropped_request_stops_its_work() {
    let bench = Bench::with(ServiceSettings::default(), NullEngine::new(SECOND));
    let hung_up = timeout(SECOND * 5, bench.get("/generate?prompt=x&steps=100")).await;
    assert!(hung_up.is_err(), "it takes 100 s");
    // Nobody joins within 10 s; the next one's turn comes long before the first would be done.
    let next = timeout(SECOND * 20, bench.get("/generate?prompt=y&steps=1")).await.expect("its turn");
    assert_eq!((next.status().as_u16(), bench.engine.started(), bench.engine.finished()), (200, 2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_retry_joins_the_work_of_the_first_try() {
    let bench = Bench::with(ServiceSettings::default(), NullEngine::new(SECOND));
    let path = "/generate?prompt=x&steps=30";
    assert!(timeout(SECOND * 25, bench.get(path)).await.is_err(), "it takes 30 s");
    let answer = timeout(SECOND * 6, bench.get(path)).await.expect("the rest of it");
    assert_eq!((answer.status().as_u16(), bench.engine.started()), (200, 1));
}

/// Over a real connection, where it is the server's library that must notice. The clock runs; nothing waits for it: the
/// engine would never be done.
#[tokio::test]
async fn a_closed_connection_stops_its_work() {
    let settings = ServiceSettings { abandon_after: Duration::ZERO, ..ServiceSettings::default() };
    let bench = Bench::with(settings, NullEngine::new(Duration::from_millis(200)));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let server = tokio::spawn(axum::serve(listener, bench.router.clone()).into_future());

    let mut first = TcpStream::connect(address).await.expect("a connection");
    first.write_all(b"GET /generate?prompt=x&steps=150 HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("sent");
    while bench.engine.started() == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    drop(first);

    let mut second = TcpStream::connect(address).await.expect("a connection");
    let request = b"GET /generate?prompt=y&steps=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    second.write_all(request).await.expect("sent");
    let mut answer = String::new();
    second.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert_eq!((bench.engine.started(), bench.engine.finished()), (2, 1));
    server.abort();
}
