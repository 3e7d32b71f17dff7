//! An engine without a model, for tests and benchmarks of the code around an engine.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use tintype_core::engine::{
    AvailabilityCheck, CallObstacle, Engine, EngineError, EngineInfo, Generated, Observer, Preview, Progress,
    RemoteModelError, Warning,
};
use tintype_core::model::{MemoryNeed, ModelCard};
use tintype_core::picture::{Picture, Pixels};
use tintype_core::request::GenerateRequest;

/// How a [`NullEngine`] fails, after its last step. The source of every error is `a secret cause`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// [`EngineError::Failed`].
    Error,
    /// [`EngineError::NotFinite`].
    NotFinite,
    /// A panic.
    Panic,
    /// A result without images.
    NoPicture,
    /// [`EngineError::Busy`], retry after 16.5 s.
    Busy,
    /// [`EngineError::Model`] with this status and message.
    Model(u16, &'static str),
    /// [`EngineError::Withheld`] with this reason.
    Withheld(&'static str),
    /// [`EngineError::UnusableResult`].
    UnusableResult,
    /// [`EngineError::OutcomeUnknown`].
    OutcomeUnknown,
}

/// Waits a fixed time per step and returns images of one colour, which the seed determines. All images of a
/// request advance together; their previews, [`NullEngine::PREVIEW_SIDE`] pixels wide and high, are grey:
/// near black at first, white at the last step.
#[derive(Debug)]
pub struct NullEngine {
    info: EngineInfo,
    /// Nanoseconds per step.
    step: AtomicU64,
    fault: Option<Fault>,
    /// Why a remote engine cannot be called.
    obstacle: Mutex<Option<CallObstacle>>,
    warnings: Vec<Warning>,
    started: AtomicU64,
    finished: AtomicU64,
}

impl NullEngine {
    /// Width and height of previews in pixels, for images of every size.
    pub const PREVIEW_SIDE: u32 = 16;

    /// An engine whose denoising steps take `step` each.
    pub fn new(step: Duration) -> Self {
        let memory = MemoryNeed { per_finished_pixel: 3, ..MemoryNeed::default() };
        let model = ModelCard {
            name: "null".into(),
            width: 64,
            height: 64,
            steps: 4,
            guidance: 1.0,
            memory,
            ..ModelCard::default()
        };
        let step = AtomicU64::new(nanoseconds(step));
        Self {
            info: EngineInfo::new(model),
            step,
            fault: None,
            obstacle: Mutex::default(),
            warnings: Vec::new(),
            started: AtomicU64::new(0),
            finished: AtomicU64::new(0),
        }
    }

    /// Sets the number of concurrent requests.
    #[must_use]
    pub fn with_slots(mut self, slots: usize) -> Self {
        self.info.slots = slots;
        self
    }

    /// Sets the revision of the weights.
    #[must_use]
    pub fn with_revision(mut self, revision: &str) -> Self {
        self.info.revision = revision.to_owned();
        self
    }

    /// Sets the name of the model.
    #[must_use]
    pub fn with_name(mut self, name: &str) -> Self {
        self.info.model.name = name.to_owned();
        self
    }

    /// Sets the memory of the weights in bytes.
    #[must_use]
    pub fn with_weights(mut self, bytes: u64) -> Self {
        self.info.weights_bytes = bytes;
        self
    }

    /// Makes every attempt billed, so that requests are not [`repeatable`](EngineInfo::repeatable).
    #[must_use]
    pub fn paid(mut self) -> Self {
        self.info.repeatable = false;
        self
    }

    /// Sets the maximum duration of a request.
    #[must_use]
    pub fn with_max_duration(mut self, max: Duration) -> Self {
        self.info.max_duration = Some(max);
        self
    }

    /// Makes every request fail.
    #[must_use]
    pub fn with_fault(self, fault: Fault) -> Self {
        Self { fault: Some(fault), ..self }
    }

    /// Makes every request and every availability check fail with this obstacle from the next one on, or
    /// succeed again.
    pub fn set_obstacle(&self, obstacle: Option<CallObstacle>) {
        *self.obstacle.lock().unwrap_or_else(PoisonError::into_inner) = obstacle;
    }

    fn check_obstacle(&self) -> Result<(), EngineError> {
        match *self.obstacle.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(obstacle) => Err(EngineError::Unavailable { obstacle, source: "a secret cause".into() }),
            None => Ok(()),
        }
    }

    /// Adds a warning to every result.
    #[must_use]
    pub fn with_warning(mut self, warning: Warning) -> Self {
        self.warnings.push(warning);
        self
    }

    /// Sets the duration of the steps from the next one on.
    pub fn set_step_duration(&self, step: Duration) {
        self.step.store(nanoseconds(step), Ordering::SeqCst);
    }

    fn step(&self) -> Duration {
        Duration::from_nanos(self.step.load(Ordering::SeqCst))
    }

    /// Number of requests started so far.
    pub fn started(&self) -> u64 {
        self.started.load(Ordering::SeqCst)
    }

    /// Number of requests finished without a fault so far.
    pub fn finished(&self) -> u64 {
        self.finished.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl AvailabilityCheck for NullEngine {
    async fn check(&self) -> Result<(), EngineError> {
        self.check_obstacle()
    }
}

#[async_trait]
impl Engine for NullEngine {
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
        self.check_obstacle()?;
        self.started.fetch_add(1, Ordering::SeqCst);
        observer.progress(Progress::Started);
        for done in 1..=request.steps {
            if observer.is_abandoned() {
                return Err(EngineError::Abandoned);
            }
            if !self.step().is_zero() {
                tokio::time::sleep(self.step()).await;
            }
            observer.progress(Progress::Step { done, of: request.steps });
            for picture in 0..request.n {
                if observer.wants_preview() {
                    let grey = u64::from(done) * 255 / u64::from(request.steps);
                    let colour = [u8::try_from(grey).unwrap_or(u8::MAX); 3];
                    let side = Self::PREVIEW_SIDE;
                    observer.preview(Preview { picture, pixels: plain(side, side, colour) });
                }
            }
        }
        observer.progress(Progress::Decoding);
        let n = match self.fault {
            None => request.n,
            Some(Fault::Error) => return Err(EngineError::Failed("a secret cause".into())),
            Some(Fault::NotFinite) => return Err(EngineError::NotFinite("a secret cause".into())),
            Some(Fault::Panic) => panic!("a secret cause"),
            Some(Fault::NoPicture) => 0,
            Some(Fault::Busy) => {
                let retry_after = Duration::from_millis(16_500);
                return Err(EngineError::Busy { retry_after, source: "a secret cause".into() });
            }
            Some(Fault::Model(status, message)) => {
                let message = message.to_owned();
                return Err(EngineError::Model(RemoteModelError { status, message }));
            }
            Some(Fault::Withheld(reason)) => return Err(EngineError::Withheld(reason.to_owned())),
            Some(Fault::UnusableResult) => return Err(EngineError::UnusableResult("a secret cause".into())),
            Some(Fault::OutcomeUnknown) => return Err(EngineError::OutcomeUnknown("a secret cause".into())),
        };
        let pictures = (0..u64::from(n))
            .map(|i| {
                let [red, green, blue, ..] = (request.seed.value() + i).to_le_bytes();
                Picture::Pixels(plain(request.width, request.height, [red, green, blue]))
            })
            .collect();
        self.finished.fetch_add(1, Ordering::SeqCst);
        let engine_seconds = self.step().as_secs_f64() * f64::from(request.steps);
        Ok(Generated { pictures, engine_seconds, warnings: self.warnings.clone() })
    }
}

fn nanoseconds(step: Duration) -> u64 {
    u64::try_from(step.as_nanos()).expect("a step of less than 500 years")
}

/// Pixels of one colour.
fn plain(width: u32, height: u32, colour: [u8; 3]) -> Pixels {
    let rgb = colour.repeat(width as usize * height as usize);
    Pixels::new(width, height, rgb).expect("three samples per pixel")
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tintype_core::request::{Draft, RequestLimits};

    use super::*;

    /// Records previews, and accepts at most three.
    #[derive(Default)]
    struct Recorder(Mutex<Vec<Preview>>);

    impl Observer for Recorder {
        fn progress(&self, _: Progress) {}

        fn is_abandoned(&self) -> bool {
            false
        }

        fn wants_preview(&self) -> bool {
            self.0.lock().expect("no panic while locked").len() < 3
        }

        fn preview(&self, preview: Preview) {
            self.0.lock().expect("no panic while locked").push(preview);
        }
    }

    #[tokio::test]
    async fn previews_are_sent_while_they_are_wanted() {
        let engine = NullEngine::new(Duration::ZERO);
        let draft = Draft { prompt: Some("a tiger".into()), n: Some(2), ..Draft::default() };
        let limits = RequestLimits { max_pixels: 1 << 20, max_work: u64::MAX };
        let request = Arc::new(draft.check(engine.model(), &limits, 1).expect("a valid request"));
        let recorder = Arc::new(Recorder::default());
        engine.generate(request, Arc::clone(&recorder) as _).await.expect("pictures");
        let preview = |picture, grey| Preview { picture, pixels: plain(16, 16, [grey; 3]) };
        let seen = recorder.0.lock().expect("no panic while locked");
        assert_eq!(*seen, [preview(0, 63), preview(1, 63), preview(0, 127)]);
    }
}
