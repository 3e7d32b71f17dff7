//! Events in the formats of the gateways.

use http_body_util::BodyExt;
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

/// The same with a custom domain.
fn on_domain(mut event: Value, domain: &str) -> Value {
    event["requestContext"]["domainName"] = domain.into();
    event["requestContext"]["domainPrefix"] = domain.split('.').next().into();
    event
}

/// The same for a route of its own, with the values of its path parameters.
fn on_route(mut event: Value, route: &str, parameters: Value) -> Value {
    if event["version"] == "2.0" {
        event["routeKey"] = format!("ANY {route}").into();
        event["requestContext"]["routeKey"] = format!("ANY {route}").into();
    } else {
        event["resource"] = route.into();
        event["requestContext"]["resourcePath"] = route.into();
    }
    event["pathParameters"] = parameters;
    event
}

fn converted(event: &Value) -> (axum::extract::Request, ApiBase) {
    request(payload::read(event.clone()).expect("an event").into())
}

const GATEWAY: &str = "abc123.execute-api.eu-west-1.amazonaws.com";

#[test]
fn the_api_s_own_paths_begin_after_stage_and_mapping() {
    let custom = "images.example";
    let function = "x.lambda-url.eu-west-1.on.aws";
    let on_gateway = |path: &str, stage: &str| on_domain(http(path, stage, None), GATEWAY);
    let on_custom = |path: &str, stage: &str| on_domain(http(path, stage, None), custom);
    for (event, path, domain, prefix) in [
        (rest("/generate", "/prod/generate", Some("generate")), "/generate", GATEWAY, "/prod"),
        (rest("/v1/images/1", "/prod/v1/images/1", Some("v1/images/1")), "/v1/images/1", GATEWAY, "/prod"),
        (rest("/", "/prod/", None), "/", GATEWAY, "/prod"),
        (rest("/", "/prod", None), "/", GATEWAY, "/prod"),
        // A custom domain, with and without a base path mapping.
        (rest("/art/generate", "/art/generate", Some("generate")), "/generate", GATEWAY, "/art"),
        (rest("/generate", "/generate", Some("generate")), "/generate", GATEWAY, ""),
        (http("/generate", "$default", None), "/generate", function, ""),
        (http("/", "$default", None), "/", function, ""),
        (on_gateway("/prod/generate", "prod"), "/generate", GATEWAY, "/prod"),
        (on_gateway("/prod", "prod"), "/", GATEWAY, "/prod"),
        (on_gateway("/production/generate", "prod"), "/production/generate", GATEWAY, ""),
        // A stage with the name of a path of the API.
        (on_gateway("/v1/v1/images", "v1"), "/v1/images", GATEWAY, "/v1"),
        (on_gateway("/v1/images", "v1"), "/images", GATEWAY, "/v1"),
        (on_custom("/v1/images", "v1"), "/v1/images", custom, ""),
        (on_custom("/v1/keys/1", "v1"), "/v1/keys/1", custom, ""),
        // Events of HTTP APIs have the stage also on a custom domain, whose URLs do not.
        (on_custom("/v1/v1/images", "v1"), "/v1/images", custom, ""),
        (on_custom("/v1/generate", "v1"), "/generate", custom, ""),
        (on_custom("/prod/v1/images/1/events", "prod"), "/v1/images/1/events", custom, ""),
        (on_custom("/prod", "prod"), "/", custom, ""),
        (on_custom("/prod/other", "prod"), "/prod/other", custom, ""),
    ] {
        let (request, base) = converted(&event);
        assert_eq!(request.uri().path(), path, "{event}");
        assert_eq!((base.origin, base.prefix.as_str()), (format!("https://{domain}"), prefix), "{event}");
    }
}

#[test]
fn explicit_routes_are_found_at_the_end_of_the_path() {
    let id = json!({"id": "0199d2a4-7c00-7000-8000-000000000001"});
    let job = "/v1/images/0199d2a4-7c00-7000-8000-000000000001";
    let rest = |full: String, route: &str, parameters: &Value| {
        let path = full.strip_prefix("/prod").unwrap_or(&full).to_owned();
        on_route(rest(&path, &full, None), route, parameters.clone())
    };
    let http = |full: String, route: &str, parameters: &Value| {
        on_route(on_domain(http(&full, "prod", None), GATEWAY), route, parameters.clone())
    };
    let null = json!(null);
    for (event, path, prefix) in [
        (rest("/prod/generate".into(), "/generate", &null), "/generate", "/prod"),
        (rest("/prod/generate/".into(), "/generate", &null), "/generate/", "/prod"),
        (rest("/generate".into(), "/generate", &null), "/generate", ""),
        // Base path mappings, one of them with several levels.
        (rest("/art/generate".into(), "/generate", &null), "/generate", "/art"),
        (rest("/art/of/v1/images".into(), "/v1/images", &null), "/v1/images", "/art/of"),
        (rest("/v1/v1/images".into(), "/v1/images", &null), "/v1/images", "/v1"),
        (rest(format!("/art{job}"), "/v1/images/{id}", &id), job, "/art"),
        (rest(format!("/prod{job}"), "/v1/{proxy+}", &json!({"proxy": &job[4..]})), job, "/prod"),
        (rest("/prod/generate".into(), "/{path+}", &json!({"path": "generate"})), "/generate", "/prod"),
        (rest("/prod/a%20b/c".into(), "/{proxy+}", &json!({"proxy": "a b/c"})), "/a%20b/c", "/prod"),
        (http("/prod/generate".into(), "/generate", &null), "/generate", "/prod"),
        (http(format!("/prod{job}"), "/v1/images/{id}", &id), job, "/prod"),
        (http(format!("/prod{job}"), "/{proxy+}", &json!({"proxy": &job[1..]})), job, "/prod"),
        // A route that does not match is ignored.
        (http("/prod/generate".into(), "/other", &null), "/generate", "/prod"),
        (http("/prod/generate".into(), "/a/b/c/d", &null), "/generate", "/prod"),
    ] {
        let (request, base) = converted(&event);
        assert_eq!((request.uri().path(), base.prefix.as_str()), (path, prefix), "{event}");
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
