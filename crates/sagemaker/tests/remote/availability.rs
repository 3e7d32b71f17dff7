//! The check whether an endpoint can be called.

use serde_json::json;
use tintype_core::engine::{AvailabilityCheck, CallObstacle, EngineError};
use tintype_sagemaker::remote::SageMakerEngine;

use crate::fake::{Behavior, FakeService, unused_url};
use crate::settings_for;

async fn check(url: &str) -> Option<CallObstacle> {
    let engine = SageMakerEngine::new(settings_for(url)).expect("valid settings");
    match engine.check().await {
        Ok(()) => None,
        Err(EngineError::Unavailable { obstacle, .. }) => Some(obstacle),
        Err(error) => panic!("{error:?}"),
    }
}

async fn check_response(status: u16, body: serde_json::Value) -> Option<CallObstacle> {
    let headers = vec![("content-type", "application/x-amz-json-1.1".to_owned())];
    let fake =
        FakeService::with_behavior(Behavior::Respond { status, headers, body: body.to_string() }).await;
    let obstacle = check(&fake.url).await;
    assert_eq!(fake.calls().len(), 1);
    obstacle
}

#[tokio::test]
async fn the_check_describes_the_endpoint_and_does_not_invoke_it() {
    let fake = FakeService::responding(json!({"EndpointStatus": "InService"}).to_string()).await;
    assert_eq!(check(&fake.url).await, None);
    let calls = fake.calls();
    let [call] = calls.as_slice() else { panic!("{calls:?}") };
    assert_eq!(call.target, "/");
    assert_eq!(call.header("x-amz-target"), Some("SageMaker.DescribeEndpoint"));
    assert_eq!(call.body, r#"{"EndpointName":"tiger"}"#);
    assert!(call.is_signed());
}

#[tokio::test]
async fn only_an_answer_that_excludes_calls_is_an_obstacle() {
    for (status, obstacle) in [
        ("InService", None),
        ("Updating", None),
        ("RollingBack", None),
        ("Creating", Some(CallObstacle::NotInService)),
        ("Failed", Some(CallObstacle::NotInService)),
        ("Deleting", Some(CallObstacle::NotInService)),
    ] {
        assert_eq!(check_response(200, json!({"EndpointStatus": status})).await, obstacle, "{status}");
    }
    for (status, code, message, obstacle) in [
        (400, "ValidationException", "Could not find endpoint \"tiger\".", Some(CallObstacle::NoEndpoint)),
        (400, "UnrecognizedClientException", "invalid token", Some(CallObstacle::InvalidCredentials)),
        (403, "InvalidSignatureException", "x", Some(CallObstacle::InvalidCredentials)),
        // The permission to describe an endpoint is not the permission to invoke it.
        (400, "AccessDeniedException", "not authorized to perform: sagemaker:DescribeEndpoint", None),
        (400, "ValidationException", "another parameter", None),
        (400, "ThrottlingException", "slow down", None),
        (500, "InternalFailure", "x", None),
        (404, "UnknownOperationException", "x", None),
    ] {
        let found = check_response(status, json!({"__type": code, "message": message})).await;
        assert_eq!(found, obstacle, "{code}");
    }
    // A server that is not AWS's, and no server.
    assert_eq!(check_response(405, json!({"title": "Method not allowed"})).await, None);
    assert_eq!(check(&unused_url().await).await, None);
}
