//! The engine over a real-time endpoint.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_sagemakerruntime::operation::invoke_endpoint::InvokeEndpointError;
use aws_sdk_sagemakerruntime::primitives::Blob;
use tintype_core::engine::{Engine, EngineError, Generated, ModelCard, Observer};
use tintype_core::picture::Picture;
use tintype_core::request::GenerateRequest;

use super::client::Lazy;
use super::error::InvokeError;
use super::error_mapping::meaning;
use super::interceptor::Watch;
use super::settings::{EndpointSettings, SettingsError};
use super::single_attempt::paid;
use crate::wire::{JSON, JSON_JPEG, read_reply, write_request};

/// Pictures by `InvokeEndpoint`.
///
/// All pictures of a request come from one call, and only their order is known to follow the seed: whether the second
/// picture of seed 7 is the first of seed 8 is the remote model's affair.
#[derive(Debug)]
pub struct SageMakerEngine {
    settings: EndpointSettings,
    client: Lazy,
}

impl SageMakerEngine {
    /// Checks the settings. Makes no call and looks for no credentials: the first request does.
    ///
    /// # Errors
    /// [`SettingsError`] if the settings make no sense.
    pub fn new(settings: EndpointSettings) -> Result<Self, SettingsError> {
        settings.check()?;
        Ok(Self { settings, client: Lazy::default() })
    }

    /// Makes the one call.
    ///
    /// # Errors
    /// [`InvokeError`] for everything that is not as many pictures as were asked for.
    pub async fn invoke(&self, request: &GenerateRequest) -> Result<Vec<Picture>, InvokeError> {
        let client = self.client.get(&self.settings).await;
        let endpoint = &self.settings.endpoint;
        let watch = Watch::new(self.settings.max_response_bytes);
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
            .interceptor(watch.clone())
            .send()
            .await;
        let answer = sent.map_err(|error| {
            meaning(error, &watch, self.settings.budget, |error| match error {
                InvokeEndpointError::ModelError(failure) => Some(failure),
                _ => None,
            })
        })?;
        let body = answer.body.map(Blob::into_inner).unwrap_or_default();
        Ok(read_reply(&body, request.n)?)
    }
}

#[async_trait]
impl Engine for SageMakerEngine {
    fn model(&self) -> &ModelCard {
        &self.settings.model
    }

    fn max_duration(&self) -> Option<Duration> {
        Some(self.settings.budget)
    }

    fn slots(&self) -> usize {
        self.settings.slots
    }

    fn repeatable(&self) -> bool {
        false
    }

    fn memory_needed(&self, _: &GenerateRequest) -> u64 {
        0
    }

    async fn generate(
        &self,
        request: Arc<GenerateRequest>,
        observer: Arc<dyn Observer>,
    ) -> Result<Generated, EngineError> {
        let (pictures, took) = paid(&*observer, self.invoke(&request)).await?;
        Ok(Generated { pictures, engine_seconds: took.as_secs_f64(), warnings: Vec::new() })
    }
}
