//! Errors of a real-time endpoint: the engine error in each case, and that the call is made once.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tintype_core::engine::{CallObstacle, Engine, EngineError};
use tintype_sagemaker::remote::{EndpointSettings, InvokeError, SageMakerEngine};
use tintype_sagemaker::wire::RuntimeApiError;

use crate::fake::{Behavior, FakeService, unused_url};
use crate::{TestObserver, request, response_body, settings_for};

async fn invoke(settings: EndpointSettings) -> InvokeError {
    let engine = SageMakerEngine::new(settings).expect("valid settings");
    engine.invoke(&request(1)).await.expect_err("an error")
}

/// The error for this response; the engine must have made one call.
async fn invoke_error(status: u16, headers: &[(&'static str, &str)], body: String) -> InvokeError {
    let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    let fake = FakeService::with_behavior(Behavior::Respond { status, headers, body }).await;
    let error = invoke(settings_for(&fake.url)).await;
    assert_eq!(fake.calls().len(), 1, "{error:?}");
    error
}

/// The error for a response in the form of botocore's service model: the code in a header, the rest in JSON.
async fn service_error(status: u16, name: &str, body: Value) -> InvokeError {
    invoke_error(
        status,
        &[("x-amzn-errortype", name), ("content-type", "application/json")],
        body.to_string(),
    )
    .await
}

async fn model_error(status: i64, message: &str) -> InvokeError {
    let body = json!({
        "Message": format!("Received server error ({status}) from primary with message \"{message}\""),
        "OriginalStatusCode": status, "OriginalMessage": message,
        "LogStreamArn": "arn:aws:logs:eu-central-1:123456789012:log-group:/aws/sagemaker/Endpoints/tiger",
    });
    service_error(424, "ModelError", body).await
}

/// The error and its causes, as a log shows them.
fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

#[tokio::test]
async fn errors_of_the_model() {
    let error = model_error(400, "prompt is too rude").await;
    let EngineError::Model(error) = EngineError::from(error) else { panic!("not a model error") };
    assert_eq!((error.status, error.message.as_str()), (400, "prompt is too rude"));

    let error = EngineError::from(model_error(500, "CUDA out of memory").await);
    assert!(matches!(&error, EngineError::Model(error) if error.status == 500));
    let log = error_chain(&error);
    assert!(log.contains("500: CUDA out of memory") && !log.contains("arn:"), "{log}");

    let error = model_error(0, "Your invocation timed out").await;
    assert!(matches!(&error, InvokeError::ModelTimedOut(message) if message == "Your invocation timed out"));
    assert!(matches!(EngineError::from(error), EngineError::OutcomeUnknown(_)));

    for status in [429, 503] {
        let error = model_error(status, "loading").await;
        assert!(matches!(EngineError::from(error), EngineError::Busy { .. }), "{status}");
    }
    let long = model_error(500, &"x".repeat(100_000)).await.to_string();
    assert!(long.len() < 2_000);
}

#[tokio::test]
async fn errors_of_the_service() {
    let busy = |error: InvokeError| match EngineError::from(error) {
        EngineError::Busy { retry_after, source } => (retry_after.as_secs(), source.to_string()),
        other => panic!("{other:?}"),
    };
    let message = json!({"Message": "wait"});
    let (seconds, log) = busy(service_error(429, "ModelNotReadyException", message.clone()).await);
    assert_eq!((seconds, log.as_str()), (30, "the endpoint is busy (ModelNotReadyException): wait"));
    assert_eq!(busy(service_error(503, "ServiceUnavailable", message.clone()).await).0, 5);
    assert_eq!(
        busy(service_error(400, "ThrottlingException", json!({"message": "Rate exceeded"})).await).0,
        5
    );
    assert_eq!(busy(invoke_error(503, &[("retry-after", "17")], "<html>".into()).await).0, 17);
    assert_eq!(busy(invoke_error(429, &[("retry-after", "1e9")], String::new()).await).0, 5);
    let hint = [("x-amzn-errortype", "ModelNotReadyException"), ("retry-after", "99999999")];
    assert_eq!(busy(invoke_error(429, &hint, "{}".into()).await).0, 3_600);

    for (status, name) in
        [(400, "ValidationError"), (403, "AccessDeniedException"), (404, "UnknownOperation")]
    {
        let error =
            service_error(status, name, json!({"Message": "Endpoint tiger of account 1 not found."})).await;
        let InvokeError::Denied { status: actual, code, message } = &error else { panic!("{error:?}") };
        assert_eq!(
            (*actual, code.as_str(), message.as_str()),
            (status, name, "Endpoint tiger of account 1 not found.")
        );
        let expected = if status == 400 { CallObstacle::NoEndpoint } else { CallObstacle::Rejected };
        let EngineError::Unavailable { obstacle, .. } = EngineError::from(error) else { panic!("{name}") };
        assert_eq!(obstacle, expected, "{name}");
    }
    for (status, name) in [(500, "InternalFailure"), (530, "InternalDependencyException")] {
        let error = service_error(status, name, json!({"Message": "broken"})).await;
        assert!(
            matches!(&error, InvokeError::Service { status: actual, .. } if *actual == status),
            "{error:?}"
        );
        assert!(matches!(EngineError::from(error), EngineError::OutcomeUnknown(_)));
    }
    let proxy = invoke_error(502, &[("content-type", "text/html")], "<html>Bad Gateway</html>".into()).await;
    assert!(matches!(proxy, InvokeError::Service { status: 502, .. }), "{proxy:?}");
}

#[tokio::test]
async fn our_own_servers_errors_map_to_the_same() {
    let round_trip = async |error: RuntimeApiError| {
        invoke_error(
            error.status(),
            &[("x-amzn-errortype", error.code())],
            String::from_utf8(error.body()).expect("text"),
        )
        .await
    };
    let error = round_trip(RuntimeApiError::Model { status: 422, message: "no".into() }).await;
    assert!(matches!(&error, InvokeError::Model { status: 422, message } if message == "no"), "{error:?}");
    assert!(matches!(
        round_trip(RuntimeApiError::NotReady("loading".into())).await,
        InvokeError::Busy { .. }
    ));
    assert!(matches!(round_trip(RuntimeApiError::Unavailable).await, InvokeError::Busy { .. }));
    assert!(matches!(round_trip(RuntimeApiError::Internal).await, InvokeError::Service { .. }));
    assert!(matches!(round_trip(RuntimeApiError::Validation("x".into())).await, InvokeError::Denied { .. }));
}

#[tokio::test]
async fn responses_without_pictures() {
    for body in [
        "",
        "<html>",
        "{}",
        "[]",
        r#"{"generated_images":["!"]}"#,
        r#"{"predictions":[1]}"#,
        &response_body(2),
    ] {
        let error = invoke_error(200, &[("content-type", "application/json")], body.to_owned()).await;
        assert!(matches!(error, InvokeError::Response(_)), "{body}: {error:?}");
        assert!(matches!(EngineError::from(error), EngineError::UnusableResult(_)));
    }
}

#[tokio::test]
async fn a_response_that_is_too_long_is_not_read() {
    let fake = FakeService::responding(response_body(1)).await;
    let error = invoke(EndpointSettings { max_response_bytes: 20, ..settings_for(&fake.url) }).await;
    assert!(matches!(error, InvokeError::ResponseTooLong(20)), "{error:?}");
    assert_eq!(fake.calls().len(), 1);
}

#[tokio::test]
async fn no_response_within_the_time_limit() {
    let fake = FakeService::with_behavior(Behavior::Hang).await;
    let call_timeout = Duration::from_millis(400);
    let engine = SageMakerEngine::new(EndpointSettings { call_timeout, ..settings_for(&fake.url) })
        .expect("valid settings");
    let error = engine.generate(request(1), Arc::new(TestObserver::default())).await.expect_err("an error");
    assert!(matches!(error, EngineError::OutcomeUnknown(_)), "{error:?}");
    assert!(error_chain(&error).contains("no response within 0.4 s"), "{}", error_chain(&error));
    assert_eq!(fake.calls().len(), 1);
}

#[tokio::test]
async fn connections_that_break() {
    let parts: [&[u8]; 3] = [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n{\"generated_",
    ];
    for part in parts {
        let fake = FakeService::disconnecting(part).await;
        let error = invoke(settings_for(&fake.url)).await;
        assert!(matches!(error, InvokeError::Interrupted(_)), "{error:?}");
        assert!(matches!(EngineError::from(error), EngineError::OutcomeUnknown(_)));
        assert_eq!(fake.calls().len(), 1);
    }
}

#[tokio::test]
async fn an_address_without_a_listener() {
    let error = invoke(settings_for(&unused_url().await)).await;
    assert!(matches!(error, InvokeError::Unreachable(_)), "{error:?}");
    assert!(matches!(EngineError::from(error), EngineError::Busy { .. }));
}
