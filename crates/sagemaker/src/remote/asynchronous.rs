//! The engine over an asynchronous endpoint: the work is handed over, and the result appears in S3.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_sagemakerruntime::primitives::Blob;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tintype_core::causes::causes;
use tintype_core::engine::{
    Engine, EngineError, Generated, ModelCard, Observer, RemoteJobStatus, RemoteJobs,
};
use tintype_core::picture::Picture;
use tintype_core::request::GenerateRequest;
use uuid::Uuid;

use super::client::Lazy;
use super::error::InvokeError;
use super::error_mapping::{bounded, meaning};
use super::interceptor::Watch;
use super::location::{FetchError, FetchResult, S3Location};
use super::settings::{EndpointSettings, SettingsError};
use super::single_attempt::paid;
use crate::wire::{JSON, JSON_JPEG, read_reply, write_request};

/// The first pause between two looks for a result; each is half as long again as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// A store that is away for longer than this does not come back.
const STORE_PATIENCE: Duration = Duration::from_secs(86_400);
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
    /// When it was handed over.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
}

impl Submitted {
    /// How long ago that was.
    fn age(&self, now: OffsetDateTime) -> Duration {
        Duration::try_from(now - self.at).unwrap_or(Duration::ZERO)
    }
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
    pub async fn invoke(&self, request: &GenerateRequest) -> Result<Submitted, InvokeError> {
        let client = self.client.get(&self.settings).await;
        let endpoint = &self.settings.endpoint;
        let inference_id = Uuid::now_v7().to_string();
        let at = OffsetDateTime::now_utc();
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
        Ok(Submitted { inference_id, output, failure: located(answer.failure_location), n: request.n, at })
    }

    /// What there is of the work at this time. It has failed once its time to live and the invocation's time-out have
    /// passed without a result; a store that is not available for a while ends nothing.
    pub async fn find(&self, work: &Submitted, now: OffsetDateTime) -> RemoteJobStatus {
        let most = self.how.request_ttl + self.how.invocation_timeout;
        let (pictures, until) = match self.result(work).await {
            Ok(Some((pictures, written))) => (pictures, written),
            Ok(None) if work.age(now) <= most => return RemoteJobStatus::Pending,
            Ok(None) => (Err(InvokeError::TimedOut(most)), now),
            Err(FetchError::Unavailable(error)) if work.age(now) <= STORE_PATIENCE => {
                // What was paid for is not given up because the store has a bad hour.
                let (id, error) = (&work.inference_id, causes(&*error));
                tracing::warn!(inference_id = id, %error, "the result could not be looked for");
                return RemoteJobStatus::Pending;
            }
            Err(error) => (Err(error.into()), now),
        };
        let engine_seconds = self.took(work, until, now).as_secs_f64();
        match pictures {
            Ok(pictures) => {
                RemoteJobStatus::Succeeded(Generated { pictures, engine_seconds, warnings: Vec::new() })
            }
            Err(error) => RemoteJobStatus::Failed { error: error.into(), engine_seconds },
        }
    }

    /// The result, or what the model left instead of one, and when it was written.
    async fn result(&self, work: &Submitted) -> Result<Option<Written>, FetchError> {
        let limit = self.settings.max_response_bytes as u64;
        if let Some(output) = self.results.fetch(&work.output, limit).await? {
            let pictures = read_reply(&output.bytes, work.n).map_err(InvokeError::from);
            return Ok(Some((pictures, output.meta.modified)));
        }
        let Some(failure) = &work.failure else { return Ok(None) };
        let failure = self.results.fetch(failure, MAX_FAILURE_BYTES).await?;
        Ok(failure.map(|failure| (Err(failed(&failure.bytes)), failure.meta.modified)))
    }

    /// What it took until the result was written, whoever has looked when. The store tells whole seconds; if its clock is
    /// behind ours, what it tells is no use. The model itself cannot have taken longer than it may.
    fn took(&self, work: &Submitted, written: OffsetDateTime, now: OffsetDateTime) -> Duration {
        let written = written + Duration::from_secs(1);
        let until = if written > work.at { written.min(now) } else { now };
        work.age(until).min(self.how.invocation_timeout)
    }
}

/// Pictures or the lack of them, and when that was written.
type Written = (Result<Vec<Picture>, InvokeError>, OffsetDateTime);

/// SageMaker's own numbers are whole seconds, and [`AsyncSettings::check`] has bounded them.
fn seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)
}

fn failed(body: &Bytes) -> InvokeError {
    InvokeError::AsyncFailed(bounded(&String::from_utf8_lossy(body)))
}

#[async_trait]
impl Engine for AsyncEngine {
    fn model(&self) -> &ModelCard {
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

    fn remote_jobs(&self) -> Option<&dyn RemoteJobs> {
        Some(self)
    }

    async fn generate(
        &self,
        request: Arc<GenerateRequest>,
        observer: Arc<dyn Observer>,
    ) -> Result<Generated, EngineError> {
        let receipt = self.submit(request, observer).await?;
        let mut pause = FIRST_PAUSE.min(self.how.longest_pause);
        loop {
            match self.poll(&receipt).await {
                RemoteJobStatus::Succeeded(generated) => return Ok(generated),
                RemoteJobStatus::Failed { error, .. } => return Err(error),
                RemoteJobStatus::Pending => tokio::time::sleep(pause).await,
            }
            pause = (pause * 3 / 2).min(self.how.longest_pause);
        }
    }
}

#[async_trait]
impl RemoteJobs for AsyncEngine {
    async fn submit(
        &self,
        request: Arc<GenerateRequest>,
        observer: Arc<dyn Observer>,
    ) -> Result<String, EngineError> {
        let (work, _) = paid(&*observer, self.invoke(&request)).await?;
        serde_json::to_string(&work).map_err(|error| EngineError::OutcomeUnknown(Box::new(error)))
    }

    async fn poll(&self, receipt: &str) -> RemoteJobStatus {
        match serde_json::from_str(receipt) {
            Ok(work) => self.find(&work, OffsetDateTime::now_utc()).await,
            // Another version's, or another engine's.
            Err(error) => RemoteJobStatus::Failed {
                error: EngineError::OutcomeUnknown(Box::new(error)),
                engine_seconds: 0.0,
            },
        }
    }
}
