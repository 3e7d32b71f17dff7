//! Events in the formats of the gateways.

use http_body_util::BodyExt;
use lambda_http::request::from_str;
use serde_json::{Value, json};

use super::*;

/// An event of a REST API (payload format 1.0).
fn rest(path: &str, full: &str, proxied: Option<&str>) -> Value {
    json!({
        "resource": if proxied.is_some() { "/{proxy+}" } else { "/" },
        "path": path,
        "httpMethod": "GET",
        "headers": {"Host": "abc123.execute-api.eu-west-1.amazonaws.com", "X-Forwarded-Proto": "https"},
        "multiValueHeaders": {
            "Host": ["abc123.execute-api.eu-west-1.amazonaws.com"],
            "X-Forwarded-Proto": ["https"],
        },
        "queryStringParameters": {"prompt": "a tiger & 老虎+1"},
        "multiValueQueryStringParameters": {"prompt": ["a tiger & 老虎+1"]},
        "pathParameters": proxied.map(|proxied| json!({"proxy": proxied})),
        "stageVariables": null,
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "abc123",
            "domainName": "abc123.execute-api.eu-west-1.amazonaws.com",
            "httpMethod": "GET",
            "identity": {"sourceIp": "192.0.2.1", "userAgent": "curl"},
            "path": full,
            "protocol": "HTTP/1.1",
            "requestId": "c6af9ac6-7b61-11e6-9a41-93e8deadbeef",
            "resourceId": "xyz",
            "resourcePath": if proxied.is_some() { "/{proxy+}" } else { "/" },
            "stage": "prod",
        },
        "body": null,
        "isBase64Encoded": false,
    })
}

/// An event of an HTTP API or a function URL (payload format 2.0).
fn http(path: &str, stage: &str, body: Option<(&str, bool)>) -> Value {
    json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "prompt=a%20tiger%20%26%20%E8%80%81%E8%99%8E%2B1",
        "cookies": ["a=1", "b=2"],
        "headers": {"host": "x.lambda-url.eu-west-1.on.aws", "x-forwarded-proto": "https", "authorization": "Bearer k"},
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "x",
            "domainName": "x.lambda-url.eu-west-1.on.aws",
            "domainPrefix": "x",
            "http": {
                "method": if body.is_some() { "POST" } else { "GET" },
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "192.0.2.1",
                "userAgent": "curl",
            },
            "requestId": "id",
            "routeKey": "$default",
            "stage": stage,
            "time": "12/Mar/2026:19:03:58 +0000",
            "timeEpoch": 1_773_342_238_000_i64,
        },
        "body": body.map(|(body, _)| body),
        "isBase64Encoded": body.is_some_and(|(_, encoded)| encoded),
    })
}

fn converted(event: &Value) -> (axum::extract::Request, ApiBase) {
    request(from_str(&event.to_string()).expect("an event"))
}

#[test]
fn the_api_s_own_paths_begin_after_stage_and_mapping() {
    let gateway = "https://abc123.execute-api.eu-west-1.amazonaws.com";
    let url = "https://x.lambda-url.eu-west-1.on.aws";
    for (event, path, origin, prefix) in [
        (rest("/generate", "/prod/generate", Some("generate")), "/generate", gateway, "/prod"),
        (rest("/v1/images/1", "/prod/v1/images/1", Some("v1/images/1")), "/v1/images/1", gateway, "/prod"),
        (rest("/", "/prod/", None), "/", gateway, "/prod"),
        (rest("/", "/prod", None), "/", gateway, "/prod"),
        // A custom domain, with and without a base path mapping.
        (rest("/art/generate", "/art/generate", Some("generate")), "/generate", gateway, "/art"),
        (rest("/generate", "/generate", Some("generate")), "/generate", gateway, ""),
        (http("/generate", "$default", None), "/generate", url, ""),
        (http("/prod/generate", "prod", None), "/generate", url, "/prod"),
        (http("/prod", "prod", None), "/", url, "/prod"),
        (http("/production/generate", "prod", None), "/production/generate", url, ""),
        (http("/", "$default", None), "/", url, ""),
    ] {
        let (request, base) = converted(&event);
        assert_eq!(request.uri().path(), path, "{event}");
        assert_eq!((base.origin.as_str(), base.prefix.as_str()), (origin, prefix), "{event}");
    }
}

#[test]
fn the_query_is_the_client_s() {
    for event in [rest("/generate", "/prod/generate", Some("generate")), http("/generate", "$default", None)]
    {
        let (request, _) = converted(&event);
        let query = request.uri().query().expect("a query").replace('+', "%20");
        let value = query.strip_prefix("prompt=").expect("the prompt");
        let decoded = percent_encoding::percent_decode_str(value).decode_utf8().expect("UTF-8");
        assert_eq!(decoded, "a tiger & 老虎+1", "{query}");
    }
}

#[tokio::test]
async fn the_body_is_the_client_s() {
    for (sent, encoded) in [(r#"{"prompt":"老虎"}"#, false), ("eyJwcm9tcHQiOiLogIHomY4ifQ==", true)] {
        let (request, _) = converted(&http("/v1/images", "$default", Some((sent, encoded))));
        assert_eq!(
            (request.method().as_str(), &request.headers()["authorization"]),
            ("POST", &"Bearer k".parse().expect("a value"))
        );
        let body = request.into_body().collect().await.expect("a body").to_bytes();
        assert_eq!(body, r#"{"prompt":"老虎"}"#);
    }
}
