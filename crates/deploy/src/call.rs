//! Single requests to services whose SDK would be far larger than the one question that we have.

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

/// How long a question may take.
const ANSWER: Duration = Duration::from_secs(30);

/// A service: the name in its host, the name in signatures, and the SDKs' id of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Service {
    host: &'static str,
    signing: &'static str,
    id: &'static str,
    reach: Reach,
}

/// How many of a service there are.
#[derive(Clone, Copy, Debug)]
enum Reach {
    /// One in every region.
    Region,
    /// One in every partition.
    Partition,
}

/// SageMaker's control plane.
pub(crate) const SAGEMAKER: Service =
    Service { host: "api.sagemaker", signing: "sagemaker", id: "sagemaker", reach: Reach::Region };
/// The service that knows who we are.
pub(crate) const STS: Service = Service { host: "sts", signing: "sts", id: "sts", reach: Reach::Region };
/// The service that knows users, roles and policies.
pub(crate) const IAM: Service = Service { host: "iam", signing: "iam", id: "iam", reach: Reach::Partition };

/// What a service is asked, in the words of the protocol that it speaks.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    headers: Vec<(&'static str, &'static str)>,
    body: String,
}

impl Question {
    /// In JSON 1.1.
    pub(crate) fn json(target: &'static str, question: &serde_json::Value) -> Self {
        let headers = vec![("content-type", "application/x-amz-json-1.1"), ("x-amz-target", target)];
        Self { headers, body: question.to_string() }
    }

    /// In the Query protocol: an action of a version of the interface, with its fields.
    pub(crate) fn query(action: &str, version: &str, fields: &[(String, String)]) -> Self {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("Action", action).append_pair("Version", version).extend_pairs(fields);
        let headers = vec![("content-type", "application/x-www-form-urlencoded; charset=utf-8")];
        Self { headers, body: form.finish() }
    }
}

/// An answer, read to its end.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Aws {
    /// Where a service is: what the environment or the profile says, as the SDKs read it, or AWS's own address.
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
        match (service.reach, self.home(service)) {
            // The oldest partition's has no region in its name.
            (Reach::Partition, "us-east-1") => format!("https://{}.{suffix}", service.host),
            (Reach::Partition, "us-gov-west-1") => format!("https://{}.us-gov.{suffix}", service.host),
            (_, region) => format!("https://{}.{region}.{suffix}", service.host),
        }
    }

    /// The region that a service is in.
    fn home(&self, service: Service) -> &str {
        match service.reach {
            Reach::Region => &self.region,
            Reach::Partition if self.region.starts_with("cn-") => "cn-north-1",
            Reach::Partition if self.region.starts_with("us-gov-") => "us-gov-west-1",
            Reach::Partition => "us-east-1",
        }
    }

    /// Asks a service, once.
    pub(crate) async fn ask(
        &self,
        service: Service,
        question: Question,
        what: &'static str,
    ) -> Result<Reply, AwsError> {
        let provider =
            self.config.credentials_provider().ok_or_else(|| AwsError::Credentials("none".into()))?;
        let credentials = provider.provide_credentials().await;
        let identity = credentials.map_err(|error| AwsError::Credentials(causes(&error).to_string()))?.into();
        let broken = |error: &dyn std::error::Error| AwsError::Failed {
            what,
            code: None,
            said: causes(error).to_string(),
        };
        let parameters = SigningParams::builder()
            .identity(&identity)
            .region(self.home(service))
            .name(service.signing)
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| broken(&error))?
            .into();
        let (url, Question { headers, body }) = (format!("{}/", self.url(service)), question);
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

    /// Fetches the root of a service without saying who we are.
    pub(crate) async fn knock(&self, service: Service, what: &'static str) -> Result<Reply, AwsError> {
        let request = http::Request::get(format!("{}/", self.url(service))).body(SdkBody::empty());
        send(request.map_err(|error| AwsError::Failed { what, code: None, said: error.to_string() })?, what)
            .await
    }
}

async fn send(request: http::Request<SdkBody>, what: &'static str) -> Result<Reply, AwsError> {
    let unreachable = |said: String| AwsError::Unreachable { what, said };
    let request = HttpRequest::try_from(request).map_err(|error| unreachable(causes(&error).to_string()))?;
    let exchange = async {
        let answer = connector().call(request).await;
        let mut answer = answer.map_err(|error| unreachable(causes(&error).to_string()))?;
        let body = ByteStream::new(answer.take_body()).collect().await;
        let body = body.map_err(|error| unreachable(causes(&error).to_string()))?.to_vec();
        let answer = answer.try_into_http1x().map_err(|error| unreachable(causes(&error).to_string()))?;
        Ok(Reply { status: answer.status(), headers: answer.headers().clone(), body })
    };
    let waited = tokio::time::timeout(ANSWER, exchange).await;
    waited.unwrap_or_else(|_| Err(unreachable(format!("no answer within {} s", ANSWER.as_secs()))))
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

    #[test]
    fn addresses() {
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
    fn there_is_one_iam_in_a_partition() {
        let mut account = account("http://127.0.0.1:1");
        let mut config = account.config.into_builder();
        config.set_endpoint_url(None);
        account.config = config.build();
        for (region, home, url) in [
            ("eu-central-1", "us-east-1", "https://iam.amazonaws.com"),
            ("cn-northwest-1", "cn-north-1", "https://iam.cn-north-1.amazonaws.com.cn"),
            ("us-gov-east-1", "us-gov-west-1", "https://iam.us-gov.amazonaws.com"),
        ] {
            account.region = region.into();
            assert_eq!((account.home(IAM), &*account.url(IAM)), (home, url), "{region}");
        }
    }

    #[tokio::test]
    async fn nobody_there_is_unreachable() {
        let asked = account("http://127.0.0.1:1").knock(STS, "ask").await;
        assert!(matches!(asked, Err(AwsError::Unreachable { .. })));
    }
}
