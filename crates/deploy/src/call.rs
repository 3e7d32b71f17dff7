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
}

/// SageMaker's control plane.
pub(crate) const SAGEMAKER: Service =
    Service { host: "api.sagemaker", signing: "sagemaker", id: "sagemaker" };
/// The service that knows who we are.
pub(crate) const STS: Service = Service { host: "sts", signing: "sts", id: "sts" };

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
        format!("https://{}.{}.{suffix}", service.host, self.region)
    }

    /// Calls an action of a service that speaks JSON 1.1, once.
    pub(crate) async fn ask(
        &self,
        service: Service,
        action: &'static str,
        question: &serde_json::Value,
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
            .region(&self.region)
            .name(service.signing)
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| broken(&error))?
            .into();
        let (url, body) = (format!("{}/", self.url(service)), question.to_string());
        let headers = [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", action)];
        let signable =
            SignableRequest::new("POST", &url, headers.into_iter(), SignableBody::Bytes(body.as_bytes()));
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

    #[tokio::test]
    async fn nobody_there_is_unreachable() {
        let asked = account("http://127.0.0.1:1").knock(STS, "ask").await;
        assert!(matches!(asked, Err(AwsError::Unreachable { .. })));
    }
}
