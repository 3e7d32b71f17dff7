//! A real-time endpoint that does not answer with pictures: what each case means, and that it is tried once.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tintype_core::engine::{Engine, EngineError};
use tintype_sagemaker::remote::{EndpointSettings, InvokeError, SageMakerEngine};
use tintype_sagemaker::wire::Failure;

use crate::fake::{Act, Fake, nowhere};
use crate::{Waiter, answer, at, request};

async fn failing(settings: EndpointSettings) -> InvokeError {
    let engine = SageMakerEngine::new(settings).expect("sensible settings");
    engine.invoke(&request(1)).await.expect_err("no picture")
}

/// What becomes of this answer; it must have been asked for once.
async fn answered(status: u16, headers: &[(&'static str, &str)], body: String) -> InvokeError {
    let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    let fake = Fake::doing(Act::Answer { status, headers, body }).await;
    let error = failing(at(&fake.url)).await;
    assert_eq!(fake.seen().len(), 1, "{error:?}");
    error
}

/// As botocore's service model has them: the name in a header, the rest in JSON.
async fn named(status: u16, name: &str, body: Value) -> InvokeError {
    answered(status, &[("x-amzn-errortype", name), ("content-type", "application/json")], body.to_string())
        .await
}

async fn of_model(status: i64, message: &str) -> InvokeError {
    let body = json!({
        "Message": format!("Received server error ({status}) from primary with message \"{message}\""),
        "OriginalStatusCode": status, "OriginalMessage": message,
        "LogStreamArn": "arn:aws:logs:eu-central-1:123456789012:log-group:/aws/sagemaker/Endpoints/tiger",
    });
    named(424, "ModelError", body).await
}

/// The error and every cause, as a log would show them.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

#[tokio::test]
async fn what_the_model_says() {
    let error = of_model(400, "prompt is too rude").await;
    let EngineError::Model(error) = EngineError::from(error) else { panic!("not the model's") };
    assert_eq!((error.status, error.message.as_str()), (400, "prompt is too rude"));

    let error = EngineError::from(of_model(500, "CUDA out of memory").await);
    assert!(matches!(&error, EngineError::Model(error) if error.status == 500));
    let log = told(&error);
    assert!(log.contains("500: CUDA out of memory") && !log.contains("arn:"), "{log}");

    let error = of_model(0, "Your invocation timed out").await;
    assert!(matches!(&error, InvokeError::ModelTimedOut(message) if message == "Your invocation timed out"));
    assert!(matches!(EngineError::from(error), EngineError::OutcomeUnknown(_)));

    for status in [429, 503] {
        let error = of_model(status, "loading").await;
        assert!(matches!(EngineError::from(error), EngineError::Busy { .. }), "{status}");
    }
    let long = of_model(500, &"x".repeat(100_000)).await.to_string();
    assert!(long.len() < 2_000);
}

#[tokio::test]
async fn what_the_service_says() {
    let busy = |error: InvokeError| match EngineError::from(error) {
        EngineError::Busy { retry_after, source } => (retry_after.as_secs(), source.to_string()),
        other => panic!("{other:?}"),
    };
    let message = json!({"Message": "wait"});
    let (seconds, log) = busy(named(429, "ModelNotReadyException", message.clone()).await);
    assert_eq!((seconds, log.as_str()), (30, "the endpoint is busy (ModelNotReadyException): wait"));
    assert_eq!(busy(named(503, "ServiceUnavailable", message.clone()).await).0, 5);
    assert_eq!(busy(named(400, "ThrottlingException", json!({"message": "Rate exceeded"})).await).0, 5);
    assert_eq!(busy(answered(503, &[("retry-after", "17")], "<html>".into()).await).0, 17);
    assert_eq!(busy(answered(429, &[("retry-after", "1e9")], String::new()).await).0, 5);
    let hint = [("x-amzn-errortype", "ModelNotReadyException"), ("retry-after", "99999999")];
    assert_eq!(busy(answered(429, &hint, "{}".into()).await).0, 3_600);

    for (status, name) in
        [(400, "ValidationError"), (403, "AccessDeniedException"), (404, "UnknownOperation")]
    {
        let error = named(status, name, json!({"Message": "Endpoint tiger of account 1 not found."})).await;
        let InvokeError::Denied { status: told, code, message } = &error else { panic!("{error:?}") };
        assert_eq!(
            (*told, code.as_str(), message.as_str()),
            (status, name, "Endpoint tiger of account 1 not found.")
        );
        assert!(matches!(EngineError::from(error), EngineError::Failed(_)));
    }
    for (status, name) in [(500, "InternalFailure"), (530, "InternalDependencyException")] {
        let error = named(status, name, json!({"Message": "broken"})).await;
        assert!(matches!(&error, InvokeError::Service { status: told, .. } if *told == status), "{error:?}");
        assert!(matches!(EngineError::from(error), EngineError::OutcomeUnknown(_)));
    }
    let proxy = answered(502, &[("content-type", "text/html")], "<html>Bad Gateway</html>".into()).await;
    assert!(matches!(proxy, InvokeError::Service { status: 502, .. }), "{proxy:?}");
}

#[tokio::test]
async fn our_own_failures_mean_the_same() {
    let round = async |failure: Failure| {
        answered(
            failure.status(),
            &[("x-amzn-errortype", failure.code())],
            String::from_utf8(failure.body()).expect("text"),
        )
        .await
    };
    let error = round(Failure::Model { status: 422, message: "no".into() }).await;
    assert!(matches!(&error, InvokeError::Model { status: 422, message } if message == "no"), "{error:?}");
    assert!(matches!(round(Failure::NotReady("loading".into())).await, InvokeError::Busy { .. }));
    assert!(matches!(round(Failure::Unavailable).await, InvokeError::Busy { .. }));
    assert!(matches!(round(Failure::Internal).await, InvokeError::Service { .. }));
    assert!(matches!(round(Failure::Validation("x".into())).await, InvokeError::Denied { .. }));
}

#[tokio::test]
async fn answers_without_pictures() {
    for body in
        ["", "<html>", "{}", "[]", r#"{"generated_images":["!"]}"#, r#"{"predictions":[1]}"#, &answer(2)]
    {
        let error = answered(200, &[("content-type", "application/json")], body.to_owned()).await;
        assert!(matches!(error, InvokeError::Reply(_)), "{body}: {error:?}");
        assert!(matches!(EngineError::from(error), EngineError::UnusableResult(_)));
    }
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_not_read() {
    let fake = Fake::answering(answer(1)).await;
    let error = failing(EndpointSettings { max_response_bytes: 20, ..at(&fake.url) }).await;
    assert!(matches!(error, InvokeError::TooLong(20)), "{error:?}");
    assert_eq!(fake.seen().len(), 1);
}

#[tokio::test]
async fn no_answer_in_time() {
    let fake = Fake::doing(Act::Hang).await;
    let budget = Duration::from_millis(400);
    let engine =
        SageMakerEngine::new(EndpointSettings { budget, ..at(&fake.url) }).expect("sensible settings");
    let error = engine.generate(request(1), Arc::new(Waiter::default())).await.expect_err("no picture");
    assert!(matches!(error, EngineError::OutcomeUnknown(_)), "{error:?}");
    assert!(told(&error).contains("no answer within 0.4 s"), "{}", told(&error));
    assert_eq!(fake.seen().len(), 1);
}

#[tokio::test]
async fn connections_that_break() {
    let parts: [&[u8]; 3] = [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n{\"generated_",
    ];
    for part in parts {
        let fake = Fake::breaking(part).await;
        let error = failing(at(&fake.url)).await;
        assert!(matches!(error, InvokeError::Interrupted(_)), "{error:?}");
        assert!(matches!(EngineError::from(error), EngineError::OutcomeUnknown(_)));
        assert_eq!(fake.seen().len(), 1);
    }
}

#[tokio::test]
async fn nobody_listens() {
    let error = failing(at(&nowhere().await)).await;
    assert!(matches!(error, InvokeError::Unreachable(_)), "{error:?}");
    assert!(matches!(EngineError::from(error), EngineError::Busy { .. }));
}
