//! One picture straight from the pipeline, its latents in hand: the engine shows neither noise nor latents.

use anyhow::{Result, bail};
use candle_core::{Shape, Tensor};
use tintype_core::picture::Pixels;
use tintype_diffusion::pipeline::{Next, Pipeline};

/// What is asked of the pipeline.
#[derive(Clone, Copy)]
pub(crate) struct Sample<'a> {
    pub(crate) prompt: &'a str,
    pub(crate) negative_prompt: &'a str,
    /// In pixels.
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) steps: usize,
    pub(crate) guidance: f64,
}

impl Sample<'_> {
    /// The latents, `[1, channels, height, width]`, and the picture that they become. `noise` is what it begins from.
    pub(crate) fn draw(
        &self,
        pipeline: &Pipeline,
        noise: impl FnMut(&Shape) -> candle_core::Result<Tensor>,
    ) -> Result<(Tensor, Pixels)> {
        let conditioning = pipeline.encode_prompts(self.prompt, self.negative_prompt, self.guidance)?;
        let plan = pipeline.sampling_plan(self.width, self.height, self.steps);
        let Some(latents) = pipeline.denoise(&conditioning, plan, noise, |_| Ok(Next::Continue))? else {
            bail!("denoising stopped without a request to stop");
        };
        let picture = pipeline.decode(&latents, self.width, self.height)?;
        Ok((latents, picture))
    }
}
