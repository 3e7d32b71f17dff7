//! Denoising Diffusion Implicit Models (Song et al. 2020), with η = 0.

use super::config::{Config, Spacing};
use super::level::{Level, Scale};
use super::sampler::{Evaluation, Part, Plan, Weights};
use super::spacing::timesteps;
use super::training::Training;
use crate::ModelError;

pub(super) fn plan(config: &Config, training: &Training, steps: usize) -> Result<Plan, ModelError> {
    let total = config.train_timesteps;
    let timesteps = whole_timesteps(config, steps)?;
    let last = if config.set_alpha_to_one { 1.0 } else { f64::from(training.alphas[0]) };
    let distance = (total / steps) as f64;
    let mut shares = Vec::with_capacity(steps);
    for timestep in &timesteps {
        let from = training
            .alpha_bar(*timestep)
            .ok_or_else(|| ModelError::invalid_step_count(&config.file, steps, total - 1))?;
        let before = timestep - distance;
        let to = if before < 0.0 { last } else { training.alpha_bar(before).unwrap_or(last) };
        shares.push((from, to));
    }
    let sigma = |alpha: f64| ((1.0 - alpha) / alpha).sqrt();
    let sigmas =
        shares.iter().map(|(from, _)| sigma(*from)).chain(shares.last().map(|(_, to)| sigma(*to))).collect();
    let evaluations = shares.into_iter().map(|(from, to)| evaluation(config, from, to)).collect();
    Ok(Plan { evaluations, timesteps, sigmas, init_noise_sigma: 1.0, clip: config.clip })
}

/// The timesteps of DDIM and DDPM.
///
/// # Errors
/// [`ModelError::InvalidStepCount`].
pub(super) fn whole_timesteps(config: &Config, steps: usize) -> Result<Vec<f64>, ModelError> {
    let total = config.train_timesteps;
    if steps == 0 || steps > total {
        return Err(ModelError::invalid_step_count(&config.file, steps, total));
    }
    let mut timesteps = timesteps(config, steps);
    if config.spacing == Spacing::Linspace {
        timesteps.iter_mut().for_each(|timestep| *timestep = timestep.round_ties_even());
    }
    Ok(timesteps)
}

/// The step from one share of the sample, `ᾱ`, to another.
fn evaluation(config: &Config, from: f64, to: f64) -> Evaluation {
    let level = Level::of_alpha_bar(from);
    let next = Weights {
        clean: to.sqrt(),
        ..Weights::of(level.noise(config.prediction, Scale::Preserving), (1.0 - to).sqrt())
    };
    Evaluation {
        input: 1.0,
        clean: level.clean(config.prediction, Scale::Preserving),
        correction: Vec::new(),
        next: vec![next],
        fresh_noise: 0.0,
        part: Part::Last,
    }
}
