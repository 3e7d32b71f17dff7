//! The endpoint's settings.

use std::time::Duration;

use http::Uri;
use tintype_core::engine::EngineInfo;
use tintype_core::model::ModelCard;
use tintype_core::secret::Secret;

use crate::wire::Dialect;

/// SageMaker's own time limit for a real-time endpoint's model.
const DEFAULT_CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// Default maximum of a response in bytes: ten pictures of some megabytes each in base64.
const MAX_RESPONSE_BYTES: usize = 64 << 20;
/// Maximum length of the custom attributes.
const MAX_ATTRIBUTES_BYTES: usize = 1_024;
/// Maximum length of an endpoint's name.
const MAX_NAME_BYTES: usize = 63;

/// The Runtime API's location, and the credentials for it.
#[derive(Clone, Debug, Default)]
pub struct Service {
    /// The service's URL; `None` means AWS.
    pub url: Option<String>,
    /// `None` means the region of AWS's default chain (environment, profile, instance), or `us-east-1`
    /// without one.
    pub region: Option<String>,
    /// Access key id and secret; `None` means AWS's default chain.
    pub credentials: Option<(String, Secret)>,
}

/// An endpoint, and the parameters of every request to it.
#[derive(Clone, Debug, Default)]
pub struct Endpoint {
    /// The endpoint's name.
    pub name: String,
    /// The form of requests that its model accepts.
    pub dialect: Dialect,
    /// `X-Amzn-SageMaker-Custom-Attributes`, up to 1,024 visible ASCII characters, for example
    /// `accept_eula=true`.
    pub custom_attributes: Option<String>,
    /// One of the endpoint's inference components; real-time endpoints only.
    pub inference_component: Option<String>,
    /// One of the endpoint's production variants; real-time endpoints only.
    pub variant: Option<String>,
    /// One of the models of a multi-model endpoint, by its file name; real-time endpoints only.
    pub target_model: Option<String>,
}

/// The settings of an engine.
#[derive(Clone, Debug)]
pub struct EndpointSettings {
    /// The Runtime API.
    pub service: Service,
    /// The endpoint.
    pub endpoint: Endpoint,
    /// The model's name and defaults, as the API shows them.
    pub model: ModelCard,
    /// Maximum number of concurrent requests.
    pub slots: usize,
    /// Time limit for one call, from the connection to the last byte of the response; 60 s by default. With
    /// an asynchronous endpoint it applies to the call that submits the work.
    pub call_timeout: Duration,
    /// Maximum length of a response in bytes.
    pub max_response_bytes: usize,
    /// Returns the current W3C `traceparent`, if there is one. It travels in the custom attributes: apart
    /// from the body, SageMaker passes nothing else to the model.
    pub traceparent: fn() -> Option<String>,
}

/// Why the settings are invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The endpoint's name is not one that SageMaker allows.
    #[error(
        "invalid endpoint name {0:?}: it must have 1 to 63 letters, digits and hyphens, and no hyphen at \
         either end"
    )]
    InvalidName(String),
    /// The Runtime API's URL is invalid.
    #[error("invalid SageMaker Runtime API URL {0:?}: it must have http:// or https:// and a host")]
    InvalidUrl(String),
    /// The custom attributes do not fit in a header.
    #[error("invalid custom attributes: they must have at most 1,024 visible ASCII characters")]
    InvalidCustomAttributes,
    /// A duration of an asynchronous endpoint is outside SageMaker's range.
    #[error("`{name}` must be between {min} s and {max} s")]
    OutOfRange {
        /// The field of [`AsyncSettings`](super::AsyncSettings).
        name: &'static str,
        /// The smallest value in seconds.
        min: u64,
        /// The largest value in seconds.
        max: u64,
    },
}

impl EndpointSettings {
    /// The default settings for an endpoint on AWS. `model` is the endpoint's model.
    pub fn new(endpoint: &str, model: ModelCard) -> Self {
        Self {
            service: Service::default(),
            endpoint: Endpoint { name: endpoint.to_owned(), ..Endpoint::default() },
            model,
            slots: 1,
            call_timeout: DEFAULT_CALL_TIMEOUT,
            max_response_bytes: MAX_RESPONSE_BYTES,
            traceparent: || None,
        }
    }

    /// What is known of the engine. Every attempt is billed.
    pub(super) fn engine_info(&self) -> EngineInfo {
        EngineInfo { slots: self.slots, repeatable: false, ..EngineInfo::new(self.model.clone()) }
    }

    /// The custom attributes for a call, with the current `traceparent`.
    pub(super) fn attributes(&self) -> Option<String> {
        let configured = self.endpoint.custom_attributes.clone();
        let Some(traceparent) = (self.traceparent)() else { return configured };
        let traced =
            configured.iter().cloned().chain([format!("traceparent={traceparent}")]).collect::<Vec<_>>();
        // If both do not fit, the operator's attributes take precedence.
        Some(traced.join(",")).filter(|text| text.len() <= MAX_ATTRIBUTES_BYTES).or(configured)
    }

    pub(super) fn check(&self) -> Result<(), SettingsError> {
        let name = &self.endpoint.name;
        let letters = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !(1..=MAX_NAME_BYTES).contains(&name.len())
            || !letters
            || name.starts_with('-')
            || name.ends_with('-')
        {
            return Err(SettingsError::InvalidName(name.clone()));
        }
        if let Some(url) = self.service.url.as_ref().filter(|url| !is_http_url(url)) {
            return Err(SettingsError::InvalidUrl(url.clone()));
        }
        let fits = |text: &String| {
            text.len() <= MAX_ATTRIBUTES_BYTES && text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
        };
        if self.endpoint.custom_attributes.as_ref().is_some_and(|attributes| !fits(attributes)) {
            return Err(SettingsError::InvalidCustomAttributes);
        }
        Ok(())
    }
}

fn is_http_url(url: &str) -> bool {
    url.parse::<Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty())
    })
}
