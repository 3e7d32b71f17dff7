//! The engine for a real-time endpoint.

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_sagemakerruntime::operation::invoke_endpoint::InvokeEndpointError;
use aws_sdk_sagemakerruntime::primitives::Blob;
use tintype_core::engine::{AvailabilityCheck, Engine, EngineError, EngineInfo, Generated, Observer};
use tintype_core::picture::Picture;
use tintype_core::request::GenerateRequest;

use super::availability;
use super::client::LazyClient;
use super::error::InvokeError;
use super::error_mapping::map_sdk_error;
use super::interceptor::CallMonitor;
use super::settings::{EndpointSettings, SettingsError};
use super::single_attempt::attempt_once;
use crate::wire::{JSON, JSON_JPEG, read_response, write_request};

/// Makes pictures by `InvokeEndpoint`.
///
/// One call makes all pictures of a request. How each picture depends on the seed is up to the remote model:
/// the second picture of seed 7 need not be the first picture of seed 8.
#[derive(Debug)]
pub struct SageMakerEngine {
    info: EngineInfo,
    settings: EndpointSettings,
    client: LazyClient,
}

impl SageMakerEngine {
    /// Checks the settings. Credentials are loaded by the first request, and no call is made before it.
    ///
    /// # Errors
    /// [`SettingsError`] if the settings are invalid.
    pub fn new(settings: EndpointSettings) -> Result<Self, SettingsError> {
        settings.check()?;
        let info = EngineInfo { max_duration: Some(settings.call_timeout), ..settings.engine_info() };
        Ok(Self { info, settings, client: LazyClient::default() })
    }

    /// Invokes the endpoint, in one attempt.
    ///
    /// # Errors
    /// [`InvokeError`] if the call fails, or the response does not have `request.n` pictures.
    pub async fn invoke(&self, request: &GenerateRequest) -> Result<Vec<Picture>, InvokeError> {
        let client = self.client.get(&self.settings).await;
        let endpoint = &self.settings.endpoint;
        let monitor = CallMonitor::new(self.settings.max_response_bytes);
        let sent = client
            .invoke_endpoint()
            .endpoint_name(&endpoint.name)
            .content_type(JSON)
            .accept(JSON_JPEG)
            .set_custom_attributes(self.settings.attributes())
            .set_inference_component_name(endpoint.inference_component.clone())
            .set_target_variant(endpoint.variant.clone())
            .set_target_model(endpoint.target_model.clone())
            .body(Blob::new(write_request(endpoint.dialect, request)))
            .customize()
            .interceptor(monitor.clone())
            .send()
            .await;
        let response = sent.map_err(|error| {
            map_sdk_error(error, &monitor, self.settings.call_timeout, |error| match error {
                InvokeEndpointError::ModelError(model_error) => Some(model_error),
                _ => None,
            })
        })?;
        let body = response.body.map(Blob::into_inner).unwrap_or_default();
        Ok(read_response(&body, request.n)?)
    }
}

#[async_trait]
impl AvailabilityCheck for SageMakerEngine {
    async fn check(&self) -> Result<(), EngineError> {
        let checked = availability::check(&self.client, &self.settings).await;
        checked.map_err(|(obstacle, source)| EngineError::Unavailable { obstacle, source })
    }
}

#[async_trait]
impl Engine for SageMakerEngine {
    fn info(&self) -> &EngineInfo {
        &self.info
    }

    fn availability_check(&self) -> Option<&dyn AvailabilityCheck> {
        Some(self)
    }

    async fn generate(
        &self,
        request: Arc<GenerateRequest>,
        observer: Arc<dyn Observer>,
    ) -> Result<Generated, EngineError> {
        let (pictures, duration) = attempt_once(&*observer, self.invoke(&request)).await?;
        Ok(Generated { pictures, engine_seconds: duration.as_secs_f64(), warnings: Vec::new() })
    }
}
