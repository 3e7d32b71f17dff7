//! The engine for an asynchronous endpoint, which accepts the work and writes the result to S3.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_sagemakerruntime::primitives::Blob;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tintype_core::causes::causes;
use tintype_core::engine::{
    AvailabilityCheck, Engine, EngineError, EngineInfo, Generated, Observer, RemoteJobStatus, RemoteJobs,
};
use tintype_core::picture::Picture;
use tintype_core::request::GenerateRequest;
use uuid::Uuid;

use super::availability;
use super::client::LazyClient;
use super::error::InvokeError;
use super::error_mapping::{map_sdk_error, truncate_message};
use super::interceptor::CallMonitor;
use super::location::{FetchError, FetchResult, S3Location};
use super::settings::{EndpointSettings, SettingsError};
use super::single_attempt::attempt_once;
use crate::wire::{JSON, JSON_JPEG, read_response, write_request};

/// The first pause between two polls; each further pause is 1.5 times as long as the previous one.
const FIRST_POLL_INTERVAL: Duration = Duration::from_millis(250);
/// A job fails if the store is unavailable when the job is older than this.
const MAX_STORE_OUTAGE: Duration = Duration::from_secs(86_400);
/// Maximum length in bytes of a model's error.
const MAX_FAILURE_BYTES: u64 = 1 << 20;

/// Time limits and polling of an asynchronous endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsyncSettings {
    /// How long a request may wait for an instance, 60 s to 6 h. An endpoint that scales to zero needs some
    /// minutes.
    pub request_ttl: Duration,
    /// How long the model may take for a request, 1 s to 1 h.
    pub invocation_timeout: Duration,
    /// Maximum pause between two polls.
    pub max_poll_interval: Duration,
}

impl Default for AsyncSettings {
    fn default() -> Self {
        Self {
            request_ttl: Duration::from_secs(3_600),
            invocation_timeout: Duration::from_secs(900),
            max_poll_interval: Duration::from_secs(5),
        }
    }
}

impl AsyncSettings {
    fn check(&self) -> Result<(), SettingsError> {
        let ranges = [
            ("request_ttl", self.request_ttl, 60, 21_600),
            ("invocation_timeout", self.invocation_timeout, 1, 3_600),
        ];
        for (name, value, min, max) in ranges {
            if !(Duration::from_secs(min)..=Duration::from_secs(max)).contains(&value) {
                return Err(SettingsError::OutOfRange { name, min, max });
            }
        }
        Ok(())
    }
}

/// The receipt for a job that an asynchronous endpoint has accepted. It is serialized, so that another
/// process can poll the job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AsyncReceipt {
    /// SageMaker's id of the invocation, to find it in the endpoint's log.
    pub inference_id: String,
    /// The location of the future result.
    pub output: S3Location,
    /// The location of a future error, if the endpoint is configured to write errors.
    pub failure: Option<S3Location>,
    /// Number of pictures in the request.
    pub n: u32,
    /// When the job was submitted.
    #[serde(rename = "at", with = "time::serde::rfc3339")]
    pub submitted_at: OffsetDateTime,
}

impl AsyncReceipt {
    /// Time since the submission.
    fn age(&self, now: OffsetDateTime) -> Duration {
        Duration::try_from(now - self.submitted_at).unwrap_or(Duration::ZERO)
    }
}

/// Makes pictures by `InvokeEndpointAsync`.
pub struct AsyncEngine {
    info: EngineInfo,
    settings: EndpointSettings,
    async_settings: AsyncSettings,
    results: Arc<dyn FetchResult>,
    client: LazyClient,
}

impl AsyncEngine {
    /// Checks the settings. No call is made before the first request.
    ///
    /// # Errors
    /// [`SettingsError`] if the settings are invalid.
    pub fn new(
        settings: EndpointSettings,
        async_settings: AsyncSettings,
        results: Arc<dyn FetchResult>,
    ) -> Result<Self, SettingsError> {
        settings.check()?;
        async_settings.check()?;
        Ok(Self {
            info: settings.engine_info(),
            settings,
            async_settings,
            results,
            client: LazyClient::default(),
        })
    }

    /// Submits a job, in one attempt. The request travels inline: it never exceeds SageMaker's limit of
    /// 128,000 bytes.
    ///
    /// # Errors
    /// [`InvokeError`] if the job was not accepted, or if the outcome is unknown.
    pub async fn invoke(&self, request: &GenerateRequest) -> Result<AsyncReceipt, InvokeError> {
        let client = self.client.get(&self.settings).await;
        let endpoint = &self.settings.endpoint;
        let inference_id = Uuid::now_v7().to_string();
        let submitted_at = OffsetDateTime::now_utc();
        let monitor = CallMonitor::new(self.settings.max_response_bytes);
        let sent = client
            .invoke_endpoint_async()
            .endpoint_name(&endpoint.name)
            .content_type(JSON)
            .accept(JSON_JPEG)
            .set_custom_attributes(self.settings.attributes())
            .inference_id(&inference_id)
            .request_ttl_seconds(seconds(self.async_settings.request_ttl))
            .invocation_timeout_seconds(seconds(self.async_settings.invocation_timeout))
            .body(Blob::new(write_request(endpoint.dialect, request)))
            .customize()
            .interceptor(monitor.clone())
            .send()
            .await;
        let response =
            sent.map_err(|error| map_sdk_error(error, &monitor, self.settings.call_timeout, |_| None))?;
        let parse = |text: Option<String>| text.and_then(|text| text.parse::<S3Location>().ok());
        let output = parse(response.output_location).ok_or(InvokeError::NoOutputLocation)?;
        let inference_id = response.inference_id.unwrap_or(inference_id);
        tracing::info!(inference_id, %output, "job submitted to endpoint");
        let failure = parse(response.failure_location);
        Ok(AsyncReceipt { inference_id, output, failure, n: request.n, submitted_at })
    }

    /// Polls a job at the time `now`. The job has failed once its time to live and the invocation's time-out
    /// have passed without a result. It stays pending while the store is unavailable for less than a day.
    pub async fn status(&self, receipt: &AsyncReceipt, now: OffsetDateTime) -> RemoteJobStatus {
        let deadline = self.async_settings.request_ttl + self.async_settings.invocation_timeout;
        let (pictures, until) = match self.result(receipt).await {
            Ok(Some(stored)) => (stored.pictures, stored.written_at),
            Ok(None) if receipt.age(now) <= deadline => return RemoteJobStatus::Pending,
            Ok(None) => (Err(InvokeError::TimedOut(deadline)), now),
            Err(FetchError::Unavailable(error)) if receipt.age(now) <= MAX_STORE_OUTAGE => {
                // AWS charges for the job, so an outage of the store does not fail it.
                let (id, error) = (&receipt.inference_id, causes(&*error));
                tracing::warn!(inference_id = id, %error, "failed to read endpoint result");
                return RemoteJobStatus::Pending;
            }
            Err(error) => (Err(error.into()), now),
        };
        let engine_seconds = self.engine_time(receipt, until, now).as_secs_f64();
        match pictures {
            Ok(pictures) => {
                RemoteJobStatus::Succeeded(Generated { pictures, engine_seconds, warnings: Vec::new() })
            }
            Err(error) => RemoteJobStatus::Failed { error: error.into(), engine_seconds },
        }
    }

    /// Reads the result or the model's error; `None` while neither exists.
    async fn result(&self, receipt: &AsyncReceipt) -> Result<Option<StoredResult>, FetchError> {
        let limit = self.settings.max_response_bytes as u64;
        if let Some(output) = self.results.fetch(&receipt.output, limit).await? {
            let pictures = read_response(&output.bytes, receipt.n).map_err(InvokeError::from);
            return Ok(Some(StoredResult { pictures, written_at: output.meta.modified }));
        }
        let Some(failure) = &receipt.failure else { return Ok(None) };
        let failure = self.results.fetch(failure, MAX_FAILURE_BYTES).await?;
        Ok(failure.map(|failure| StoredResult {
            pictures: Err(model_failure(&failure.bytes)),
            written_at: failure.meta.modified,
        }))
    }

    /// The time from the submission until the result was written, independent of when it is polled. The
    /// store's times are whole seconds. If the store's clock is behind, `now` is used instead. The time is at
    /// most the invocation's time-out.
    fn engine_time(
        &self,
        receipt: &AsyncReceipt,
        written_at: OffsetDateTime,
        now: OffsetDateTime,
    ) -> Duration {
        let written_at = written_at + Duration::from_secs(1);
        let until = if written_at > receipt.submitted_at { written_at.min(now) } else { now };
        receipt.age(until).min(self.async_settings.invocation_timeout)
    }
}

/// The object at the output or failure location.
struct StoredResult {
    pictures: Result<Vec<Picture>, InvokeError>,
    written_at: OffsetDateTime,
}

/// SageMaker's parameters are whole seconds; [`AsyncSettings::check`] has checked their range.
fn seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)
}

fn model_failure(body: &Bytes) -> InvokeError {
    InvokeError::AsyncFailed(truncate_message(&String::from_utf8_lossy(body)))
}

#[async_trait]
impl AvailabilityCheck for AsyncEngine {
    async fn check(&self) -> Result<(), EngineError> {
        let checked = availability::check(&self.client, &self.settings).await;
        checked.map_err(|(obstacle, source)| EngineError::Unavailable { obstacle, source })
    }
}

#[async_trait]
impl Engine for AsyncEngine {
    fn info(&self) -> &EngineInfo {
        &self.info
    }

    fn availability_check(&self) -> Option<&dyn AvailabilityCheck> {
        Some(self)
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
        let mut pause = FIRST_POLL_INTERVAL.min(self.async_settings.max_poll_interval);
        loop {
            match self.poll(&receipt).await {
                RemoteJobStatus::Succeeded(generated) => return Ok(generated),
                RemoteJobStatus::Failed { error, .. } => return Err(error),
                RemoteJobStatus::Pending => tokio::time::sleep(pause).await,
            }
            pause = (pause * 3 / 2).min(self.async_settings.max_poll_interval);
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
        let (receipt, _) = attempt_once(&*observer, self.invoke(&request)).await?;
        serde_json::to_string(&receipt).map_err(|error| EngineError::OutcomeUnknown(Box::new(error)))
    }

    async fn poll(&self, receipt: &str) -> RemoteJobStatus {
        match serde_json::from_str(receipt) {
            Ok(receipt) => self.status(&receipt, OffsetDateTime::now_utc()).await,
            // The receipt of another version or another engine.
            Err(error) => RemoteJobStatus::Failed {
                error: EngineError::OutcomeUnknown(Box::new(error)),
                engine_seconds: 0.0,
            },
        }
    }
}
