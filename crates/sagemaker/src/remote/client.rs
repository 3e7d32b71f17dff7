//! The SDK's client, made when it is first needed: a function that starts must not wait for it.

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
use tokio::sync::OnceCell;

use super::settings::{EndpointSettings, Service};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);

/// A client that is connected by the first who asks for it.
#[derive(Debug, Default)]
pub(super) struct Lazy(OnceCell<Client>);

impl Lazy {
    pub(super) async fn get(&self, settings: &EndpointSettings) -> &Client {
        self.0.get_or_init(|| connect(settings)).await
    }
}

async fn connect(settings: &EndpointSettings) -> Client {
    let service = &settings.service;
    let mut base = match &service.credentials {
        Some((id, secret)) => {
            // The secret is handed to the SDK, which signs with it and does not print it.
            let credentials = Credentials::new(id, secret.expose(), None, None, "tintype");
            Builder::new()
                .behavior_version(BehaviorVersion::latest())
                .region(region(service, None))
                .credentials_provider(SharedCredentialsProvider::new(credentials))
        }
        None => {
            let mut loader = aws_config::defaults(BehaviorVersion::latest());
            if let Some(region) = &service.region {
                loader = loader.region(Region::new(region.clone()));
            }
            let found = loader.load().await;
            Builder::from(&found).region(region(service, Some(&found)))
        }
    };
    let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT).operation_timeout(settings.budget);
    if let Some(url) = &service.url {
        // Otherwise what AWS's chain says, `AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME` for example.
        base = base.endpoint_url(url);
    }
    let configured = base
        .http_client(fresh_connections())
        // A paid call is made once.
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts.build())
        // A model that thinks for a minute sends nothing meanwhile.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    Client::from_conf(configured.build())
}

/// The SDK's own client but for one thing: every call has a connection of its own. One that was kept may be dead without our
/// knowing (a function is frozen between two requests), and a paid call that is lost on it cannot be made again.
fn fresh_connections() -> SharedHttpClient {
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

fn region(service: &Service, found: Option<&SdkConfig>) -> Region {
    let given = service.region.clone().map(Region::new);
    given.or_else(|| found?.region().cloned()).unwrap_or(Region::from_static("us-east-1"))
}
