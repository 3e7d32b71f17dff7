//! What is sent, and what is not.

use http::{HeaderName, HeaderValue, header};
use tintype_outbound::OutboundRequest;

use crate::server::{Server, client_for, ok};

#[tokio::test]
async fn only_known_headers_are_sent() {
    let server = Server::start(|_| ok("")).await;
    let request = OutboundRequest::get(&server.url("http", "127.0.0.1", "/a?b=c#secret"));
    client_for(&server).send(request).await.expect("a response");
    let requests = server.requests();
    let mut lines: Vec<_> = requests[0].trim_end().lines().collect();
    assert_eq!(lines.remove(0), "GET /a?b=c HTTP/1.1");
    lines.sort_unstable();
    let host = format!("host: {}", server.address);
    let expected =
        ["accept-encoding: identity", "accept: */*", "connection: close", &host, "user-agent: tintype"];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn credentials_are_never_sent() {
    let server = Server::start(|_| ok("")).await;
    let mut request = OutboundRequest::get(&server.url("http", "127.0.0.1", "/"));
    for name in [
        header::AUTHORIZATION,
        header::PROXY_AUTHORIZATION,
        header::COOKIE,
        header::REFERER,
        header::ORIGIN,
        header::HOST,
        header::USER_AGENT,
    ] {
        request = request.with_header(name, HeaderValue::from_static("credential"));
    }
    let request =
        request.with_header(HeaderName::from_static("x-public"), HeaderValue::from_static("public"));
    client_for(&server).send(request).await.expect("a response");
    let sent = &server.requests()[0];
    assert!(!sent.contains("credential") && sent.contains("x-public: public\r\n"), "{sent}");
}

#[tokio::test]
async fn cookies_of_a_response_are_not_sent_back() {
    let server = Server::start(|path| match path {
        "/" => crate::server::Answer::Bytes(
            b"HTTP/1.1 302 X\r\nset-cookie: a=b\r\nlocation: /next\r\ncontent-length: 0\r\n\r\n".to_vec(),
        ),
        _ => ok(""),
    })
    .await;
    let request = OutboundRequest::get(&server.url("http", "127.0.0.1", "/"));
    client_for(&server).send(request).await.expect("a response");
    let requests = server.requests();
    assert!(requests[1].starts_with("GET /next ") && !requests[1].contains("cookie"), "{}", requests[1]);
    assert!(!requests[1].contains("referer"), "{}", requests[1]);
}
