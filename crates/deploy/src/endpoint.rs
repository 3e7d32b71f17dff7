//! A SageMaker endpoint that is there.

use serde_json::{Value, json};

use crate::account::Aws;
use crate::call::{Question, SAGEMAKER};
use crate::error::AwsError;

const WHAT: &str = "look at the endpoint (sagemaker:DescribeEndpoint)";

/// What SageMaker says of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its name.
    pub name: String,
    /// `InService` when it answers; `Creating`, `Updating`, `Failed` and others when not.
    pub status: String,
    /// Why it failed, if it did.
    pub reason: Option<String>,
    /// Where it puts its answers, if it is an asynchronous one.
    pub answers: Option<Answers>,
}

/// Where an asynchronous endpoint puts its answers, as `BUCKET/PREFIX`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answers {
    /// Those that are pictures.
    pub successes: String,
    /// Those that say what went wrong.
    pub failures: String,
}

impl Answers {
    /// From SageMaker's `AsyncInferenceConfig`.
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
    /// It answers.
    pub fn in_service(&self) -> bool {
        self.status == "InService"
    }
}

impl Aws {
    /// Looks at an endpoint. None if there is none of that name.
    ///
    /// # Errors
    /// [`AwsError`], for example when we may not look.
    pub async fn endpoint(&self, name: &str) -> Result<Option<Endpoint>, AwsError> {
        let question = Question::json("SageMaker.DescribeEndpoint", &json!({ "EndpointName": name }));
        let reply = self.ask(SAGEMAKER, question, WHAT).await?;
        let answer: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        let text = |field: &str| answer[field].as_str().map(str::to_owned);
        if reply.status.is_success() {
            return Ok(Some(Endpoint {
                name: text("EndpointName").unwrap_or_else(|| name.to_owned()),
                status: text("EndpointStatus").unwrap_or_default(),
                reason: text("FailureReason"),
                answers: Answers::read(&answer["AsyncInferenceConfig"]),
            }));
        }
        let said = text("message").or_else(|| text("Message"));
        // SageMaker has no code of its own for what is not there.
        if said.as_deref().is_some_and(|said| said.starts_with("Could not find endpoint")) {
            return Ok(None);
        }
        let code = text("__type").map(|code| code.rsplit('#').next().unwrap_or_default().to_owned());
        let said = said.unwrap_or_else(|| format!("status {}", reply.status));
        Err(AwsError::said(WHAT, code.as_deref(), said))
    }
}
