//! An engine that makes no picture worth looking at, for measuring everything around one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use tintype_core::engine::{Engine, EngineError, Generated, Model, Observer, Progress};
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
}

/// Takes a fixed time per step and returns pixels of one colour, which the seed decides.
#[derive(Debug)]
pub struct NullEngine {
    model: Model,
    step: Duration,
    slots: usize,
    fault: Option<Fault>,
    started: AtomicU64,
    finished: AtomicU64,
}

impl NullEngine {
    /// An engine whose every denoising step takes `step`.
    pub fn new(step: Duration) -> Self {
        let model = Model { name: "null".into(), width: 64, height: 64, steps: 4, guidance: 1.0 };
        Self { model, step, slots: 1, fault: None, started: AtomicU64::new(0), finished: AtomicU64::new(0) }
    }

    /// The same engine working on so many requests at a time.
    #[must_use]
    pub fn with_slots(self, slots: usize) -> Self {
        Self { slots, ..self }
    }

    /// The same engine breaking at every request.
    #[must_use]
    pub fn with_fault(self, fault: Fault) -> Self {
        Self { fault: Some(fault), ..self }
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
    fn model(&self) -> &Model {
        &self.model
    }

    fn slots(&self) -> usize {
        self.slots
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
            if !self.step.is_zero() {
                tokio::time::sleep(self.step).await;
            }
            observer.progress(Progress::Step { done, of: request.steps });
        }
        observer.progress(Progress::Decoding);
        let n = match self.fault {
            None => request.n,
            Some(Fault::Error) => return Err(EngineError::Failed("a secret cause".into())),
            Some(Fault::Panic) => panic!("a secret cause"),
            Some(Fault::NoPicture) => 0,
        };
        let pictures = (0..u64::from(n)).map(|i| plain(&request, request.seed.value() + i)).collect();
        self.finished.fetch_add(1, Ordering::SeqCst);
        let engine_seconds = self.step.as_secs_f64() * f64::from(request.steps);
        Ok(Generated { pictures, engine_seconds, warnings: Vec::new() })
    }
}

fn plain(request: &GenerateRequest, seed: u64) -> Picture {
    let colour = &seed.to_le_bytes()[..3];
    let rgb = colour.repeat(request.width as usize * request.height as usize);
    Picture::Pixels(Pixels::new(request.width, request.height, rgb).expect("three samples per pixel"))
}
