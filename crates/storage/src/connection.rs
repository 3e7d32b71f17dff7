//! The SDK's clients: one for requests to the service, and one that signs links with the public endpoint.

use std::time::Duration;

use aws_config::{BehaviorVersion, Region};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    Builder, Credentials, RequestChecksumCalculation, ResponseChecksumValidation, SharedCredentialsProvider,
};
use tintype_core::secret::Secret;

use crate::credential_lifetime::{LastCredentialLifetime, TrackedCredentials};
use crate::remote::S3Settings;
use crate::service_clock::ServiceClock;
use crate::signer::Signer;

/// Time limit for one attempt of a call, body included.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(60);
/// Time limit for a call with all its attempts.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(150);

/// The client, and the signer of links.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    pub(crate) client: Client,
    pub(crate) signer: Signer,
}

impl Connection {
    /// Creates the clients, without a request to the service. AWS's default chain may request a region from
    /// the instance. `clock` observes the responses.
    pub(crate) async fn new(settings: &S3Settings, clock: &ServiceClock) -> Self {
        let region = settings.region.clone().map(Region::new);
        let lifetime = LastCredentialLifetime::default();
        let base = match &settings.credentials {
            Some((id, secret)) => static_credentials(id, secret, region),
            None => default_chain(region, &lifetime).await,
        };
        let (endpoint, public) = (settings.endpoint.as_deref(), settings.public_endpoint.as_deref());
        let client =
            Client::from_conf(with_endpoint(base.clone(), endpoint).interceptor(clock.clone()).build());
        let signing = Client::from_conf(with_endpoint(base, public.or(endpoint)).build());
        let signer = Signer {
            client: signing,
            bucket: settings.bucket.clone(),
            lifetime,
            max_link_lifetime: settings.max_link_lifetime(),
        };
        Self { client, signer }
    }
}

/// A client configuration with the given credentials.
pub(crate) fn static_credentials(id: &str, secret: &Secret, region: Option<Region>) -> Builder {
    // The SDK signs with the secret and does not print it.
    let credentials = Credentials::new(id, secret.expose(), None, None, "tintype");
    Builder::new()
        .behavior_version(BehaviorVersion::latest())
        .region(region.unwrap_or(Region::from_static("us-east-1")))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .timeout_config(timeouts())
}

/// A client configuration with the region and credentials of AWS's default chain.
async fn default_chain(region: Option<Region>, lifetime: &LastCredentialLifetime) -> Builder {
    let mut loader = aws_config::defaults(BehaviorVersion::latest());
    if let Some(region) = region {
        loader = loader.region(region);
    }
    let chain = loader.load().await;
    let region = chain.region().cloned().unwrap_or(Region::from_static("us-east-1"));
    let mut base = Builder::from(&chain).region(region).timeout_config(timeouts());
    if let Some(provider) = chain.credentials_provider() {
        base.set_credentials_provider(Some(SharedCredentialsProvider::new(TrackedCredentials::new(
            provider,
            lifetime.clone(),
        ))));
    }
    base
}

/// The SDK's defaults limit only the time to connect: without these limits, a call would wait for ever for a
/// service that never responds.
fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(OPERATION_TIMEOUT)
        .build()
}

/// Sets an endpoint other than AWS's own, with the bucket in the path.
pub(crate) fn with_endpoint(base: Builder, endpoint: Option<&str>) -> Builder {
    let Some(endpoint) = endpoint else { return base };
    // Not every S3 service supports the checksums that AWS's SDK sends by default since 2025.
    base.endpoint_url(endpoint)
        .force_path_style(true)
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
}
