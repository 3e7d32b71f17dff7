//! An AWS account in one region.

use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::config::{ProvideCredentials, timeout::TimeoutConfig};
use serde::Deserialize;
use tintype_core::causes::causes;

use crate::call::{STS, ServiceRequest};
use crate::error::AwsError;
use crate::query;

/// Time limit for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Interval between two reads of a changing stack.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// An account in a region.
#[derive(Clone, Debug)]
pub struct Aws {
    pub(crate) config: SdkConfig,
    pub(crate) region: String,
    pub(crate) s3: aws_sdk_s3::Client,
    pub(crate) poll_interval: Duration,
}

/// The identity behind the credentials.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Identity {
    /// The account id, 12 digits.
    pub account: String,
    /// The ARN of the user or role.
    pub arn: String,
}

impl Aws {
    /// Finds the region and the credentials as AWS's tools do, and honours `AWS_ENDPOINT_URL`. Sends no
    /// request to AWS.
    ///
    /// # Errors
    /// [`AwsError::NoRegion`] and [`AwsError::Credentials`].
    pub async fn connect(region: Option<String>) -> Result<Self, AwsError> {
        let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).build();
        let mut loader = aws_config::defaults(BehaviorVersion::latest()).timeout_config(timeouts);
        if let Some(region) = region {
            loader = loader.region(Region::new(region));
        }
        let config = loader.load().await;
        let found = config
            .credentials_provider()
            .ok_or_else(|| AwsError::Credentials("no AWS credentials provider is configured".into()))?;
        let found = found.provide_credentials().await;
        found.map_err(|error| AwsError::Credentials(causes(&error).to_string()))?;
        Self::with(config, POLL_INTERVAL)
    }

    pub(crate) fn with(config: SdkConfig, poll_interval: Duration) -> Result<Self, AwsError> {
        let region = config.region().ok_or(AwsError::NoRegion)?.to_string();
        let s3 = aws_sdk_s3::Client::new(&config);
        Ok(Self { config, region, s3, poll_interval })
    }

    /// The region, for example `eu-central-1`.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Reads the identity from STS.
    ///
    /// # Errors
    /// [`AwsError::Credentials`] if AWS rejects the credentials; [`AwsError::Unreachable`].
    pub async fn identity(&self) -> Result<Identity, AwsError> {
        let what = "read the identity (sts:GetCallerIdentity)";
        let request = ServiceRequest::query("GetCallerIdentity", "2011-06-15", &[]);
        let answer: GetCallerIdentity = query::read(&self.call(STS, request, what).await?, what)?;
        Ok(answer.result)
    }
}

#[derive(Deserialize)]
struct GetCallerIdentity {
    #[serde(rename = "GetCallerIdentityResult")]
    result: Identity,
}

#[cfg(test)]
pub(crate) mod testing {
    use aws_sdk_s3::config::{Credentials, SharedCredentialsProvider};

    use super::*;

    /// An account whose services are at `url`.
    pub(crate) fn account(url: &str) -> Aws {
        let credentials = Credentials::new("AKID", "secret", None, None, "test");
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .region(Region::new("eu-central-1"))
            .endpoint_url(url)
            .build();
        Aws::with(config, Duration::from_millis(1)).expect("a region")
    }
}
