//! The description of a SageMaker endpoint.

use serde_json::{Value, json};

use crate::account::Aws;
use crate::call::{SAGEMAKER, ServiceRequest};
use crate::error::AwsError;

const WHAT: &str = "describe the endpoint (sagemaker:DescribeEndpoint)";

/// An endpoint as SageMaker describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its name.
    pub name: String,
    /// `InService` if it accepts requests; otherwise `Creating`, `Updating`, `Failed` or another status.
    pub status: String,
    /// Why it failed, if it did.
    pub reason: Option<String>,
    /// Where an asynchronous endpoint stores its results; `None` for a real-time endpoint.
    pub outputs: Option<OutputPaths>,
}

/// Where an asynchronous endpoint stores its results, as `BUCKET/PREFIX`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputPaths {
    /// Results of successful invocations.
    pub successes: String,
    /// Error reports of failed invocations.
    pub failures: String,
}

impl OutputPaths {
    /// Reads SageMaker's `AsyncInferenceConfig`.
    fn read(configuration: &Value) -> Option<Self> {
        let path = |field: &str| {
            let path = configuration["OutputConfig"][field].as_str()?.strip_prefix("s3://")?;
            Some(path.trim_end_matches('/').to_owned())
        };
        let successes = path("S3OutputPath")?;
        Some(Self { failures: path("S3FailurePath").unwrap_or_else(|| successes.clone()), successes })
    }
}

impl Endpoint {
    /// Whether the endpoint accepts requests.
    pub fn in_service(&self) -> bool {
        self.status == "InService"
    }
}

impl Aws {
    /// Describes an endpoint; `None` if it does not exist.
    ///
    /// # Errors
    /// [`AwsError`], for example if a permission is missing.
    pub async fn endpoint(&self, name: &str) -> Result<Option<Endpoint>, AwsError> {
        let request = ServiceRequest::json("SageMaker.DescribeEndpoint", &json!({ "EndpointName": name }));
        let reply = self.call(SAGEMAKER, request, WHAT).await?;
        if reply.status.is_success() {
            let answer: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
            let text = |field: &str| answer[field].as_str().map(str::to_owned);
            return Ok(Some(Endpoint {
                name: text("EndpointName").unwrap_or_else(|| name.to_owned()),
                status: text("EndpointStatus").unwrap_or_default(),
                reason: text("FailureReason"),
                outputs: OutputPaths::read(&answer["AsyncInferenceConfig"]),
            }));
        }
        // SageMaker has no error code for a missing endpoint.
        let message = reply.error_detail().message;
        if message.is_some_and(|message| message.starts_with("Could not find endpoint")) {
            return Ok(None);
        }
        Err(reply.error(WHAT))
    }
}
