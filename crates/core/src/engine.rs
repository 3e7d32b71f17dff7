//! The [`Engine`] trait: generates images from a request, locally or through a remote service.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::model::ModelCard;
use crate::picture::{Picture, Pixels};
use crate::request::GenerateRequest;

/// What is known of an engine and its model without running it: plain data, from which requests can be validated,
/// priced and filed in a process that does not run the engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EngineInfo {
    /// The model.
    pub model: ModelCard,
    /// Identifies the model's files: other weights under the same model name have another revision, so that
    /// results of one revision are not reused for another. Empty if unknown.
    pub revision: String,
    /// The revision that version 0.1 gave the same files, so that the images that it stored are found; `None` if
    /// they must not be.
    pub revision_before_0_2: Option<String>,
    /// The precision and the version of the kernels, for example `f32.1`: the same request with other numerics can
    /// give slightly different pixels. Empty if unknown.
    pub numerics: String,
    /// Memory of the loaded weights in bytes; 0 for a remote engine.
    pub weights_bytes: u64,
    /// The maximum number of concurrent requests, at least 1.
    pub slots: usize,
    /// The maximum duration of a request, if the engine has such a limit (for example a remote service's timeout).
    pub max_duration: Option<Duration>,
    /// Whether an interrupted request (process killed, connection lost) may be repeated. True if an attempt costs
    /// only computing time; false if every attempt is billed, since the interrupted one may have been billed.
    pub repeatable: bool,
}

impl EngineInfo {
    /// A model that one request at a time runs on, without a known revision, and that may repeat requests.
    pub fn new(model: ModelCard) -> Self {
        Self {
            model,
            revision: String::new(),
            revision_before_0_2: None,
            numerics: String::new(),
            weights_bytes: 0,
            slots: 1,
            max_duration: None,
            repeatable: true,
        }
    }
}

/// An engine's progress on one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The engine started to work on the request.
    Started,
    /// A denoising step is done. Steps are counted over all images of the request; a step of two evaluations of
    /// the model ([`Evaluations`](crate::model::Evaluations)) counts once.
    Step {
        /// Steps done, from 1.
        done: u32,
        /// Total number of steps.
        of: u32,
    },
    /// The autoencoder decodes latents into pixels.
    Decoding,
}

/// An approximation of an unfinished image, for display while the engine works on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preview {
    /// Index of the image within the request, from 0, in the order of the seeds.
    pub picture: u32,
    /// A small image with the aspect ratio of the finished one.
    pub pixels: Pixels,
}

/// Receives an engine's progress on one request, and tells the engine when to stop.
pub trait Observer: Send + Sync {
    /// Called from the engine's thread, in order; must return quickly.
    fn progress(&self, progress: Progress);

    /// True once no client waits for the result. A local engine checks this between denoising steps and stops
    /// with [`EngineError::Abandoned`]; a remote call that is billed runs to its end.
    fn is_abandoned(&self) -> bool;

    /// Whether the observer accepts a [`preview`](Self::preview) now. An engine that supports previews calls
    /// this after each step, before it computes one; must return quickly.
    fn wants_preview(&self) -> bool {
        false
    }

    /// Receives the preview of the step that was last reported to [`progress`](Self::progress). Called from
    /// the engine's thread, in order, and only if [`wants_preview`](Self::wants_preview) returned true; must
    /// return quickly.
    fn preview(&self, preview: Preview) {
        let _ = preview;
    }
}

/// A problem that the client should know about although the engine generated the images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// The prompt has more tokens than the text encoder's limit; the rest was ignored.
    PromptTruncated {
        /// `prompt` or `negative_prompt`.
        parameter: &'static str,
        /// The encoder's limit in tokens, start and end token included.
        limit: usize,
        /// The ignored end of the prompt.
        omitted: String,
    },
    /// The model's scheduler is not implemented, and another one generated the images.
    SchedulerSubstituted {
        /// The scheduler class that the model names.
        class: String,
        /// The scheduler class that ran.
        substitute: String,
    },
}

/// The result of a request.
#[derive(Clone, Debug)]
pub struct Generated {
    /// The request's `n` images, in the order of their seeds.
    pub pictures: Vec<Picture>,
    /// Engine time in seconds: the basis of the price.
    pub engine_seconds: f64,
    /// Warnings for the client.
    pub warnings: Vec<Warning>,
}

/// Why an engine returned no images.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The engine stopped between two steps because [`Observer::is_abandoned`] returned true.
    #[error("generation abandoned: no client waits for the result")]
    Abandoned,
    /// The engine or the model failed.
    #[error("image generation failed")]
    Failed(#[source] Box<dyn Error + Send + Sync>),
    /// A remote engine cannot be called with this server's settings. It did no work, and nothing is billed.
    #[error("the remote engine cannot be called: {obstacle}")]
    Unavailable {
        /// The obstacle.
        obstacle: CallObstacle,
        /// The cause, for the log.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The model computed NaN or infinity, so there is no image. The source names the component. The same
    /// request with the same seed fails again.
    #[error("the model computed numbers that are not finite")]
    NotFinite(#[source] Box<dyn Error + Send + Sync>),
    /// A remote engine is unreachable or at capacity. It did no work, and the attempt costs nothing.
    #[error("engine busy or unreachable")]
    Busy {
        /// How long to wait before the next attempt.
        retry_after: Duration,
        /// The cause, for the log.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A remote model returned an error and no images.
    #[error("the remote model returned an error")]
    Model(#[source] RemoteModelError),
    /// A remote model withheld a generated image, for example because of its content filter; the value is the
    /// model's reason. The work is billed.
    #[error("the remote model withheld the image: {0}")]
    Withheld(String),
    /// A remote engine returned a result that is invalid or incomplete. The work is billed.
    #[error("the remote engine returned an unusable result")]
    UnusableResult(#[source] Box<dyn Error + Send + Sync>),
    /// A remote engine accepted the request, and its result cannot be determined. The work may be billed, so
    /// the request must not be repeated.
    #[error("outcome of the remote request unknown")]
    OutcomeUnknown(#[source] Box<dyn Error + Send + Sync>),
}

/// Why a remote engine cannot be called. An operator must act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallObstacle {
    /// This server has no credentials for the remote service.
    #[error("no credentials")]
    NoCredentials,
    /// The remote service does not accept this server's credentials.
    #[error("invalid credentials")]
    InvalidCredentials,
    /// The endpoint does not exist.
    #[error("no such endpoint")]
    NoEndpoint,
    /// The endpoint exists and does not work: it is being created or deleted, or has failed.
    #[error("endpoint not in service")]
    NotInService,
    /// The remote service rejects the call, for example because a permission is missing.
    #[error("call rejected")]
    Rejected,
}

impl CallObstacle {
    /// The name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoCredentials => "no_credentials",
            Self::InvalidCredentials => "invalid_credentials",
            Self::NoEndpoint => "no_endpoint",
            Self::NotInService => "not_in_service",
            Self::Rejected => "rejected",
        }
    }
}

/// A check whether a remote engine can be called, which is quick and not billed.
#[async_trait]
pub trait AvailabilityCheck: Send + Sync {
    /// Checks the credentials and the endpoint. An answer that does not show an obstacle is a success.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`].
    async fn check(&self) -> Result<(), EngineError>;
}

/// The error response of a remote model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the remote model responded with status {status}: {message}")]
pub struct RemoteModelError {
    /// The response's HTTP status, 400 to 599. Below 500 the request is invalid, and repeating it does not
    /// help.
    pub status: u16,
    /// The response's error message; may be empty.
    pub message: String,
}

/// The state of a remote job.
#[derive(Debug)]
pub enum RemoteJobStatus {
    /// The job is not finished.
    Pending,
    /// The job is finished, and this is its result.
    Succeeded(Generated),
    /// The job is finished and has no result.
    Failed {
        /// The reason.
        error: EngineError,
        /// Engine time in seconds; `error` determines whether it is billed.
        engine_seconds: f64,
    },
}

/// Asynchronous jobs of a remote engine. A job continues when this process exits, and any process that has
/// the job's receipt can poll for the result, any number of times.
#[async_trait]
pub trait RemoteJobs: Send + Sync {
    /// Submits the request, in one attempt, and returns the receipt. The caller saves the receipt before it
    /// does anything else: without it the result is lost.
    ///
    /// # Errors
    /// Those of [`Engine::generate`].
    async fn submit(
        &self,
        request: Arc<GenerateRequest>,
        observer: Arc<dyn Observer>,
    ) -> Result<String, EngineError>;

    /// Reads the status of the job with this receipt, once. The future may be dropped. Every job ends: one
    /// that can no longer succeed is reported as [`RemoteJobStatus::Failed`].
    async fn poll(&self, receipt: &str) -> RemoteJobStatus;
}

/// Generates images. Each slot takes one request at a time; the caller has the queue.
#[async_trait]
pub trait Engine: Send + Sync {
    /// What is known of this engine without running it.
    fn info(&self) -> &EngineInfo;

    /// The model that this engine runs.
    fn model(&self) -> &ModelCard {
        &self.info().model
    }

    /// The SHA-256 of the model's weights as 64 lower-case hexadecimal digits, for the metadata of images; `None` if it
    /// is unknown or not computed yet. Must return quickly.
    fn model_hash(&self) -> Option<String> {
        None
    }

    /// Asynchronous remote jobs, if the engine supports them. A caller that can save receipts prefers these
    /// to [`generate`](Self::generate), which submits the request and waits for the result.
    fn remote_jobs(&self) -> Option<&dyn RemoteJobs> {
        None
    }

    /// The check whether the engine can be called, if it is a remote engine.
    fn availability_check(&self) -> Option<&dyn AvailabilityCheck> {
        None
    }

    /// Generates the images. The future may be dropped: the work then stops at the next step if
    /// [`Observer::is_abandoned`] returns true, and runs to its end otherwise.
    ///
    /// # Errors
    /// A local engine returns [`EngineError::Abandoned`] if the observer abandoned the request,
    /// [`EngineError::NotFinite`] if the model computed no image, and [`EngineError::Failed`] for every other
    /// failure; a remote engine also returns the other variants.
    async fn generate(
        &self,
        request: Arc<GenerateRequest>,
        observer: Arc<dyn Observer>,
    ) -> Result<Generated, EngineError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_does_not_repeat_the_source() {
        let error = EngineError::Failed("out of memory".into());
        let cause = error.source().map(ToString::to_string);
        assert_eq!(
            (error.to_string().as_str(), cause.as_deref()),
            ("image generation failed", Some("out of memory"))
        );
    }
}
