//! From a prompt to a picture: text encoder, denoiser, schedule and decoder of one model.

use std::sync::OnceLock;

use candle_core::{DType, Device, Shape, Tensor};
use tintype_core::engine::Warning;
use tintype_core::picture::Pixels;

use crate::denoiser::{UNet, guidance_embedding};
use crate::finite::{self, Component};
use crate::plan::ModelPlan;
use crate::preview::Previewer;
use crate::schedule::{Sampler, Schedule, Substitution};
use crate::text::TextEncoder;
use crate::vae::Vae;
use crate::{ModelError, ModelFiles};

/// A Stable Diffusion model, loaded.
pub struct Pipeline {
    text: TextEncoder,
    unet: UNet,
    vae: Vae,
    schedule: Schedule,
    /// Width and height in pixels.
    native_size: (usize, usize),
    device: Device,
    /// From the first preview on.
    previewer: OnceLock<Previewer>,
}

/// What a picture is to show, as the denoiser takes it.
pub struct Conditioning {
    /// `[1, tokens, width]`, or `[2, tokens, width]` with the negative prompt first.
    context: Tensor,
    /// The scale, if there are two passes.
    guidance: Option<f64>,
    /// The scale's embedding, for models that take one.
    embedding: Option<Tensor>,
    /// What was cut off the prompts.
    pub warnings: Vec<Warning>,
}

/// The way to a sample: how large, and in how many steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SamplingPlan {
    /// Rows of latents.
    pub height: usize,
    /// Latents per row.
    pub width: usize,
    /// Denoising steps.
    pub steps: usize,
}

/// Where a denoising loop stands between two evaluations of the denoiser.
pub struct StepContext<'a> {
    /// How many steps are done.
    pub done: usize,
    /// The last of them, if it has just ended.
    last_step: Option<CompletedStep<'a>>,
}

/// A step as it was taken.
struct CompletedStep<'a> {
    sampler: &'a Sampler,
    /// The number of its last evaluation, from 0.
    evaluation: usize,
    /// The latents at that evaluation.
    sample: &'a Tensor,
    /// The denoiser's output for `sample`.
    output: &'a Tensor,
}

impl StepContext<'_> {
    /// Whether a step has just ended. If not, no step has begun, or the step has a second evaluation.
    #[must_use]
    pub fn ends_step(&self) -> bool {
        self.last_step.is_some()
    }

    /// The latents without any noise, `[1, channels, height, width]`, as the last step saw them; `None`
    /// unless a step has just ended.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn clean_sample(&self) -> Result<Option<Tensor>, ModelError> {
        let clean = |last_step: &CompletedStep| {
            last_step.sampler.clean_sample(last_step.evaluation, last_step.sample, last_step.output)
        };
        Ok(self.last_step.as_ref().map(clean).transpose()?)
    }
}

/// Whether a denoising loop continues after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Run the next step.
    Continue,
    /// Stop: the request was abandoned.
    Stop,
}

impl Pipeline {
    /// Loads a model onto a device, its weights in type `dtype`. Latents are `f32` throughout.
    ///
    /// # Errors
    /// [`ModelError`] for a file that is missing or malformed, an option that is not supported, or parts that
    /// do not fit together.
    pub fn load(files: &ModelFiles, device: &Device, dtype: DType) -> Result<Self, ModelError> {
        Self::from_plan(ModelPlan::read(files, device, dtype)?, device)
    }

    /// Loads the weights of a model onto the device of its plan.
    ///
    /// # Errors
    /// [`ModelError`] for tensors that are missing or malformed.
    pub(crate) fn from_plan(plan: ModelPlan, device: &Device) -> Result<Self, ModelError> {
        Ok(Self {
            native_size: plan.native_size(),
            // The largest part first: memory for its file and for its copy is needed at once.
            unet: UNet::with_weights(plan.unet, &plan.unet_weights)?,
            text: TextEncoder::with_weights(&plan.text, plan.tokenizer, plan.text_weights)?,
            vae: Vae::with_weights(plan.vae, &plan.vae_weights)?,
            schedule: plan.schedule,
            device: device.clone(),
            previewer: OnceLock::new(),
        })
    }

    /// The scheduler class of the model, if another one runs in its place.
    #[must_use]
    pub fn substitution(&self) -> Option<Substitution> {
        self.schedule.substitution()
    }

    /// Width and height of the pictures that the model was trained on, in pixels.
    #[must_use]
    pub fn native_size(&self) -> (usize, usize) {
        self.native_size
    }

    /// The course to a picture of at least this size in pixels. Where the autoencoder's grid is coarser, the
    /// latents reach beyond the picture, and [`Pipeline::decode`] cuts its middle out.
    #[must_use]
    pub fn sampling_plan(&self, width: usize, height: usize, steps: usize) -> SamplingPlan {
        let scale = self.vae.scale();
        SamplingPlan { height: height.div_ceil(scale), width: width.div_ceil(scale), steps }
    }

    /// Encodes the prompts. The negative prompt has an effect only if the guidance scale is above 1.
    ///
    /// # Errors
    /// [`ModelError::NotFinite`] or [`ModelError::Tensor`].
    pub fn encode_prompts(
        &self,
        prompt: &str,
        negative_prompt: &str,
        guidance: f64,
    ) -> Result<Conditioning, ModelError> {
        let takes_guidance = self.unet.config().time_cond_proj_dim;
        let embedding =
            takes_guidance.map(|width| guidance_embedding(guidance, width, &self.device)).transpose()?;
        let guidance = (guidance > 1.0 && embedding.is_none()).then_some(guidance);
        let mut warnings = Vec::new();
        let mut tokens = Vec::new();
        let negative = guidance.map(|_| ("negative_prompt", negative_prompt));
        for (parameter, text) in negative.into_iter().chain([("prompt", prompt)]) {
            let mut encoded = self.text.tokenize(text);
            warnings.extend(encoded.truncation.take().map(|truncation| truncation.into_warning(parameter)));
            tokens.push(encoded);
        }
        let context = finite::check(self.text.encode(&tokens)?, Component::TextEncoder)?;
        Ok(Conditioning { context, guidance, embedding, warnings })
    }

    /// Denoises step by step. Returns the latents, `[1, channels, height, width]`, or `None` if `between`
    /// stops the loop.
    ///
    /// `noise` makes standard normal numbers of a shape: first those that the picture is made from, then, for
    /// some schedulers, those that each step adds, in the order of the steps. `between` is asked before the first step
    /// and after each evaluation of the denoiser whether to go on.
    ///
    /// # Errors
    /// [`ModelError`] if the schedule has no room for so many steps, the denoiser's output is not finite, or a tensor
    /// operation fails, or what `between` returns.
    pub fn denoise(
        &self,
        conditioning: &Conditioning,
        plan: SamplingPlan,
        mut noise: impl FnMut(&Shape) -> candle_core::Result<Tensor>,
        mut between: impl FnMut(StepContext) -> Result<Next, ModelError>,
    ) -> Result<Option<Tensor>, ModelError> {
        let mut sampler = self.schedule.plan(plan.steps)?;
        let shape = Shape::from((1, self.unet.config().in_channels, plan.height, plan.width));
        let mut latents = (noise(&shape)?.to_device(&self.device)? * sampler.init_noise_sigma())?;
        let timesteps = sampler.timesteps().to_vec();
        if between(StepContext { done: 0, last_step: None })? == Next::Stop {
            return Ok(None);
        }
        let mut done = 0;
        for (evaluation, timestep) in timesteps.into_iter().enumerate() {
            let _traced = tracing::trace_span!("step", number = (done + 1) as i64).entered();
            let input = sampler.scale_model_input(&latents, evaluation)?;
            let component = Component::Denoiser { step: done + 1, of: plan.steps };
            let output = finite::check(self.predict(&input, timestep, conditioning)?, component)?;
            let fresh = match sampler.needs_noise(evaluation) {
                true => Some(noise(&shape)?.to_device(&self.device)?),
                false => None,
            };
            let next = sampler.step(evaluation, &latents, &output, fresh.as_ref())?;
            let ended = CompletedStep { sampler: &sampler, evaluation, sample: &latents, output: &output };
            let last_step = sampler.ends_step(evaluation).then_some(ended);
            done += usize::from(last_step.is_some());
            if between(StepContext { done, last_step })? == Next::Stop {
                return Ok(None);
            }
            latents = next;
        }
        // Finite outputs can still overflow in the scheduler's formula.
        let component = Component::Denoiser { step: plan.steps, of: plan.steps };
        finite::check(latents, component).map(Some)
    }

    /// The denoiser's output with classifier-free guidance: `negative + scale × (positive − negative)`.
    fn predict(
        &self,
        latents: &Tensor,
        timestep: f64,
        conditioning: &Conditioning,
    ) -> Result<Tensor, ModelError> {
        let Conditioning { context, guidance, embedding, .. } = conditioning;
        let Some(guidance) = guidance else {
            return Ok(self
                .unet
                .forward(latents, timestep, context, embedding.as_ref())?
                .to_dtype(DType::F32)?);
        };
        let both = latents.repeat((2, 1, 1, 1))?;
        let output = self.unet.forward(&both, timestep, context, None)?.to_dtype(DType::F32)?;
        let (negative, positive) = (output.narrow(0, 0, 1)?, output.narrow(0, 1, 1)?);
        Ok((&negative + ((positive - &negative)? * *guidance)?)?)
    }

    /// Turns latents into a picture of this size in pixels, the middle of what they show.
    ///
    /// # Errors
    /// [`ModelError::NotFinite`] if a colour is not finite. [`ModelError::Tensor`] if the latents are of another shape or
    /// show less than that.
    pub fn decode(&self, latents: &Tensor, width: usize, height: usize) -> Result<Pixels, ModelError> {
        let colours = self.vae.decode(latents)?;
        if let Some(previewer) = self.previewer.get() {
            previewer.learn(latents, &colours)?;
        }
        let (_, _, full_height, full_width) = colours.dims4()?;
        let (Some(top), Some(left)) = (full_height.checked_sub(height), full_width.checked_sub(width)) else {
            let message =
                format!("latents of {full_width}×{full_height} pixels for a picture of {width}×{height}");
            return Err(candle_core::Error::Msg(message).into());
        };
        let colours = colours.narrow(2, top / 2, height)?.narrow(3, left / 2, width)?.squeeze(0)?;
        let samples: Vec<f32> =
            colours.permute((1, 2, 0))?.to_device(&Device::Cpu)?.flatten_all()?.to_vec1()?;
        if !finite::all_finite(&samples) {
            return Err(ModelError::NotFinite { component: Component::Autoencoder });
        }
        let rgb = samples.into_iter().map(sample_of).collect();
        Pixels::new(width as u32, height as u32, rgb).ok_or_else(|| {
            candle_core::Error::Msg("the decoder's output must have three channels".into()).into()
        })
    }

    /// What a picture of this size in pixels will look like, going by a step's clean latents
    /// ([`StepContext::clean_sample`]): on 128 to 256 pixels along its longer side, or more if there are more
    /// latents.
    ///
    /// The first takes about as long as decoding 64 by 64 pixels, every other a few milliseconds. They get
    /// better with every picture that is decoded after the first.
    ///
    /// # Errors
    /// [`ModelError::Tensor`] if the latents are of another shape.
    pub fn preview(&self, clean: &Tensor, width: usize, height: usize) -> Result<Pixels, ModelError> {
        if let Some(previewer) = self.previewer.get() {
            return previewer.preview(clean, width, height);
        }
        let fresh = Previewer::new(&self.vae, &self.device)?;
        self.previewer.get_or_init(|| fresh).preview(clean, width, height)
    }
}

/// Converts a decoder's output, −1 to 1, to a colour sample, 0 to 255. NaN becomes 0.
pub(crate) fn sample_of(x: f32) -> u8 {
    ((x * 0.5 + 0.5) * 255.0).round_ties_even() as u8
}
