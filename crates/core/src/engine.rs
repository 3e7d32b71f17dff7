//! The seam behind which pictures are made.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::picture::{Picture, Pixels};
use crate::request::GenerateRequest;

/// What a model is called and what it does when it is not told otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelCard {
    /// The name that the API shows, for example `emoji` or `stabilityai/stable-diffusion-2-1-base`.
    pub name: String,
    /// The width it was trained for, in pixels.
    pub width: u32,
    /// The height it was trained for, in pixels.
    pub height: u32,
    /// Denoising steps by default.
    pub steps: u32,
    /// Guidance scale by default.
    pub guidance: f64,
}

/// How far an engine has come with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The engine took the request up; until here it waited.
    Started,
    /// So many of the request's denoising steps are done, over all its pictures.
    Step {
        /// Steps done, from 1.
        done: u32,
        /// Steps in all.
        of: u32,
    },
    /// Latents are being turned into pixels.
    Decoding,
}

/// What a picture that is being made will look like, as far as can be told already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preview {
    /// Which of the request's pictures it is, from 0, in the order of their seeds.
    pub picture: u32,
    /// Small and rough: of the finished picture's proportions, not of its size.
    pub pixels: Pixels,
}

/// Whoever follows a request while an engine works on it.
pub trait Observer: Send + Sync {
    /// Called from the engine's own thread, in order; must return quickly.
    fn progress(&self, progress: Progress);

    /// True once nobody waits for the result any more. A local engine asks between two denoising steps and then
    /// stops with [`EngineError::Abandoned`]; a paid remote call is finished all the same.
    fn is_abandoned(&self) -> bool;

    /// Whether a [`preview`](Self::preview) is welcome now. An engine that can make some asks after each step, before it
    /// goes to the trouble; must return quickly.
    fn wants_preview(&self) -> bool {
        false
    }

    /// What the step that [`progress`](Self::progress) told about last has come to. Called from the engine's own thread,
    /// in order, and only when [`wants_preview`](Self::wants_preview) has just said so; must return quickly.
    fn preview(&self, preview: Preview) {
        let _ = preview;
    }
}

/// Something the client should know about a picture that was made all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// The text was longer than the encoder reads.
    PromptTruncated {
        /// `prompt` or `negative_prompt`.
        parameter: &'static str,
        /// How many tokens the encoder reads, its start and end tokens included.
        limit: usize,
        /// The part that was left out, from the first character that no longer counted.
        omitted: String,
    },
}

/// What came of a request.
#[derive(Clone, Debug)]
pub struct Generated {
    /// As many as were asked for, in the order of their seeds.
    pub pictures: Vec<Picture>,
    /// Seconds that the engine was busy with it: what a customer pays for.
    pub engine_seconds: f64,
    /// What the client should know.
    pub warnings: Vec<Warning>,
}

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Stopped between two steps because nobody waits for it.
    #[error("stopped: nobody waits for the result any more")]
    Abandoned,
    /// The engine broke, or the model did.
    #[error("the engine failed")]
    Failed(#[source] Box<dyn Error + Send + Sync>),
    /// A remote engine cannot be reached or takes nothing now: nothing was made and nothing paid.
    #[error("the engine takes no work now")]
    Busy {
        /// When it is worth another try.
        retry_after: Duration,
        /// Why, for the log.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A remote model answered with an error of its own, and made nothing.
    #[error("the model made nothing")]
    Model(#[source] ModelError),
    /// A remote model made a picture and keeps it back, for this reason: the work was paid.
    #[error("the model keeps the picture back: {0}")]
    Withheld(String),
    /// A remote engine did the work, and what it answered cannot be used: it was paid.
    #[error("what the engine made cannot be used")]
    UnusableResult(#[source] Box<dyn Error + Send + Sync>),
    /// A remote engine was given the work, and what became of it cannot be known: it may have been paid, so it is not
    /// to be done again.
    #[error("what became of the work is not known")]
    OutcomeUnknown(#[source] Box<dyn Error + Send + Sync>),
}

/// A remote model's own error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the model answered with status {status}: {message}")]
pub struct ModelError {
    /// The HTTP status that the model answered with, 400 to 599. Below 500 the request is at fault, and would be at
    /// another time.
    pub status: u16,
    /// The model's own words; may be empty.
    pub message: String,
}

/// What there is of work that was handed over.
#[derive(Debug)]
pub enum RemoteJobStatus {
    /// Nothing yet.
    Pending,
    /// The pictures.
    Succeeded(Generated),
    /// There will be none.
    Failed {
        /// Why.
        error: EngineError,
        /// Seconds that it took all the same; where that is paid is the error's to say.
        engine_seconds: f64,
    },
}

/// What an engine can whose work is done by others: they go on with it whatever becomes of this process, and whoever has
/// the receipt can ask them for the result, also from another process, and any number of times.
#[async_trait]
pub trait RemoteJobs: Send + Sync {
    /// Hands the request over, in one attempt, and gives the receipt: a text to be written down before anything else is
    /// done.
    ///
    /// # Errors
    /// Those of [`Engine::generate`].
    async fn submit(
        &self,
        request: Arc<GenerateRequest>,
        observer: Arc<dyn Observer>,
    ) -> Result<String, EngineError>;

    /// Looks once whether the work of this receipt is done. The future may be dropped. It does not say
    /// [`RemoteJobStatus::Pending`] for ever: once the work cannot be done any more, it has failed.
    async fn poll(&self, receipt: &str) -> RemoteJobStatus;
}

/// Makes pictures. One request at a time is handed in per slot; the queue is the caller's.
#[async_trait]
pub trait Engine: Send + Sync {
    /// The model it runs.
    fn model(&self) -> &ModelCard;

    /// Another text for other weights under the same name, so that a picture of the old ones is not taken for one of the
    /// new; empty where nothing is known of them.
    fn revision(&self) -> &str {
        ""
    }

    /// The longest that a request can take, if something other than the engine's own work bounds it.
    fn max_duration(&self) -> Option<Duration> {
        None
    }

    /// How many requests it can work on at the same time.
    fn slots(&self) -> usize {
        1
    }

    /// Whether a request that was interrupted (the process died, the connection broke) may be handed in again. True of
    /// an engine whose work costs nothing but time; false of one where every attempt is paid: then nobody knows
    /// whether the first one was.
    fn repeatable(&self) -> bool {
        true
    }

    /// The way to hand work over and to ask for it later, if others do it. Whoever can write receipts down prefers this to
    /// [`generate`](Self::generate), which is the same in one piece.
    fn remote_jobs(&self) -> Option<&dyn RemoteJobs> {
        None
    }

    /// An estimate of the memory it will use for this request beyond the model's weights, in bytes; `0` if the
    /// memory is somebody else's.
    fn memory_needed(&self, request: &GenerateRequest) -> u64;

    /// Makes the pictures. The future may be dropped: the work then stops at the next step if the observer says that
    /// it is abandoned, and is finished otherwise.
    ///
    /// # Errors
    /// [`EngineError::Abandoned`] if the observer said so; [`EngineError::Failed`] for anything that broke. The others
    /// are a remote engine's.
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
    fn a_failure_tells_its_cause_once() {
        let error = EngineError::Failed("out of memory".into());
        let cause = error.source().map(ToString::to_string);
        assert_eq!(
            (error.to_string().as_str(), cause.as_deref()),
            ("the engine failed", Some("out of memory"))
        );
    }
}
