//! Which endpoint, and how it is called.

use std::time::Duration;

use http::Uri;
use tintype_core::engine::ModelCard;
use tintype_core::secret::Secret;

use crate::wire::Dialect;

/// Longest time that SageMaker lets a real-time endpoint's model take, and so the default budget.
const BUDGET: Duration = Duration::from_secs(60);
/// Ten pictures of some megabytes each in base64.
const MAX_RESPONSE_BYTES: usize = 64 << 20;
/// Longest custom attributes.
const MAX_ATTRIBUTES: usize = 1_024;
const MAX_NAME: usize = 63;

/// Where the Runtime API is, and who we are there.
#[derive(Clone, Debug, Default)]
pub struct Service {
    /// The service's URL; none means AWS.
    pub url: Option<String>,
    /// None means what AWS's own chain says (environment, profile, instance), and `us-east-1` if it says nothing.
    pub region: Option<String>,
    /// Access key id and secret; none means AWS's own chain.
    pub credentials: Option<(String, Secret)>,
}

/// An endpoint and what is sent along with every request to it.
#[derive(Clone, Debug, Default)]
pub struct Endpoint {
    /// Its name.
    pub name: String,
    /// What its model understands.
    pub dialect: Dialect,
    /// `X-Amzn-SageMaker-Custom-Attributes`, up to 1,024 visible ASCII characters, for example `accept_eula=true`.
    pub custom_attributes: Option<String>,
    /// One of the endpoint's inference components. Real-time endpoints only, as the next two.
    pub inference_component: Option<String>,
    /// One of the endpoint's production variants.
    pub variant: Option<String>,
    /// One of the models of a multi-model endpoint, by its file's name.
    pub target_model: Option<String>,
}

/// What an engine is made of.
#[derive(Clone, Debug)]
pub struct EndpointSettings {
    /// The Runtime API.
    pub service: Service,
    /// The endpoint.
    pub endpoint: Endpoint,
    /// What the API shows of its model, and the model's defaults.
    pub model: ModelCard,
    /// How many requests it is given at the same time.
    pub slots: usize,
    /// How long one call may take, from the connection to the last byte of the answer; 60 s unless set otherwise. With an
    /// asynchronous endpoint that is the call that hands the work over.
    pub budget: Duration,
    /// Longest answer in bytes that is read.
    pub max_response_bytes: usize,
    /// Tells the W3C `traceparent` of the work at hand, if there is one. It travels in the custom attributes, the only thing
    /// beside the body that SageMaker hands to the model.
    pub traceparent: fn() -> Option<String>,
}

/// Why the settings make no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// Not a name that SageMaker gives to endpoints.
    #[error("{0:?} is not the name of a SageMaker endpoint: 1 to 63 letters, digits and hyphens")]
    InvalidName(String),
    /// Not the URL of a service.
    #[error("{0:?} is not the URL of a SageMaker Runtime API: it needs http:// or https:// and a host")]
    BadUrl(String),
    /// Not what a header can carry.
    #[error("custom attributes are at most 1,024 visible ASCII characters")]
    BadAttributes,
    /// A setting of an asynchronous endpoint outside of what SageMaker allows.
    #[error("{name} must be between {min} and {max} seconds")]
    OutOfRange {
        /// The setting.
        name: &'static str,
        /// Its smallest value.
        min: u64,
        /// Its largest value.
        max: u64,
    },
}

impl EndpointSettings {
    /// An endpoint on AWS with the defaults for everything else; `model` is what the endpoint runs.
    pub fn new(endpoint: &str, model: ModelCard) -> Self {
        Self {
            service: Service::default(),
            endpoint: Endpoint { name: endpoint.to_owned(), ..Endpoint::default() },
            model,
            slots: 1,
            budget: BUDGET,
            max_response_bytes: MAX_RESPONSE_BYTES,
            traceparent: || None,
        }
    }

    /// The custom attributes of a call that is made now.
    pub(super) fn attributes(&self) -> Option<String> {
        let given = self.endpoint.custom_attributes.clone();
        let Some(traceparent) = (self.traceparent)() else { return given };
        let traced = given.iter().cloned().chain([format!("traceparent={traceparent}")]).collect::<Vec<_>>();
        // Where there is no room for it, the operator's own go first.
        Some(traced.join(",")).filter(|text| text.len() <= MAX_ATTRIBUTES).or(given)
    }

    pub(super) fn check(&self) -> Result<(), SettingsError> {
        let name = &self.endpoint.name;
        let letters = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !(1..=MAX_NAME).contains(&name.len()) || !letters || name.starts_with('-') || name.ends_with('-') {
            return Err(SettingsError::InvalidName(name.clone()));
        }
        if let Some(url) = self.service.url.as_ref().filter(|url| !is_service(url)) {
            return Err(SettingsError::BadUrl(url.clone()));
        }
        let fits = |text: &String| {
            text.len() <= MAX_ATTRIBUTES && text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
        };
        if self.endpoint.custom_attributes.as_ref().is_some_and(|attributes| !fits(attributes)) {
            return Err(SettingsError::BadAttributes);
        }
        Ok(())
    }
}

fn is_service(url: &str) -> bool {
    url.parse::<Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty())
    })
}
