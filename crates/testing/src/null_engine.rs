//! An engine that makes no picture worth looking at, for measuring everything around one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use tintype_core::engine::{
    Engine, EngineError, Generated, ModelCard, Observer, Preview, Progress, RemoteModelError,
};
use tintype_core::picture::{Picture, Pixels};
use tintype_core::request::GenerateRequest;

/// How a [`NullEngine`] can be made to break, after its last step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It returns an error whose text is `a secret cause`.
    Error,
    /// It panics.
    Panic,
    /// It returns no picture.
    NoPicture,
    /// As a remote engine that takes no work for 16.5 s, for `a secret cause`.
    Busy,
    /// As a remote model that answers with this status and these words.
    Model(u16, &'static str),
    /// As a remote model that keeps its picture back for this reason.
    Withheld(&'static str),
    /// As a remote engine whose answer cannot be used, for `a secret cause`.
    UnusableResult,
    /// As a remote engine of which nobody knows what became of its work, for `a secret cause`.
    Unknown,
}

/// Takes a fixed time per step and returns pixels of one colour, which the seed decides. Works on all pictures of a
/// request at once; their previews, [`NullEngine::PREVIEW_SIDE`] pixels wide and high, are of a grey that starts near
/// black and becomes white with the last step.
#[derive(Debug)]
pub struct NullEngine {
    model: ModelCard,
    /// Nanoseconds per step.
    step: AtomicU64,
    slots: usize,
    revision: String,
    paid: bool,
    longest: Option<Duration>,
    fault: Option<Fault>,
    started: AtomicU64,
    finished: AtomicU64,
}

impl NullEngine {
    /// Width and height of previews, in pixels, whatever the picture's are.
    pub const PREVIEW_SIDE: u32 = 16;

    /// An engine whose every denoising step takes `step`.
    pub fn new(step: Duration) -> Self {
        let model = ModelCard { name: "null".into(), width: 64, height: 64, steps: 4, guidance: 1.0 };
        let step = AtomicU64::new(nanoseconds(step));
        Self {
            model,
            step,
            slots: 1,
            revision: String::new(),
            paid: false,
            longest: None,
            fault: None,
            started: AtomicU64::new(0),
            finished: AtomicU64::new(0),
        }
    }

    /// The same engine working on so many requests at a time.
    #[must_use]
    pub fn with_slots(self, slots: usize) -> Self {
        Self { slots, ..self }
    }

    /// The same engine with other weights, as it were.
    #[must_use]
    pub fn with_revision(self, revision: &str) -> Self {
        Self { revision: revision.to_owned(), ..self }
    }

    /// The same engine as one of which every attempt is paid.
    #[must_use]
    pub fn paid(self) -> Self {
        Self { paid: true, ..self }
    }

    /// The same engine where something else bounds what a request can take.
    #[must_use]
    pub fn with_longest(self, longest: Duration) -> Self {
        Self { longest: Some(longest), ..self }
    }

    /// The same engine breaking at every request.
    #[must_use]
    pub fn with_fault(self, fault: Fault) -> Self {
        Self { fault: Some(fault), ..self }
    }

    /// From the next step on every step takes so long.
    pub fn slow_down(&self, step: Duration) {
        self.step.store(nanoseconds(step), Ordering::SeqCst);
    }

    fn step(&self) -> Duration {
        Duration::from_nanos(self.step.load(Ordering::SeqCst))
    }

    /// How many requests it took up.
    pub fn started(&self) -> u64 {
        self.started.load(Ordering::SeqCst)
    }

    /// How many it finished.
    pub fn finished(&self) -> u64 {
        self.finished.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Engine for NullEngine {
    fn model(&self) -> &ModelCard {
        &self.model
    }

    fn revision(&self) -> &str {
        &self.revision
    }

    fn slots(&self) -> usize {
        self.slots
    }

    fn repeatable(&self) -> bool {
        !self.paid
    }

    fn max_duration(&self) -> Option<Duration> {
        self.longest
    }

    fn memory_needed(&self, request: &GenerateRequest) -> u64 {
        u64::from(request.width) * u64::from(request.height) * 3 * u64::from(request.n)
    }

    async fn generate(
        &self,
        request: Arc<GenerateRequest>,
        observer: Arc<dyn Observer>,
    ) -> Result<Generated, EngineError> {
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
            Some(Fault::Unknown) => return Err(EngineError::OutcomeUnknown("a secret cause".into())),
        };
        let pictures = (0..u64::from(n))
            .map(|i| {
                let [red, green, blue, ..] = (request.seed.value() + i).to_le_bytes();
                Picture::Pixels(plain(request.width, request.height, [red, green, blue]))
            })
            .collect();
        self.finished.fetch_add(1, Ordering::SeqCst);
        let engine_seconds = self.step().as_secs_f64() * f64::from(request.steps);
        Ok(Generated { pictures, engine_seconds, warnings: Vec::new() })
    }
}

fn nanoseconds(step: Duration) -> u64 {
    u64::try_from(step.as_nanos()).expect("a step of less than 500 years")
}

fn plain(width: u32, height: u32, colour: [u8; 3]) -> Pixels {
    let rgb = colour.repeat(width as usize * height as usize);
    Pixels::new(width, height, rgb).expect("three samples per pixel")
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tintype_core::request::{Draft, RequestLimits};

    use super::*;

    /// Remembers the previews, and has enough after the third.
    #[derive(Default)]
    struct Watcher(Mutex<Vec<Preview>>);

    impl Observer for Watcher {
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
        let watcher = Arc::new(Watcher::default());
        engine.generate(request, Arc::clone(&watcher) as _).await.expect("pictures");
        let preview = |picture, grey| Preview { picture, pixels: plain(16, 16, [grey; 3]) };
        let seen = watcher.0.lock().expect("no panic while locked");
        assert_eq!(*seen, [preview(0, 63), preview(1, 63), preview(0, 127)]);
    }
}
