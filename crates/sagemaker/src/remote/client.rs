//! The SDK's client, created by the first call, because it must not delay the start of a Lambda function.

use std::sync::OnceLock;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sagemakerruntime::Client;
use aws_sdk_sagemakerruntime::config::retry::RetryConfig;
use aws_sdk_sagemakerruntime::config::timeout::TimeoutConfig;
use aws_sdk_sagemakerruntime::config::{
    Builder, Credentials, SharedCredentialsProvider, SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::{Builder as HttpBuilder, ConnectorBuilder};
use tokio::sync::Mutex;

use super::settings::{EndpointSettings, Service};

/// The region if AWS's configuration has none.
const DEFAULT_REGION: &str = "us-east-1";
/// Maximum time to open a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A client that the first call creates.
#[derive(Debug, Default)]
pub(super) struct LazyClient {
    client: Mutex<Option<Client>>,
    /// Logs once that no region is configured.
    region_warning: OnceLock<()>,
}

impl LazyClient {
    pub(super) async fn get(&self, settings: &EndpointSettings) -> Client {
        let mut client = self.client.lock().await;
        match &*client {
            Some(client) => client.clone(),
            None => client.insert(create(settings, &self.region_warning).await).clone(),
        }
    }

    /// Makes the next call read AWS's configuration again. The SDK reads its files only once.
    pub(super) async fn reset(&self) {
        *self.client.lock().await = None;
    }
}

async fn create(settings: &EndpointSettings, region_warning: &OnceLock<()>) -> Client {
    let service = &settings.service;
    let mut base = match &service.credentials {
        Some((id, secret)) => {
            // The SDK signs with the secret and does not print it.
            let credentials = Credentials::new(id, secret.expose(), None, None, "tintype");
            Builder::new()
                .behavior_version(BehaviorVersion::latest())
                .region(region(service, None, region_warning))
                .credentials_provider(SharedCredentialsProvider::new(credentials))
        }
        None => {
            let mut loader = aws_config::defaults(BehaviorVersion::latest());
            if let Some(region) = &service.region {
                loader = loader.region(Region::new(region.clone()));
            }
            let chain = loader.load().await;
            Builder::from(&chain).region(region(service, Some(&chain), region_warning))
        }
    };
    let timeouts =
        TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).operation_timeout(settings.call_timeout);
    if let Some(url) = &service.url {
        // Otherwise AWS's own configuration applies, for example `AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME`.
        base = base.endpoint_url(url);
    }
    let configured = base
        .http_client(unpooled_http_client())
        // A call that AWS may have charged for is not repeated.
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts.build())
        // A model may compute for a minute without sending anything.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    Client::from_conf(configured.build())
}

/// The SDK's default HTTP client, except that every call opens its own connection. A pooled connection may be
/// dead without the client's knowledge (a Lambda function is frozen between two requests), and a call that is
/// lost on it cannot be repeated.
fn unpooled_http_client() -> SharedHttpClient {
    HttpBuilder::new().build_with_connector_fn(|settings, components| {
        let mut connector = ConnectorBuilder::default()
            .pool_max_idle_per_host(0)
            .tls_provider(Provider::Rustls(CryptoMode::AwsLc));
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(|components| components.sleep_impl()));
        connector.set_proxy_config(Some(ProxyConfig::from_env()));
        connector.build()
    })
}

fn region(service: &Service, chain: Option<&SdkConfig>, warning: &OnceLock<()>) -> Region {
    let configured = service.region.clone().map(Region::new);
    configured.or_else(|| chain?.region().cloned()).unwrap_or_else(|| {
        warning.get_or_init(|| {
            tracing::warn!(
                region = DEFAULT_REGION,
                fix = "set AWS_REGION",
                "no AWS region is configured, using the default"
            );
        });
        Region::from_static(DEFAULT_REGION)
    })
}
