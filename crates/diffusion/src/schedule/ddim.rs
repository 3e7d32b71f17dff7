//! Denoising Diffusion Implicit Models (Song et al. 2020), with η = 0.

use super::Prediction;
use super::config::{Config, Spacing};
use super::sampler::{Linear, Sampler, Step};
use super::spacing::timesteps;
use super::training::Training;
use crate::ModelError;

pub(super) fn plan(config: &Config, training: &Training, steps: usize) -> Result<Sampler, ModelError> {
    let total = config.train_timesteps;
    if steps == 0 || steps > total {
        return Err(ModelError::steps(&config.file, steps, total));
    }
    let mut timesteps = timesteps(config, steps);
    if config.spacing == Spacing::Linspace {
        timesteps.iter_mut().for_each(|timestep| *timestep = timestep.round_ties_even());
    }
    let alpha = |timestep: f64| training.alphas.get(timestep as usize).map(|alpha| f64::from(*alpha));
    let last = if config.set_alpha_to_one { 1.0 } else { f64::from(training.alphas[0]) };
    let distance = (total / steps) as f64;
    let steps = timesteps
        .iter()
        .map(|timestep| {
            let from = alpha(*timestep)
                .ok_or_else(|| ModelError::steps(&config.file, steps, total - config.steps_offset))?;
            let before = timestep - distance;
            let to = if before < 0.0 { last } else { alpha(before).unwrap_or(last) };
            Ok(step(config, from, to))
        })
        .collect::<Result<_, ModelError>>()?;
    Ok(Sampler { steps, timesteps, init_noise_sigma: 1.0, clip: config.clip, before: None })
}

/// The step from one share of the sample to another.
fn step(config: &Config, from: f64, to: f64) -> Step {
    let (signal, noise) = (from.sqrt(), (1.0 - from).sqrt());
    // Both as shares of the noisy sample and the output: the clean sample, and the direction of the noise.
    let (clean, direction) = match config.prediction {
        Prediction::Epsilon => {
            (Linear { sample: 1.0 / signal, output: -noise / signal }, Linear { sample: 0.0, output: 1.0 })
        }
        Prediction::Velocity => {
            (Linear { sample: signal, output: -noise }, Linear { sample: noise, output: signal })
        }
        Prediction::Sample => {
            (Linear { sample: 0.0, output: 1.0 }, Linear { sample: 1.0 / noise, output: -signal / noise })
        }
    };
    let rest = (1.0 - to).sqrt();
    Step {
        input: 1.0,
        clean,
        next: Linear { sample: rest * direction.sample, output: rest * direction.output },
        from_clean: to.sqrt(),
        ..Step::default()
    }
}
