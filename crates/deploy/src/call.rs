//! Signed requests to AWS services of which tintype needs one or two operations. Their SDKs would be much
//! larger than this module.

use std::time::{Duration, SystemTime};

use aws_sdk_s3::config::{ProvideCredentials, http::HttpRequest};
use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_http_client::{Connector, ConnectorBuilder};
use aws_smithy_runtime_api::client::http::HttpConnector;
use aws_types::service_config::ServiceConfigKey;
use http::{HeaderMap, StatusCode};
use tintype_core::causes::causes;

use crate::account::Aws;
use crate::error::AwsError;

/// Time limit for a request.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum number of attempts of a request. The pause between two doubles each time.
const ATTEMPTS: u32 = 5;

/// A service: its host name, its name in signatures, and its id in the SDKs' configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Service {
    host: &'static str,
    signing: &'static str,
    id: &'static str,
    scope: Scope,
}

/// Whether a service exists once per region or once per partition.
#[derive(Clone, Copy, Debug)]
enum Scope {
    /// Once per region.
    Region,
    /// Once per partition.
    Partition,
}

/// CloudFormation.
pub(crate) const CLOUDFORMATION: Service =
    Service { host: "cloudformation", signing: "cloudformation", id: "cloudformation", scope: Scope::Region };
/// SageMaker's control plane.
pub(crate) const SAGEMAKER: Service =
    Service { host: "api.sagemaker", signing: "sagemaker", id: "sagemaker", scope: Scope::Region };
/// The Security Token Service.
pub(crate) const STS: Service = Service { host: "sts", signing: "sts", id: "sts", scope: Scope::Region };
/// Identity and Access Management.
pub(crate) const IAM: Service = Service { host: "iam", signing: "iam", id: "iam", scope: Scope::Partition };

/// A request in the service's protocol.
#[derive(Clone, Debug)]
pub(crate) struct ServiceRequest {
    headers: Vec<(&'static str, &'static str)>,
    body: String,
    /// Whether the operation changes nothing, so that a repetition is harmless.
    is_read: bool,
}

impl ServiceRequest {
    /// A request in the protocol JSON 1.1.
    pub(crate) fn json(target: &'static str, request: &serde_json::Value) -> Self {
        let headers = vec![("content-type", "application/x-amz-json-1.1"), ("x-amz-target", target)];
        let operation = target.rsplit('.').next().unwrap_or_default();
        Self { headers, body: request.to_string(), is_read: is_read(operation) }
    }

    /// A request in the Query protocol: an action, the API version, and the fields.
    pub(crate) fn query(action: &str, version: &str, fields: &[(String, String)]) -> Self {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("Action", action).append_pair("Version", version).extend_pairs(fields);
        let headers = vec![("content-type", "application/x-www-form-urlencoded; charset=utf-8")];
        Self { headers, body: form.finish(), is_read: is_read(action) }
    }
}

/// Whether an operation with this name changes nothing, by AWS's naming rules.
fn is_read(operation: &str) -> bool {
    ["Describe", "Get", "List", "Simulate"].iter().any(|verb| operation.starts_with(verb))
}

/// A complete response.
pub(crate) struct ServiceResponse {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl ServiceResponse {
    /// Whether AWS rejected the request because of its rate, without executing it.
    fn is_throttled(&self) -> bool {
        // Services of the Query protocol answer 400, and some 503.
        self.status == StatusCode::TOO_MANY_REQUESTS
            || (!self.status.is_success() && self.error_detail().is_throttling())
    }
}

impl Aws {
    /// The URL of a service: from the environment or the profile, as the SDKs read it, or AWS's default.
    pub(crate) fn url(&self, service: Service) -> String {
        let key = ServiceConfigKey::builder()
            .service_id(service.id)
            .env("AWS_ENDPOINT_URL")
            .profile("endpoint_url");
        let given = key.build().ok().and_then(|key| self.config.service_config()?.load_config(key));
        if let Some(url) = given.or_else(|| self.config.endpoint_url().map(str::to_owned)) {
            return url.trim_end_matches('/').to_owned();
        }
        let suffix = if self.region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        match (service.scope, self.home_region(service)) {
            // The default partition's host has no region.
            (Scope::Partition, "us-east-1") => format!("https://{}.{suffix}", service.host),
            (Scope::Partition, "us-gov-west-1") => format!("https://{}.us-gov.{suffix}", service.host),
            (_, region) => format!("https://{}.{region}.{suffix}", service.host),
        }
    }

    /// The region of a service, which signatures name.
    fn home_region(&self, service: Service) -> &str {
        match service.scope {
            Scope::Region => &self.region,
            Scope::Partition if self.region.starts_with("cn-") => "cn-north-1",
            Scope::Partition if self.region.starts_with("us-gov-") => "us-gov-west-1",
            Scope::Partition => "us-east-1",
        }
    }

    /// Sends a signed request. Repeats it if AWS rejected it because of its rate, and if it is a read that
    /// failed for a temporary reason.
    pub(crate) async fn call(
        &self,
        service: Service,
        request: ServiceRequest,
        what: &'static str,
    ) -> Result<ServiceResponse, AwsError> {
        let mut pause = self.poll_interval / 4;
        for _ in 1..ATTEMPTS {
            let answer = self.attempt(service, request.clone(), what).await;
            let repeats = match &answer {
                Ok(response) => {
                    response.is_throttled() || (request.is_read && response.status.is_server_error())
                }
                Err(AwsError::Unreachable { .. }) => request.is_read,
                Err(_) => false,
            };
            if !repeats {
                return answer;
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        self.attempt(service, request, what).await
    }

    /// Sends a signed request, in one attempt.
    async fn attempt(
        &self,
        service: Service,
        request: ServiceRequest,
        what: &'static str,
    ) -> Result<ServiceResponse, AwsError> {
        let provider = self
            .config
            .credentials_provider()
            .ok_or_else(|| AwsError::Credentials("no AWS credentials provider is configured".into()))?;
        let credentials = provider.provide_credentials().await;
        let identity = credentials.map_err(|error| AwsError::Credentials(causes(&error).to_string()))?.into();
        let broken = |error: &dyn std::error::Error| AwsError::Failed {
            what,
            code: None,
            message: causes(error).to_string(),
        };
        let parameters = SigningParams::builder()
            .identity(&identity)
            .region(self.home_region(service))
            .name(service.signing)
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| broken(&error))?
            .into();
        let (url, ServiceRequest { headers, body, .. }) = (format!("{}/", self.url(service)), request);
        let signable =
            SignableRequest::new("POST", &url, headers.iter().copied(), SignableBody::Bytes(body.as_bytes()));
        let signed = signable.and_then(|signable| sign(signable, &parameters));
        let (instructions, _) = signed.map_err(|error| broken(&error))?.into_parts();
        let mut request =
            http::Request::post(&url).body(SdkBody::from(body)).map_err(|error| broken(&error))?;
        for (name, value) in headers {
            request.headers_mut().insert(name, http::HeaderValue::from_static(value));
        }
        instructions.apply_to_request_http1x(&mut request);
        send(request, what).await
    }

    /// Fetches the root of a service without a signature.
    pub(crate) async fn probe(
        &self,
        service: Service,
        what: &'static str,
    ) -> Result<ServiceResponse, AwsError> {
        let request = http::Request::get(format!("{}/", self.url(service))).body(SdkBody::empty());
        send(
            request.map_err(|error| AwsError::Failed { what, code: None, message: error.to_string() })?,
            what,
        )
        .await
    }
}

async fn send(request: http::Request<SdkBody>, what: &'static str) -> Result<ServiceResponse, AwsError> {
    let unreachable = |message: String| AwsError::Unreachable { what, message };
    let request = HttpRequest::try_from(request).map_err(|error| unreachable(causes(&error).to_string()))?;
    let exchange = async {
        let answer = connector().call(request).await;
        let mut answer = answer.map_err(|error| unreachable(causes(&error).to_string()))?;
        let body = ByteStream::new(answer.take_body()).collect().await;
        let body = body.map_err(|error| unreachable(causes(&error).to_string()))?.to_vec();
        let answer = answer.try_into_http1x().map_err(|error| unreachable(causes(&error).to_string()))?;
        Ok(ServiceResponse { status: answer.status(), headers: answer.headers().clone(), body })
    };
    let waited = tokio::time::timeout(RESPONSE_TIMEOUT, exchange).await;
    waited
        .unwrap_or_else(|_| Err(unreachable(format!("no response within {} s", RESPONSE_TIMEOUT.as_secs()))))
}

fn connector() -> Connector {
    let mut connector = ConnectorBuilder::default().tls_provider(Provider::Rustls(CryptoMode::AwsLc));
    connector.set_proxy_config(Some(ProxyConfig::from_env()));
    connector.build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::testing::account;
    use crate::tests::fake::Fake;

    #[test]
    fn service_urls() {
        assert_eq!(account("http://127.0.0.1:1/").url(SAGEMAKER), "http://127.0.0.1:1");
        let mut real = account("http://127.0.0.1:1");
        let mut config = real.config.into_builder();
        config.set_endpoint_url(None);
        real.config = config.build();
        assert_eq!(real.url(SAGEMAKER), "https://api.sagemaker.eu-central-1.amazonaws.com");
        real.region = "cn-north-1".into();
        assert_eq!(real.url(STS), "https://sts.cn-north-1.amazonaws.com.cn");
    }

    #[test]
    fn each_partition_has_one_iam() {
        let mut account = account("http://127.0.0.1:1");
        let mut config = account.config.into_builder();
        config.set_endpoint_url(None);
        account.config = config.build();
        for (region, home_region, url) in [
            ("eu-central-1", "us-east-1", "https://iam.amazonaws.com"),
            ("cn-northwest-1", "cn-north-1", "https://iam.cn-north-1.amazonaws.com.cn"),
            ("us-gov-east-1", "us-gov-west-1", "https://iam.us-gov.amazonaws.com"),
        ] {
            account.region = region.into();
            assert_eq!((account.home_region(IAM), &*account.url(IAM)), (home_region, url), "{region}");
        }
    }

    #[tokio::test]
    async fn a_throttled_request_is_repeated_and_a_failed_change_is_not() {
        let throttled = "<ErrorResponse><Error><Code>Throttling</Code><Message>Rate exceeded</Message></Error>\
                         </ErrorResponse>";
        let fake = Fake::default()
            .responds("DeleteStack", 400, throttled)
            .responds("DeleteStack", 503, "")
            .responds("GetRole", 503, "")
            .responds("GetRole", 200, "<A/>");
        let account = fake.start().await;
        let call = async |action| {
            let request = ServiceRequest::query(action, "1", &[]);
            account.call(CLOUDFORMATION, request, "ask").await.expect("a response").status.as_u16()
        };
        assert_eq!((call("DeleteStack").await, call("GetRole").await), (503, 200));
        assert_eq!(fake.calls(), ["DeleteStack", "DeleteStack", "GetRole", "GetRole"]);
    }

    #[tokio::test]
    async fn a_refused_connection_is_unreachable() {
        let asked = account("http://127.0.0.1:1").probe(STS, "ask").await;
        assert!(matches!(asked, Err(AwsError::Unreachable { .. })));
    }
}
