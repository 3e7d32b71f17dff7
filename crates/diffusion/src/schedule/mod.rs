//! How the noise is taken away: which levels of it, in how many steps, by which formula.
//!
//! `scheduler/scheduler_config.json` names one of diffusers' schedulers and its options. These run:
//!
//! | `_class_name` | what runs |
//! | --- | --- |
//! | `DDIMScheduler` | DDIM with η = 0 |
//! | `DDPMScheduler` | DDPM with the variances `fixed_small` and `fixed_large` |
//! | `LCMScheduler` | multistep sampling of consistency models |
//! | `EulerDiscreteScheduler` | Euler |
//! | `EulerAncestralDiscreteScheduler` | Euler with fresh noise after every step |
//! | `HeunDiscreteScheduler` | Heun: two evaluations of the model per step, one in the last |
//! | `LMSDiscreteScheduler` | the linear multistep method of order 4 |
//! | `DPMSolverMultistepScheduler` | DPM-Solver++ of order 1 or 2 (midpoint), also as `sde-dpmsolver++` with fresh noise in every step |
//! | `UniPCMultistepScheduler` | UniPC of order 1 to 3, with `bh1` and `bh2` |
//! | `PNDMScheduler` | DPM-Solver++ of order 2 with the same betas and prediction, and the spacing if the file sets one: it needs half the steps or less for the same picture. This is what diffusers' `DPMSolverMultistepScheduler.from_config(pndm.config)` makes of it. |
//!
//! Euler, Heun, the linear multistep method, DPM-Solver++ and UniPC also run with Karras' and exponential sigmas. The other
//! schedulers of diffusers for Stable Diffusion are substituted by the nearest of these, with a warning
//! ([`Schedule::substitution`]); `class.rs` has the table. Anything else, and any option that would change the result and is
//! not known here, is an error that names it.
//!
//! All formulas come to the same shape ([`Sampler`]): after each evaluation of the model, the next sample is a linear
//! combination of the samples, outputs and clean samples of the last few evaluations, and of fresh noise. So a plan is nothing
//! but numbers: computed once, in `f64`, from levels of noise that are rounded to `f32` where the reference rounds them.
//!
//! Noise comes from the request's seed ([`crate::noise`]), in this order: the initial sample, then one tensor of the same
//! shape for each evaluation whose update has a share of fresh noise other than 0, in the order of the evaluations.

mod class;
mod config;
mod ddim;
mod ddpm;
mod dpm;
mod euler;
mod heun;
mod lcm;
mod level;
mod lms;
mod noise_levels;
mod read;
mod sampler;
mod spacing;
mod training;
mod unipc;

#[cfg(test)]
mod tests;

pub use sampler::Sampler;

use tintype_core::model::{Evaluations, Sampling};

use crate::{ModelError, ModelFiles};
use class::{SchedulerClass, Support};
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

/// A scheduler class and the one that runs in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Substitution {
    /// The class that the model names.
    pub class: &'static str,
    /// The class that runs.
    pub substitute: &'static str,
}

impl Schedule {
    /// Reads `scheduler/scheduler_config.json`.
    ///
    /// # Errors
    /// [`ModelError`] if it is missing, malformed, or asks for a scheduler or an option that is not supported.
    pub fn load(files: &ModelFiles) -> Result<Self, ModelError> {
        let config = Config::load(files, FILE)?;
        if let Some(Substitution { class, substitute }) = config.substitution() {
            tracing::warn!(
                file = %config.file.display(),
                class,
                substitute,
                "scheduler class is not implemented; the nearest one runs and images differ from those of diffusers"
            );
        } else if config.class.support == Support::Upgraded {
            tracing::info!(file = %config.file.display(), class = config.class.name, "DPM-Solver++ runs for this scheduler class");
        }
        let training = Training::new(&config)?;
        Ok(Self { config, training })
    }

    /// The same schedule with the options that diffusers' `StableDiffusionPipeline` sets in every scheduler, whatever
    /// its file says: clean latents are not clipped, and the leading timesteps begin at 1. Files that were written
    /// before these options existed would give other images.
    #[must_use]
    pub fn for_stable_diffusion(mut self) -> Self {
        let config = &mut self.config;
        let offset = config.spacing == Spacing::Leading
            && config.steps_offset != 1
            // LCM has timesteps of its own.
            && config.method != Method::Lcm;
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

    /// The class that the model names, if another one runs in its place.
    #[must_use]
    pub fn substitution(&self) -> Option<Substitution> {
        self.config.substitution()
    }

    /// How often the sampler evaluates the model.
    #[must_use]
    pub fn evaluations(&self) -> Evaluations {
        match self.config.method {
            Method::Heun => Evaluations::TwicePerStep,
            _ => Evaluations::OncePerStep,
        }
    }

    /// The most steps that there is a plan for, at most the default of [`Sampling`].
    #[must_use]
    pub fn max_steps(&self) -> u32 {
        (1..=Sampling::default().max_steps)
            .rev()
            .find(|steps| self.plan(*steps as usize).is_ok())
            .unwrap_or(1)
    }

    /// The way through `steps` steps.
    ///
    /// # Errors
    /// [`ModelError::InvalidStepCount`] if the schedule has no room for so many.
    pub fn plan(&self, steps: usize) -> Result<Sampler, ModelError> {
        let plan = match self.config.method {
            Method::Ddim => ddim::plan,
            Method::Ddpm => ddpm::plan,
            Method::Lcm => lcm::plan,
            Method::Euler | Method::EulerAncestral => euler::plan,
            Method::Heun => heun::plan,
            Method::Lms => lms::plan,
            Method::DpmSolver | Method::DpmSolverSde => dpm::plan,
            Method::UniPc => unipc::plan,
        };
        let plan = plan(&self.config, &self.training, steps)?;
        // Two steps at one level of noise, which a `steps_offset` can cause when every timestep of training has a step.
        if plan.evaluations.iter().any(|evaluation| evaluation.numbers().any(|number| !number.is_finite())) {
            let max = self.config.train_timesteps - 1;
            return Err(ModelError::invalid_step_count(&self.config.file, steps, max));
        }
        Ok(Sampler::new(plan))
    }
}

impl SchedulerClass {
    fn substitution(&self) -> Option<Substitution> {
        match self.support {
            Support::SubstitutedBy(substitute) => Some(Substitution { class: self.name, substitute }),
            Support::Full | Support::Upgraded => None,
        }
    }
}
