//! The engine over an asynchronous endpoint: the work is handed over, and the result appears in S3.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_sagemakerruntime::primitives::Blob;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tintype_core::causes::causes;
use tintype_core::engine::{Engine, EngineError, Generated, Model, Observer};
use tintype_core::picture::Picture;
use tintype_core::request::GenerateRequest;
use tokio::time::Instant;
use uuid::Uuid;

use super::client::Lazy;
use super::error::InvokeError;
use super::location::{FetchError, FetchResult, S3Location};
use super::meaning::{bounded, meaning};
use super::paid::paid;
use super::settings::{EndpointSettings, SettingsError};
use super::watch::Watch;
use crate::wire::{JSON, JSON_JPEG, read_reply, write_request};

/// The first pause between two looks for a result; each is half as long again as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// How many bytes of an error that the model left are read.
const MAX_FAILURE_BYTES: u64 = 1 << 20;

/// How an asynchronous endpoint is given its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsyncSettings {
    /// How long a request may wait for an instance, 1 min to 6 h; an endpoint that scales to zero needs some minutes.
    pub request_ttl: Duration,
    /// How long the model may take for a request, 1 s to 1 h.
    pub invocation_timeout: Duration,
    /// Longest pause between two looks for the result.
    pub longest_pause: Duration,
}

impl Default for AsyncSettings {
    fn default() -> Self {
        Self {
            request_ttl: Duration::from_secs(3_600),
            invocation_timeout: Duration::from_secs(900),
            longest_pause: Duration::from_secs(5),
        }
    }
}

impl AsyncSettings {
    fn check(&self) -> Result<(), SettingsError> {
        let ranges = [
            ("the request's time to live", self.request_ttl, 60, 21_600),
            ("the invocation's time-out", self.invocation_timeout, 1, 3_600),
        ];
        for (name, value, min, max) in ranges {
            if !(Duration::from_secs(min)..=Duration::from_secs(max)).contains(&value) {
                return Err(SettingsError::OutOfRange { name, min, max });
            }
        }
        Ok(())
    }
}

/// Work that an asynchronous endpoint has accepted. Whoever writes this down can look for the result later, from
/// another process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submitted {
    /// SageMaker's name for the invocation, to find it in the endpoint's log.
    pub inference_id: String,
    /// Where the result will be.
    pub output: S3Location,
    /// Where the error will be, if the endpoint is configured to keep errors.
    pub failure: Option<S3Location>,
    /// Number of pictures that were asked for.
    pub n: u32,
}

/// Pictures by `InvokeEndpointAsync`.
pub struct AsyncEngine {
    settings: EndpointSettings,
    how: AsyncSettings,
    results: Arc<dyn FetchResult>,
    client: Lazy,
}

impl AsyncEngine {
    /// Checks the settings. Makes no call: the first request does.
    ///
    /// # Errors
    /// [`SettingsError`] if the settings make no sense.
    pub fn new(
        settings: EndpointSettings,
        how: AsyncSettings,
        results: Arc<dyn FetchResult>,
    ) -> Result<Self, SettingsError> {
        settings.check()?;
        how.check()?;
        Ok(Self { settings, how, results, client: Lazy::default() })
    }

    /// Hands the work over, in one attempt. The request travels inline: it is never longer than the 128,000 bytes
    /// that may.
    ///
    /// # Errors
    /// [`InvokeError`] if it was not accepted, or if that is not known.
    pub async fn submit(&self, request: &GenerateRequest) -> Result<Submitted, InvokeError> {
        let client = self.client.get(&self.settings).await;
        let endpoint = &self.settings.endpoint;
        let inference_id = Uuid::now_v7().to_string();
        let watch = Watch::new(self.settings.max_response_bytes);
        let sent = client
            .invoke_endpoint_async()
            .endpoint_name(&endpoint.name)
            .content_type(JSON)
            .accept(JSON_JPEG)
            .set_custom_attributes(self.settings.attributes())
            .inference_id(&inference_id)
            .request_ttl_seconds(seconds(self.how.request_ttl))
            .invocation_timeout_seconds(seconds(self.how.invocation_timeout))
            .body(Blob::new(write_request(endpoint.dialect, request)))
            .customize()
            .interceptor(watch.clone())
            .send()
            .await;
        let answer = sent.map_err(|error| meaning(error, &watch, self.settings.budget, |_| None))?;
        let located = |text: Option<String>| text.and_then(|text| text.parse::<S3Location>().ok());
        let output = located(answer.output_location).ok_or(InvokeError::NoLocation)?;
        let inference_id = answer.inference_id.unwrap_or(inference_id);
        tracing::info!(inference_id, %output, "the endpoint has accepted the work");
        Ok(Submitted { inference_id, output, failure: located(answer.failure_location), n: request.n })
    }

    /// Looks once whether the work is done; `None` while it is not.
    ///
    /// # Errors
    /// [`InvokeError::AsyncFailed`] if the model failed, [`InvokeError::Reply`] if its result holds no pictures,
    /// [`InvokeError::Fetch`] if it cannot be read, now or ever.
    pub async fn look(&self, work: &Submitted) -> Result<Option<Vec<Picture>>, InvokeError> {
        let limit = self.settings.max_response_bytes as u64;
        if let Some(body) = self.results.fetch(&work.output, limit).await? {
            return Ok(Some(read_reply(&body, work.n)?));
        }
        let Some(failure) = &work.failure else { return Ok(None) };
        match self.results.fetch(failure, MAX_FAILURE_BYTES).await? {
            Some(body) => Err(failed(&body)),
            None => Ok(None),
        }
    }

    /// Looks until the work is done, or until it cannot be any more: when its time to live and the invocation's time-out
    /// have passed. A store that is not available meanwhile ends nothing.
    ///
    /// # Errors
    /// As [`look`](Self::look), and [`InvokeError::TimedOut`].
    pub async fn wait(&self, work: &Submitted) -> Result<Vec<Picture>, InvokeError> {
        let most = self.how.request_ttl + self.how.invocation_timeout;
        let began = Instant::now();
        let mut pause = FIRST_PAUSE.min(self.how.longest_pause);
        loop {
            match self.look(work).await {
                Ok(Some(pictures)) => return Ok(pictures),
                Ok(None) => {}
                Err(InvokeError::Fetch(error @ FetchError::Unavailable(_))) => {
                    // What was paid for is not given up because the store has a bad minute.
                    let (id, error) = (&work.inference_id, causes(&error));
                    tracing::warn!(inference_id = id, %error, "the result could not be looked for");
                }
                Err(error) => return Err(error),
            }
            if began.elapsed() > most {
                return Err(InvokeError::TimedOut(most));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 3 / 2).min(self.how.longest_pause);
        }
    }
}

/// SageMaker's own numbers are whole seconds, and [`AsyncSettings::check`] has bounded them.
fn seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)
}

fn failed(body: &Bytes) -> InvokeError {
    InvokeError::AsyncFailed(bounded(&String::from_utf8_lossy(body)))
}

#[async_trait]
impl Engine for AsyncEngine {
    fn model(&self) -> &Model {
        &self.settings.model
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
        paid(&*observer, async {
            let work = self.submit(&request).await?;
            self.wait(&work).await
        })
        .await
    }
}
