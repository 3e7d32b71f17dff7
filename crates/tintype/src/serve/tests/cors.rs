//! Web pages of other origins and the embedded store.

use http_body_util::Empty;
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;

use super::*;

/// A `GET` or preflight request of a web page.
async fn send_from_page(url: &str, method: &str, origin: &str) -> http::Response<hyper::body::Incoming> {
    let client = legacy::Client::builder(TokioExecutor::new()).build_http();
    let request = http::Request::builder()
        .method(method)
        .uri(url)
        .header("origin", origin)
        .header("access-control-request-method", "GET")
        .body(Empty::<axum::body::Bytes>::new());
    client.request(request.expect("a request")).await.expect("a response")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_can_fetch_an_image_by_its_link_and_by_the_redirect_of_the_api() {
    const PAGE: &str = "https://app.example";
    let server = ready(&[("TINTYPE_CORS_ORIGINS", PAGE)]).await;
    let link = json(&server.get("/generate?prompt=x").await)["url"].as_str().expect("a link").to_owned();
    let id = json(&server.get("/v1/images").await)["data"][0]["id"].as_str().expect("an id").to_owned();
    let redirect = send_from_page(&format!("{}/v1/images/{id}/content", server.url), "GET", PAGE).await;
    assert_eq!((redirect.status().as_u16(), allowed(&redirect)), (302, Some(PAGE)));
    let target = redirect.headers()["location"].to_str().expect("text").to_owned();
    for url in [link, target] {
        // The link is the permission, so every origin may use it.
        for origin in [PAGE, "https://other.example"] {
            let image = send_from_page(&url, "GET", origin).await;
            assert_eq!((image.status().as_u16(), allowed(&image)), (200, Some("*")));
        }
        // The browser repeats the headers of the request to the API.
        let preflight = send_from_page(&url, "OPTIONS", PAGE).await;
        assert_eq!((preflight.status().as_u16(), allowed(&preflight)), (204, Some("*")));
        let headers = preflight.headers()["access-control-allow-headers"].to_str().expect("text");
        assert!(["Authorization", "X-Api-Key"].iter().all(|name| headers.contains(name)), "{headers}");
    }
    let other = send_from_page(&format!("{}/v1/images", server.url), "GET", "https://other.example").await;
    assert_eq!(allowed(&other), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_can_read_that_the_server_has_too_many_connections() {
    const PAGE: &str = "https://app.example";
    let settings = [("TINTYPE_CORS_ORIGINS", PAGE), ("TINTYPE_MAX_CONNECTIONS", "1")];
    let server = ready(&settings).await;
    let _first = TcpStream::connect(server.url.trim_start_matches("http://")).await.expect("a connection");
    let refused = send_from_page(&format!("{}/v1/images", server.url), "GET", PAGE).await;
    assert_eq!((refused.status().as_u16(), allowed(&refused)), (503, Some(PAGE)));
}

fn allowed(response: &http::Response<hyper::body::Incoming>) -> Option<&str> {
    response.headers().get("access-control-allow-origin")?.to_str().ok()
}
