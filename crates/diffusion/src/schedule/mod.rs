//! How the noise is taken away: which levels of it, in how many steps, by which formula.
//!
//! `scheduler/scheduler_config.json` names one of diffusers' schedulers and its options. These run:
//!
//! | `_class_name` | what runs |
//! | --- | --- |
//! | `DDIMScheduler` | DDIM with η = 0 |
//! | `EulerDiscreteScheduler` | Euler, also with Karras' sigmas |
//! | `EulerAncestralDiscreteScheduler` | Euler with fresh noise after every step |
//! | `DPMSolverMultistepScheduler` | DPM-Solver++ of order 1 or 2 (midpoint), also with Karras' sigmas |
//! | `PNDMScheduler` | DPM-Solver++ of order 2 with the same betas and prediction, and the spacing if the file sets one: it needs half the steps or less for the same picture. This is what diffusers' `DPMSolverMultistepScheduler.from_config(pndm.config)` makes of it. |
//!
//! Anything else, and any option that would change the result and is not known here, is an error that names it.
//!
//! All four formulas come to the same shape, a step that mixes the sample, what the model says and fresh noise ([`Sampler`]), so a plan
//! is nothing but numbers: computed once, in `f64`, from levels of noise that are rounded to `f32` where the reference rounds them.

mod config;
mod ddim;
mod dpm;
mod euler;
mod sampler;
mod spacing;
mod training;

#[cfg(test)]
mod tests;

pub use sampler::Sampler;

use crate::{ModelError, ModelFiles};
use config::{Config, Method, Spacing};
use training::Training;

const FILE: &str = "scheduler/scheduler_config.json";

/// A model's schedule, ready to be planned for any number of steps.
#[derive(Debug)]
pub struct Schedule {
    config: Config,
    training: Training,
}

/// What a network was trained to say about a noisy sample `α·x + σ·ε`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prediction {
    /// The noise, `ε`.
    Epsilon,
    /// The velocity, `α·ε − σ·x`.
    Velocity,
    /// The clean sample, `x`.
    Sample,
}

impl Schedule {
    /// Reads `scheduler/scheduler_config.json`.
    ///
    /// # Errors
    /// [`ModelError`] if it is missing, malformed, or asks for a scheduler or an option that is not supported.
    pub fn load(files: &ModelFiles) -> Result<Self, ModelError> {
        let config = Config::load(files, FILE)?;
        let training = Training::new(&config)?;
        Ok(Self { config, training })
    }

    /// The same schedule with the options that diffusers' `StableDiffusionPipeline` sets in every scheduler, whatever
    /// its file says: clean latents are not clipped, and the leading timesteps begin at 1. Files that were written
    /// before these options existed would give other images.
    #[must_use]
    pub fn for_stable_diffusion(mut self) -> Self {
        let config = &mut self.config;
        let offset = config.spacing == Spacing::Leading && config.steps_offset != 1;
        if config.clip.is_some() || offset {
            tracing::info!(
                file = %config.file.display(),
                "`clip_sample` is taken as false and `steps_offset` as 1, as in diffusers' StableDiffusionPipeline"
            );
        }
        config.clip = None;
        config.steps_offset = 1;
        self
    }

    /// What the denoiser predicts.
    #[must_use]
    pub fn prediction(&self) -> Prediction {
        self.config.prediction
    }

    /// The way through `steps` steps.
    ///
    /// # Errors
    /// [`ModelError::InvalidStepCount`] if the schedule has no room for so many.
    pub fn plan(&self, steps: usize) -> Result<Sampler, ModelError> {
        match self.config.method {
            Method::Ddim => ddim::plan(&self.config, &self.training, steps),
            Method::Euler => euler::plan(&self.config, &self.training, steps, euler::Kind::Plain),
            Method::EulerAncestral => {
                euler::plan(&self.config, &self.training, steps, euler::Kind::Ancestral)
            }
            Method::DpmSolver => dpm::plan(&self.config, &self.training, steps),
        }
    }
}
