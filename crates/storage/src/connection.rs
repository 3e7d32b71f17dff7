//! The SDK's clients: one that talks to the service, one that signs links for those who see it under another name.

use std::time::Duration;

use aws_config::{BehaviorVersion, Region};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    Builder, Credentials, RequestChecksumCalculation, ResponseChecksumValidation, SharedCredentialsProvider,
};
use tintype_core::secret::Secret;

use crate::remote::S3Settings;
use crate::session::{LastTerm, Watched};
use crate::signer::Signer;

/// How long one attempt at a call may take, its body included.
const ATTEMPT: Duration = Duration::from_secs(60);
/// How long a call may take with every attempt at it.
const OPERATION: Duration = Duration::from_secs(150);

/// Both clients.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    pub(crate) client: Client,
    pub(crate) signer: Signer,
}

impl Connection {
    /// Prepares the clients. Makes no request to the service; AWS's chain may look for a region.
    pub(crate) async fn new(settings: &S3Settings) -> Self {
        let region = settings.region.clone().map(Region::new);
        let term = LastTerm::default();
        let base = match &settings.credentials {
            Some((id, secret)) => given(id, secret, region),
            None => from_chain(region, &term).await,
        };
        let (endpoint, public) = (settings.endpoint.as_deref(), settings.public_endpoint.as_deref());
        let client = Client::from_conf(addressed(base.clone(), endpoint).build());
        let signing = Client::from_conf(addressed(base, public.or(endpoint)).build());
        let signer =
            Signer { client: signing, bucket: settings.bucket.clone(), term, cap: settings.link_cap() };
        Self { client, signer }
    }
}

/// A client configuration with credentials of our own, for any service.
pub(crate) fn given(id: &str, secret: &Secret, region: Option<Region>) -> Builder {
    // The secret is handed to the SDK, which signs with it and does not print it.
    let credentials = Credentials::new(id, secret.expose(), None, None, "tintype");
    Builder::new()
        .behavior_version(BehaviorVersion::latest())
        .region(region.unwrap_or(Region::from_static("us-east-1")))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .timeout_config(timeouts())
}

async fn from_chain(region: Option<Region>, term: &LastTerm) -> Builder {
    let mut loader = aws_config::defaults(BehaviorVersion::latest());
    if let Some(region) = region {
        loader = loader.region(region);
    }
    let found = loader.load().await;
    let region = found.region().cloned().unwrap_or(Region::from_static("us-east-1"));
    let mut base = Builder::from(&found).region(region).timeout_config(timeouts());
    if let Some(chain) = found.credentials_provider() {
        base.set_credentials_provider(Some(SharedCredentialsProvider::new(Watched::new(
            chain,
            term.clone(),
        ))));
    }
    base
}

/// The SDK's own defaults bound only the connecting: a service that takes a body and never answers would be waited for
/// for ever.
fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT).operation_timeout(OPERATION).build()
}

/// Points a configuration at an endpoint other than AWS's own.
pub(crate) fn addressed(base: Builder, endpoint: Option<&str>) -> Builder {
    let Some(endpoint) = endpoint else { return base };
    // Not every S3 service knows the checksums that AWS's SDK sends by default since 2025.
    base.endpoint_url(endpoint)
        .force_path_style(true)
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
}
