//! Events of AWS services, as AWS documents them, and damaged events.

use serde_json::json;

use super::*;

/// A request of an HTTP API or a function URL.
fn http() -> Value {
    json!({
        "version": "2.0", "routeKey": "$default", "rawPath": "/generate", "rawQueryString": "prompt=x",
        "headers": {"host": "x.lambda-url.eu-west-1.on.aws", "x-forwarded-proto": "https"},
        "requestContext": {
            "accountId": "123456789012", "apiId": "x", "domainName": "x.lambda-url.eu-west-1.on.aws",
            "domainPrefix": "x", "requestId": "id", "routeKey": "$default", "stage": "$default",
            "http": {
                "method": "GET", "path": "/generate", "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1",
                "userAgent": "curl",
            },
            "time": "12/Mar/2026:19:03:58 +0000", "timeEpoch": 1_773_342_238_000_i64,
        },
        "isBase64Encoded": false,
    })
}

/// A request of a REST API.
fn rest() -> Value {
    json!({
        "resource": "/{proxy+}", "path": "/generate", "httpMethod": "POST",
        "headers": {"Host": "abc.execute-api.eu-west-1.amazonaws.com"},
        "multiValueHeaders": {"Host": ["abc.execute-api.eu-west-1.amazonaws.com"]},
        "queryStringParameters": null, "multiValueQueryStringParameters": null,
        "pathParameters": {"proxy": "generate"}, "stageVariables": null,
        "requestContext": {
            "resourcePath": "/{proxy+}", "httpMethod": "POST", "path": "/prod/generate", "stage": "prod",
            "domainName": "abc.execute-api.eu-west-1.amazonaws.com", "identity": {"sourceIp": "192.0.2.1"},
        },
        "body": null, "isBase64Encoded": false,
    })
}

fn with(mut event: Value, pointer: &str, value: Value) -> Value {
    *event.pointer_mut(pointer).expect("a member") = value;
    event
}

/// The request that `lambda_http` makes of an event.
fn convert(event: Value) -> lambda_http::Request {
    read(event).expect("a request").into()
}

#[test]
fn events_that_are_not_requests_get_one_error_that_names_what_is_supported() {
    let sqs = json!({"Records": [{
        "messageId": "19dd0b57", "receiptHandle": "MessageReceiptHandle", "body": "Hello from SQS!",
        "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "1523232000000"},
        "eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:MyQueue",
        "awsRegion": "us-east-1",
    }]});
    let sns =
        json!({"Records": [{"EventVersion": "1.0", "EventSource": "aws:sns", "Sns": {"Message": "x"}}]});
    let s3 = json!({"Records": [{"eventVersion": "2.1", "eventSource": "aws:s3", "s3": {}}]});
    let scheduled = json!({
        "id": "53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa", "detail-type": "Scheduled Event", "source": "aws.events",
        "account": "123456789012", "time": "2015-10-08T16:53:06Z", "region": "us-east-1",
        "resources": ["arn:aws:events:us-east-1:123456789012:rule/my-scheduled-rule"], "detail": {},
    });
    let alb = json!({
        "requestContext": {"elb": {"targetGroupArn": "arn:aws:elasticloadbalancing:us-east-1:1:targetgroup/x/1"}},
        "httpMethod": "GET", "path": "/generate", "queryStringParameters": {"prompt": "x"},
        "headers": {"host": "x.us-east-1.elb.amazonaws.com", "x-forwarded-proto": "http"},
        "body": "", "isBase64Encoded": false,
    });
    let lattice = json!({
        "version": "2.0", "path": "/", "method": "GET", "headers": {}, "isBase64Encoded": false,
        "requestContext": {"serviceNetworkArn": "arn:aws:vpc-lattice:us-east-1:1:servicenetwork/sn-1"},
    });
    let websocket = json!({
        "requestContext": {"connectionId": "x", "eventType": "MESSAGE", "stage": "prod"}, "body": "x",
        "isBase64Encoded": false,
    });
    let authorizer =
        json!({"type": "TOKEN", "authorizationToken": "x", "methodArn": "arn:aws:execute-api:x"});
    let mut request_authorizer = rest();
    request_authorizer["type"] = "REQUEST".into();
    for (event, source) in [
        (json!({"key1": "value1", "key2": "value2", "key3": "value3"}), "test event of the console"),
        (sqs, "SQS"),
        (sns, "SNS"),
        (s3, "S3"),
        (json!({"Records": [{}]}), "stream or queue"),
        (json!({"Records": []}), "not a request"),
        (scheduled, "EventBridge"),
        (alb, "Application Load Balancer"),
        (lattice, "VPC Lattice"),
        (websocket, "WebSocket"),
        (authorizer, "authorizer"),
        (request_authorizer, "authorizer"),
        (json!({}), "not a request"),
        (json!([]), "not a request"),
        (json!(null), "not a request"),
        (json!("x"), "not a request"),
        (json!({"requestContext": {}}), "not a request"),
        (json!({"requestContext": {"http": {"method": "two words"}}}), "not a request"),
        (with(rest(), "/httpMethod", json!(7)), "not a request"),
    ] {
        let text = event.to_string();
        let error = read(event).expect_err(&text);
        let diagnostic = Diagnostic::from(error);
        assert_eq!(diagnostic.error_type, "UnsupportedEvent", "{text}");
        let message = diagnostic.error_message;
        assert!(message.contains(source), "{text}: {message}");
        let (_, supported) = message.split_once("): ").expect("what is supported");
        assert!(supported.contains("API Gateway") && supported.contains("function URLs"), "{message}");
        assert!(!supported.contains("Load Balanc"), "{message}");
    }
}

#[test]
fn a_body_that_is_not_base64_is_an_error_and_no_panic() {
    for event in [http(), rest()] {
        let encoded = |body: &str| {
            let mut event = with(event.clone(), "/isBase64Encoded", true.into());
            event["body"] = body.into();
            event
        };
        for body in ["{\"prompt\":\"x\"}", "a", "YQ=x", "####"] {
            let error = read(encoded(body)).expect_err(body);
            assert_eq!(error, EventError::InvalidBase64, "{body}");
            assert_eq!(Diagnostic::from(error).error_type, "InvalidEvent");
        }
        // With and without padding, and with line breaks.
        for body in ["YWI=", "YWI", "YW\nI=", "YWJ="] {
            assert_eq!(convert(encoded(body)).body().as_ref(), b"ab", "{body}");
        }
        assert_eq!(convert(encoded("")).body().as_ref(), b"");
        assert_eq!(convert(with(event.clone(), "/isBase64Encoded", true.into())).body().as_ref(), b"");
    }
}

#[test]
fn unusual_urls_do_not_panic() {
    for host in ["a b", "[", "256.256.256.256", "xn--a", "x:99999", "", "user@x", "/"] {
        let _ = convert(with(http(), "/headers/host", host.into()));
        let event = with(rest(), "/headers/Host", host.into());
        let _ = convert(with(event, "/multiValueHeaders/Host/0", host.into()));
    }
    for scheme in ["", "ht tp", "javascript", "://"] {
        let _ = convert(with(http(), "/headers/x-forwarded-proto", scheme.into()));
    }
    for path in
        ["", "generate", "//", "/a b", "/\u{1}", "/虎", "/%", "/%ff", "/a?b#c", "/..", "http://x", "/\\"]
    {
        let _ = convert(with(http(), "/rawPath", path.into()));
        let event = with(rest(), "/path", path.into());
        let _ = convert(with(event, "/requestContext/path", path.into()));
    }
    for query in ["", "a b", "\u{1}", "虎", "a=\"<>\"", "#", "%", "a=1&a=2", "?", "\\^`{|}"] {
        let _ = convert(with(http(), "/rawQueryString", query.into()));
    }
    let _ = convert(with(rest(), "/multiValueQueryStringParameters", json!({"a b": ["\u{1}#", "虎"]})));
    let _ = convert(with(http(), "/requestContext/stage", "a b".into()));
    let _ = convert(with(rest(), "/requestContext/stage", "?".into()));
}

#[test]
fn the_client_cannot_set_the_hidden_headers() {
    let mut event = http();
    event["headers"]["x-tintype-host"] = "evil.example".into();
    event["headers"]["x-tintype-forwarded-proto"] = "http".into();
    event["headers"].as_object_mut().expect("headers").remove("x-forwarded-proto");
    let mut request = convert(event);
    restore_url(request.headers_mut());
    assert_eq!(request.headers()[HOST], "x.lambda-url.eu-west-1.on.aws");
    assert_eq!(request.headers().len(), 1, "{:?}", request.headers());
}
