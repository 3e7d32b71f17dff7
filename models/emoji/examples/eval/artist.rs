//! The engine as the server runs it, asked for one picture at a time.

use std::sync::Arc;

use anyhow::{Result, bail};
use futures::executor::block_on;
use tintype_core::engine::{Engine, Observer, Progress};
use tintype_core::model::ModelCard;
use tintype_core::picture::{Picture, Pixels};
use tintype_core::request::{Draft, RequestLimits};
use tintype_diffusion::{DiffusionEngine, EngineOptions, ModelFiles};

/// Draws at the model's own size, steps and guidance.
pub(crate) struct Artist(DiffusionEngine);

impl Artist {
    /// Loads a model.
    pub(crate) fn load(files: ModelFiles) -> Result<Self> {
        Ok(Self(DiffusionEngine::load("emoji", files, EngineOptions::default())?))
    }

    pub(crate) fn model(&self) -> &ModelCard {
        self.0.model()
    }

    /// The picture of this prompt and seed.
    pub(crate) fn draw(&self, prompt: &str, seed: u32) -> Result<Pixels> {
        let draft = Draft { prompt: Some(prompt.to_owned()), seed: Some(seed.into()), ..Draft::default() };
        let request = match draft.check(self.model(), &RequestLimits::for_model(self.model()), seed) {
            Ok(request) => request,
            Err(violations) => bail!("the prompt `{prompt}` is refused: {violations:?}"),
        };
        let generated = block_on(self.0.generate(Arc::new(request), Arc::new(Patient)))?;
        match generated.pictures.into_iter().next() {
            Some(Picture::Pixels(pixels)) => Ok(pixels),
            _ => bail!("the engine made no pixels of `{prompt}`"),
        }
    }
}

/// Waits to the end.
struct Patient;

impl Observer for Patient {
    fn progress(&self, _: Progress) {}

    fn is_abandoned(&self) -> bool {
        false
    }
}
