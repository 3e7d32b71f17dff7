//! Denoising Diffusion Implicit Models (Song et al. 2020), with η = 0.

use super::Prediction;
use super::config::{Config, Spacing};
use super::sampler::{LinearCombination, Sampler, Step};
use super::spacing::timesteps;
use super::training::Training;
use crate::ModelError;

pub(super) fn plan(config: &Config, training: &Training, steps: usize) -> Result<Sampler, ModelError> {
    let total = config.train_timesteps;
    if steps == 0 || steps > total {
        return Err(ModelError::invalid_step_count(&config.file, steps, total));
    }
    let mut timesteps = timesteps(config, steps);
    if config.spacing == Spacing::Linspace {
        timesteps.iter_mut().for_each(|timestep| *timestep = timestep.round_ties_even());
    }
    let alpha = |timestep: f64| training.alphas.get(timestep as usize).map(|alpha| f64::from(*alpha));
    let last = if config.set_alpha_to_one { 1.0 } else { f64::from(training.alphas[0]) };
    let distance = (total / steps) as f64;
    let mut shares = Vec::with_capacity(steps);
    for timestep in &timesteps {
        let from =
            alpha(*timestep).ok_or_else(|| ModelError::invalid_step_count(&config.file, steps, total - 1))?;
        let before = timestep - distance;
        shares.push((from, if before < 0.0 { last } else { alpha(before).unwrap_or(last) }));
    }
    let sigma = |alpha: f64| ((1.0 - alpha) / alpha).sqrt();
    let sigmas =
        shares.iter().map(|(from, _)| sigma(*from)).chain(shares.last().map(|(_, to)| sigma(*to))).collect();
    let steps = shares.into_iter().map(|(from, to)| step(config, from, to)).collect();
    Ok(Sampler { steps, timesteps, sigmas, init_noise_sigma: 1.0, clip: config.clip, previous_clean: None })
}

/// The step from one share of the sample to another.
fn step(config: &Config, from: f64, to: f64) -> Step {
    let (signal, noise) = (from.sqrt(), (1.0 - from).sqrt());
    // Both as shares of the noisy sample and the output: the clean sample, and the direction of the noise.
    let (clean, direction) = match config.prediction {
        Prediction::Epsilon => (
            LinearCombination { sample: 1.0 / signal, output: -noise / signal },
            LinearCombination { sample: 0.0, output: 1.0 },
        ),
        Prediction::Velocity => (
            LinearCombination { sample: signal, output: -noise },
            LinearCombination { sample: noise, output: signal },
        ),
        Prediction::Sample => (
            LinearCombination { sample: 0.0, output: 1.0 },
            LinearCombination { sample: 1.0 / noise, output: -signal / noise },
        ),
    };
    let rest = (1.0 - to).sqrt();
    Step {
        input: 1.0,
        clean,
        next: LinearCombination { sample: rest * direction.sample, output: rest * direction.output },
        from_clean: to.sqrt(),
        ..Step::default()
    }
}
