//! Which requests the API answers and which the embedded S3 server. The table is in `ARCHITECTURE.md`.

use super::*;

const ARCHITECTURE: &str = include_str!("../../../../../ARCHITECTURE.md");

/// A row of the table.
struct Row {
    request: &'static str,
    headers: Vec<&'static str>,
    answered_by: &'static str,
}

/// The rows of the table below the heading "API or S3": a rule, an example and who answers it.
fn table() -> Vec<Row> {
    let section = ARCHITECTURE.split("\n### API or S3\n").nth(1).expect("the section");
    let rows = section.lines().skip_while(|line| !line.starts_with('|')).skip(2);
    let rows = rows.take_while(|line| line.starts_with('|')).map(|line| {
        let cells: Vec<_> = line.split(" | ").collect();
        let mut quoted = cells[1].split('`').skip(1).step_by(2);
        Row {
            request: quoted.next().expect("an example"),
            headers: quoted.collect(),
            answered_by: cells[2].split([' ', ',']).next().expect("a word"),
        }
    });
    rows.collect()
}

/// The complete response to a request line and headers.
async fn send(url: &str, request: &str, headers: &[&str]) -> String {
    let address = url.trim_start_matches("http://");
    let mut head = format!("{request} HTTP/1.1\r\nContent-Length: 0\r\nConnection: close\r\n");
    if !headers.iter().any(|header| header.starts_with("Host:")) {
        head.push_str(&format!("Host: {address}\r\n"));
    }
    for header in headers {
        head.push_str(&format!("{header}\r\n"));
    }
    let mut connection = TcpStream::connect(address).await.expect("a connection");
    connection.write_all(format!("{head}\r\n").as_bytes()).await.expect("sent");
    let mut response = String::new();
    connection.read_to_string(&mut response).await.expect("a response");
    response
}

/// Who sent a response: only the API's have this header.
fn sender(response: &str) -> &'static str {
    if response.contains("\r\nx-request-id: ") { "API" } else { "S3" }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_in_the_documentation_holds() {
    let server = ready(&[]).await;
    let rows = table();
    assert_eq!(rows.len(), 7);
    for Row { request, headers, answered_by } in rows {
        let response = send(&server.url, request, &headers).await;
        assert_eq!(sender(&response), answered_by, "{request} {headers:?}: {response}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_path_is_answered_by_the_api_with_the_nearest_path() {
    let server = ready(&[]).await;
    for (request, nearest) in [
        ("POST /images/generations", "`/v1/images/generations`"),
        ("GET /models", "`/v1/models`"),
        ("GET /health", "`/healthz`"),
        ("GET /swagger", "`/docs`"),
        ("POST /v2/images", "`/v1/images`"),
        ("POST /mcp", "under `/v1`"),
        ("POST /openai/deployments/x/images/generations?api-version=1", "`/v1/images/generations`"),
        ("GET /system_stats", "under `/v1`"),
        ("GET /no-bucket/a.png", "under `/v1`"),
    ] {
        let response = send(&server.url, request, &[]).await;
        assert!(response.starts_with("HTTP/1.1 404 ") && response.contains(nearest), "{request}: {response}");
    }
    // One normalisation decides both who answers and which route does.
    for path in ["//v1/models", "/v1//models", "/v1/models/", "//healthz//"] {
        let response = send(&server.url, &format!("GET {path}"), &[]).await;
        assert!(response.starts_with("HTTP/1.1 200 "), "{path}: {response}");
    }
    assert_eq!(sender(&send(&server.url, "GET //tintype/x", &[]).await), "S3");
}
