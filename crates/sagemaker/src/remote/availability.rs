//! Checks whether an endpoint can be called, without calling it.
//!
//! `DescribeEndpoint` of SageMaker's own API needs the same credentials and is not billed. A server without
//! the permission for it may still call the endpoint, so only an answer that excludes this is an obstacle.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sagemakerruntime::config::http::HttpRequest;
use aws_smithy_types::body::SdkBody;
use http::Uri;
use serde::Deserialize;
use serde_json::json;
use tintype_core::engine::CallObstacle;

use super::client::LazyClient;
use super::error::InvokeError;
use super::error_mapping::map_sdk_error;
use super::interceptor::CallMonitor;
use super::settings::EndpointSettings;

/// The operation, in the form of AWS's JSON protocol.
const TARGET: &str = "SageMaker.DescribeEndpoint";
const CONTENT_TYPE: &str = "application/x-amz-json-1.1";
/// Maximum size of a description in bytes.
const MAX_DESCRIPTION: usize = 1 << 20;
/// The states of an endpoint that serves no requests.
const OUT_OF_SERVICE: [&str; 4] = ["Creating", "Deleting", "Failed", "OutOfService"];
/// The error codes of credentials that AWS does not accept.
const CREDENTIAL_CODES: [&str; 8] = [
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAuthenticationToken",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Description {
    endpoint_status: String,
}

/// The endpoint exists and is in this state, in which it serves no requests.
#[derive(Debug, thiserror::Error)]
#[error("the endpoint {name} has the status {status}")]
struct OutOfService {
    name: String,
    status: String,
}

/// An obstacle and its cause.
pub(super) type Obstacle = (CallObstacle, Box<dyn Error + Send + Sync>);

/// Checks the credentials and the endpoint.
pub(super) async fn check(client: &LazyClient, settings: &EndpointSettings) -> Result<(), Obstacle> {
    let description = match describe(client, settings).await {
        Ok(description) => description,
        Err(error) => {
            return match obstacle(&error) {
                Some(obstacle) => {
                    client.reset().await;
                    Err((obstacle, cause(obstacle, error)))
                }
                None => {
                    let error = tintype_core::causes::causes(&error);
                    tracing::debug!(%error, "failed to describe endpoint");
                    Ok(())
                }
            };
        }
    };
    match serde_json::from_slice(&description) {
        Ok(Description { endpoint_status: status }) if OUT_OF_SERVICE.contains(&status.as_str()) => {
            let name = settings.endpoint.name.clone();
            Err((CallObstacle::NotInService, Box::new(OutOfService { name, status })))
        }
        _ => Ok(()),
    }
}

/// Why a call with this error cannot succeed before an operator acts; `None` if it may.
pub(super) fn obstacle(error: &InvokeError) -> Option<CallObstacle> {
    match error {
        InvokeError::NotPrepared(source) => credentials_error(&**source).map(|_| CallObstacle::NoCredentials),
        InvokeError::Denied { code, .. } if CREDENTIAL_CODES.contains(&code.as_str()) => {
            Some(CallObstacle::InvalidCredentials)
        }
        InvokeError::Denied { code, message, .. } if code.starts_with("Validation") => {
            // `Endpoint NAME of account ID not found.` and `Could not find endpoint "ARN".`
            let is_absent = message.contains("not found") || message.contains("Could not find");
            is_absent.then_some(CallObstacle::NoEndpoint)
        }
        _ => None,
    }
}

/// The cause of an obstacle, for the log. The SDK's text about missing credentials has a line for each place
/// where it looked.
pub(super) fn cause(obstacle: CallObstacle, error: InvokeError) -> Box<dyn Error + Send + Sync> {
    let InvokeError::NotPrepared(source) = &error else { return Box::new(error) };
    match (obstacle, credentials_error(&**source)) {
        (CallObstacle::NoCredentials, Some(CredentialsError::CredentialsNotLoaded(_))) => {
            "no AWS credentials found: set `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, or `AWS_PROFILE`, or give \
             this machine a role"
                .into()
        }
        _ => Box::new(error),
    }
}

fn credentials_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a CredentialsError> {
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(found) = cause.downcast_ref() {
            return Some(found);
        }
        next = cause.source();
    }
    None
}

/// Sends `DescribeEndpoint` with the client of the Runtime API: both have the same credentials, region and
/// signing name, and the SDK for the rest of SageMaker is large.
async fn describe(client: &LazyClient, settings: &EndpointSettings) -> Result<Vec<u8>, InvokeError> {
    let name = &settings.endpoint.name;
    let body = json!({"EndpointName": name}).to_string();
    let monitor = CallMonitor::new(MAX_DESCRIPTION);
    let client = client.get(settings).await;
    let sent = client
        .invoke_endpoint()
        .endpoint_name(name)
        .customize()
        .interceptor(monitor.clone())
        .map_request(move |mut request| {
            // An address that the SDK created is valid.
            let url =
                request.uri().parse().map_or_else(|_| request.uri().to_owned(), |url| control_plane(&url));
            let changed = request.set_uri(url);
            set_content(&mut request, &body);
            changed.map(|()| request)
        })
        .send()
        .await;
    let response = sent.map_err(|error| map_sdk_error(error, &monitor, settings.call_timeout, |_| None))?;
    Ok(response.body.map(aws_sdk_sagemakerruntime::primitives::Blob::into_inner).unwrap_or_default())
}

fn set_content(request: &mut HttpRequest, body: &str) {
    let headers = request.headers_mut();
    headers.insert("content-type", CONTENT_TYPE);
    headers.insert("content-length", body.len().to_string());
    headers.insert("x-amz-target", TARGET);
    *request.body_mut() = SdkBody::from(body);
}

/// The URL of SageMaker's own API for a URL of its Runtime API. A URL that is not AWS's is kept, because
/// emulators serve both.
fn control_plane(runtime: &Uri) -> String {
    let host = runtime.authority().map_or("", |authority| authority.as_str());
    let host = match host.split_once(".sagemaker.") {
        Some(("runtime", rest)) => format!("api.sagemaker.{rest}"),
        Some(("runtime-fips", rest)) => format!("api-fips.sagemaker.{rest}"),
        _ => host.to_owned(),
    };
    format!("{}://{host}/", runtime.scheme_str().unwrap_or("https"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_control_plane_has_its_own_host_on_aws() {
        for (runtime, expected) in [
            (
                "https://runtime.sagemaker.eu-west-1.amazonaws.com/x",
                "https://api.sagemaker.eu-west-1.amazonaws.com/",
            ),
            (
                "https://runtime.sagemaker.cn-north-1.amazonaws.com.cn",
                "https://api.sagemaker.cn-north-1.amazonaws.com.cn/",
            ),
            (
                "https://runtime-fips.sagemaker.us-east-1.amazonaws.com/",
                "https://api-fips.sagemaker.us-east-1.amazonaws.com/",
            ),
            ("http://127.0.0.1:5000/endpoints/x/invocations", "http://127.0.0.1:5000/"),
        ] {
            assert_eq!(control_plane(&runtime.parse().expect("a URL")), expected);
        }
    }
}
