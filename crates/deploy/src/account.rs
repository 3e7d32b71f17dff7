//! An AWS account in one region, as our credentials reach it.

use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::config::{ProvideCredentials, timeout::TimeoutConfig};
use tintype_core::causes::causes;

use crate::error::AwsError;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How often a stack that changes is looked at.
const PAUSE: Duration = Duration::from_secs(2);

/// An account in a region.
#[derive(Clone, Debug)]
pub struct Aws {
    pub(crate) config: SdkConfig,
    pub(crate) region: String,
    pub(crate) stacks: aws_sdk_cloudformation::Client,
    pub(crate) s3: aws_sdk_s3::Client,
    pub(crate) pause: Duration,
}

/// Who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The account's number, 12 digits.
    pub account: String,
    /// The user or role.
    pub arn: String,
}

impl Aws {
    /// Finds region and credentials the way AWS's own tools do; `AWS_ENDPOINT_URL` leads elsewhere. AWS itself is not asked.
    ///
    /// # Errors
    /// [`AwsError::NoRegion`] and [`AwsError::Credentials`].
    pub async fn connect(region: Option<String>) -> Result<Self, AwsError> {
        let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT).build();
        let mut loader = aws_config::defaults(BehaviorVersion::latest()).timeout_config(timeouts);
        if let Some(region) = region {
            loader = loader.region(Region::new(region));
        }
        let config = loader.load().await;
        let found =
            config.credentials_provider().ok_or_else(|| AwsError::Credentials("none given".into()))?;
        let found = found.provide_credentials().await;
        found.map_err(|error| AwsError::Credentials(causes(&error).to_string()))?;
        Self::with(config, PAUSE)
    }

    pub(crate) fn with(config: SdkConfig, pause: Duration) -> Result<Self, AwsError> {
        let region = config.region().ok_or(AwsError::NoRegion)?.to_string();
        let stacks = aws_sdk_cloudformation::Client::new(&config);
        let s3 = aws_sdk_s3::Client::new(&config);
        Ok(Self { config, region, stacks, s3, pause })
    }

    /// The region, for example `eu-central-1`.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Asks AWS who we are.
    ///
    /// # Errors
    /// [`AwsError::Credentials`] if AWS does not know the credentials; [`AwsError::Unreachable`].
    pub async fn identity(&self) -> Result<Identity, AwsError> {
        let asked = aws_sdk_sts::Client::new(&self.config).get_caller_identity().send().await;
        let answer = asked.map_err(AwsError::of("ask who we are"))?;
        Ok(Identity { account: answer.account.unwrap_or_default(), arn: answer.arn.unwrap_or_default() })
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use aws_sdk_s3::config::{Credentials, SharedCredentialsProvider};

    use super::*;

    /// An account at somebody who plays AWS.
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
