//! Early responses, timeouts and limits of connections, over real sockets.

use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncBufReadExt, BufReader};

use super::*;

/// A raw connection to a server.
struct Connection(BufReader<TcpStream>);

/// A response on a raw connection.
struct RawResponse {
    head: String,
    body: String,
}

impl RawResponse {
    fn status(&self) -> &str {
        self.head.get(9..12).unwrap_or_default()
    }

    /// Checks that the response is a problem with a request id, and returns its detail.
    fn detail(&self) -> String {
        assert!(self.head.contains("content-type: application/problem+json\r\n"), "{}", self.head);
        let body: Value = serde_json::from_str(&self.body).expect("JSON");
        let id = body["request_id"].as_str().expect("an id");
        assert!(self.head.contains(&format!("x-request-id: {id}\r\n")), "{}", self.head);
        body["detail"].as_str().expect("a detail").to_owned()
    }
}

impl Connection {
    async fn open(server: &Fixture) -> Self {
        let address = server.url.trim_start_matches("http://");
        Self(BufReader::new(TcpStream::connect(address).await.expect("a connection")))
    }

    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.expect("sent");
    }

    /// Reads a response with `Content-Length`.
    async fn response(&mut self) -> RawResponse {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let read = self.0.read_line(&mut head).await.expect("a line");
            assert!(read > 0, "the connection ended: {head}");
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().expect("a length"))];
        self.0.read_exact(&mut body).await.expect("a body");
        RawResponse { head, body: String::from_utf8(body).expect("UTF-8") }
    }

    /// Waits until the server closes the connection.
    async fn end(mut self) {
        let mut rest = Vec::new();
        // A reset is an end, too.
        let _ = self.0.read_to_end(&mut rest).await;
        assert!(rest.is_empty(), "{}", rest.escape_ascii());
    }
}

const GET: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// The requests that are refused by their headers, and their statuses.
fn refused(server: &Fixture) -> [(String, &'static str); 5] {
    let host = server.url.trim_start_matches("http://");
    let request = |line: &str, host: &str, content_type: &str| {
        format!(
            "{line} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {content_type}\r\nContent-Length: 3000000\r\n\r\n"
        )
    };
    [
        (request("POST /v1/nothing", host, "application/json"), "404"),
        (request("PUT /v1/images", host, "application/json"), "405"),
        (request("POST /v1/images", host, "text/plain"), "415"),
        (request("POST /v1/images", "images.example", "application/json"), "421"),
        (request("PUT /tintype/x.jpg", host, "image/jpeg"), "403"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_still_sending_gets_the_response_and_can_reuse_the_connection() {
    let server = ready(&[]).await;
    let host = server.url.trim_start_matches("http://");
    for (request, status) in refused(&server) {
        let mut connection = Connection::open(&server).await;
        connection.send(&request).await;
        let response = connection.response().await;
        assert_eq!(response.status(), status, "{request}");
        assert!(!response.head.contains("connection: close"), "{}", response.head);
        // Without the rest, the server would take these bytes for the next request.
        for _ in 0..30 {
            connection.send([b'x'; 100_000]).await;
        }
        connection.send(format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!(connection.response().await.status(), "200", "after {request}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_large_to_discard_closes_the_connection_after_the_response() {
    let server = ready(&[("TINTYPE_DRAIN_BYTES", "1MB"), ("TINTYPE_DRAIN_TIME", "1s")]).await;
    for (request, status) in refused(&server) {
        let mut connection = Connection::open(&server).await;
        connection.send(&request).await;
        let response = connection.response().await;
        assert_eq!(response.status(), status, "{request}");
        assert!(response.head.contains("connection: close\r\n"), "{}", response.head);
        for _ in 0..9 {
            connection.send([b'x'; 100_000]).await;
        }
        connection.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_arrive_is_not_awaited_for_long() {
    let server = ready(&[("TINTYPE_DRAIN_TIME", "100ms")]).await;
    let (request, status) = refused(&server).into_iter().next().expect("one");
    let mut connection = Connection::open(&server).await;
    connection.send(&request).await;
    assert_eq!(connection.response().await.status(), status);
    connection.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unused_connection_ends_after_the_keep_alive_time() {
    let server = ready(&[("TINTYPE_KEEP_ALIVE", "1s")]).await;
    let unused = Connection::open(&server).await;
    let mut used = Connection::open(&server).await;
    let host = server.url.trim_start_matches("http://");
    used.send(GET.replace("localhost", host)).await;
    assert_eq!(used.response().await.status(), "200");
    used.end().await;
    unused.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn incomplete_headers_get_a_problem() {
    let server = ready(&[("TINTYPE_HEADER_TIMEOUT", "1s")]).await;
    for start in ["G", "GET /healthz HTTP/1.1\r\nHost: x\r\nA: "] {
        let mut connection = Connection::open(&server).await;
        connection.send(start).await;
        let response = connection.response().await;
        assert_eq!(response.status(), "408");
        assert!(response.detail().contains("header_timeout"), "{}", response.body);
        connection.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_get_a_problem_with_a_request_id() {
    let server = ready(&[]).await;
    let get = |target: &[u8]| [b"GET ", target, b" HTTP/1.1\r\nHost: localhost\r\n\r\n"].concat();
    for (request, status, text) in [
        (get(b"/generate?prompt=\"tiger\""), "400", "`%22`"),
        (get(b"/generate?prompt=<tiger>"), "400", "`%3C`"),
        (get(b"/generate?prompt=caf\xe9"), "400", "`%E9`"),
        (get(b"/generate?prompt=a tiger"), "400", "`%20`"),
        (get(b"/generate?prompt=\xc0\xcf\xbb\xa2"), "400", "`%C0`"),
        (b"GET /healthz HTTP/1.1\r\nbroken header\r\n\r\n".to_vec(), "400", "malformed"),
        (get(format!("/generate?prompt={}", "x".repeat(70_000)).as_bytes()), "414", "65,534"),
        (
            format!("GET /healthz HTTP/1.1\r\nHost: x\r\n{}\r\n", "a: b\r\n".repeat(100)).into_bytes(),
            "431",
            "100 headers",
        ),
    ] {
        let mut connection = Connection::open(&server).await;
        // A response to an earlier request does not change the response to a malformed one.
        let host = server.url.trim_start_matches("http://");
        connection.send(GET.replace("localhost", host)).await;
        assert_eq!(connection.response().await.status(), "200");
        connection.send(&request).await;
        let response = connection.response().await;
        assert_eq!(response.status(), status, "{text}");
        assert!(response.head.contains("connection: close\r\n"), "{}", response.head);
        assert!(response.detail().contains(text), "{}", response.body);
        connection.end().await;
    }
    for (reason, count) in
        [("invalid_url", 5), ("malformed_request", 1), ("url_too_long", 1), ("headers_too_large", 1)]
    {
        assert_eq!(refused_connections(&server, reason).await, count, "{reason}");
    }
}

/// The counter of refused connections in the metrics.
async fn refused_connections(server: &Fixture, reason: &str) -> u64 {
    let metrics = server.get("/metrics").await.body;
    let prefix = format!("tintype_connections_refused_total{{reason=\"{reason}\"}} ");
    let metrics = String::from_utf8(metrics.to_vec()).expect("UTF-8");
    let value = metrics.lines().find_map(|line| line.strip_prefix(&prefix));
    value.map_or(0, |value| value.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_limit_get_503_until_one_ends() {
    let server = ready(&[("TINTYPE_MAX_CONNECTIONS", "1")]).await;
    let host = server.url.trim_start_matches("http://").to_owned();
    let get = GET.replace("localhost", &host);
    let mut first = Connection::open(&server).await;
    first.send(&get).await;
    assert_eq!(first.response().await.status(), "200");
    let mut second = Connection::open(&server).await;
    second.send(&get).await;
    let response = second.response().await;
    assert_eq!(response.status(), "503");
    assert!(response.detail().contains("max_connections") && response.head.contains("retry-after: "));
    second.end().await;
    first.send(&get).await;
    assert_eq!(first.response().await.status(), "200", "the open connection is not affected");
    drop(first);
    wait_for_a_place(&server, &get).await;
    let refused = server.running.service.metrics_text().await.expect("metrics");
    assert!(refused.contains("connections_refused_total{reason=\"too_many_connections\"} "), "{refused}");
}

/// Connects until the server accepts a connection.
async fn wait_for_a_place(server: &Fixture, get: &str) {
    loop {
        let mut next = Connection::open(server).await;
        next.send(get).await;
        if next.response().await.status() == "200" {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_loses_its_connection() {
    let server = ready(&[("TINTYPE_STALL_TIMEOUT", "1s"), ("TINTYPE_MAX_CONNECTIONS", "1")]).await;
    let host = server.url.trim_start_matches("http://").to_owned();
    let mut stalled = Connection::open(&server).await;
    // More than the buffers of both sides.
    let requests = format!("GET /openapi.json HTTP/1.1\r\nHost: {host}\r\n\r\n").repeat(300);
    stalled.send(requests).await;
    wait_for_a_place(&server, &GET.replace("localhost", &host)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_without_progress_is_refused() {
    let server = ready(&[("TINTYPE_STALL_TIMEOUT", "1s")]).await;
    let host = server.url.trim_start_matches("http://");
    let mut connection = Connection::open(&server).await;
    let head = "Content-Type: application/json\r\nContent-Length: 1000";
    connection.send(format!("POST /v1/images HTTP/1.1\r\nHost: {host}\r\n{head}\r\n\r\n{{\"prompt\"")).await;
    let response = connection.response().await;
    assert!(response.status().starts_with('4'), "{}", response.head);
    assert!(response.head.contains("connection: close\r\n"), "{}", response.head);
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_with_prior_knowledge_is_served() {
    let server = ready(&[]).await;
    let client: legacy::Client<_, Empty<axum::body::Bytes>> =
        legacy::Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    let get = async |url: &str| {
        let request = http::Request::get(url).body(Empty::new()).expect("a request");
        let response = client.request(request).await.expect("a response");
        assert_eq!(response.version(), http::Version::HTTP_2);
        let status = response.status();
        (status, response.into_body().collect().await.expect("a body").to_bytes())
    };
    let (status, body) = get(&format!("{}/generate?prompt=a+tiger&seed=1", server.url)).await;
    assert_eq!(status, StatusCode::OK, "{body:?}");
    let link =
        serde_json::from_slice::<Value>(&body).expect("JSON")["url"].as_str().expect("a link").to_owned();
    // The signature of the link covers the host.
    let (status, image) = get(&link).await;
    assert_eq!((status, image.starts_with(&[0xff, 0xd8])), (StatusCode::OK, true));
    assert_eq!(get(&format!("{}/v1/nothing", server.url)).await.0, StatusCode::NOT_FOUND);
    server.running.stop().await;
}
