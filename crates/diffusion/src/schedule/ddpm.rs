//! Denoising Diffusion Probabilistic Models (Ho et al. 2020).

use super::config::{Config, Variance};
use super::ddim::whole_timesteps;
use super::level::{Level, Scale};
use super::sampler::{Evaluation, Part, Plan, Weights};
use super::training::Training;
use crate::ModelError;

/// The least variance of a step, as in the reference.
const MIN_VARIANCE: f64 = 1e-20;

pub(super) fn plan(config: &Config, training: &Training, steps: usize) -> Result<Plan, ModelError> {
    let total = config.train_timesteps;
    let timesteps = whole_timesteps(config, steps)?;
    let alphas: Option<Vec<f64>> = timesteps.iter().map(|timestep| training.alpha_bar(*timestep)).collect();
    let mut alphas = alphas.ok_or_else(|| ModelError::invalid_step_count(&config.file, steps, total - 1))?;
    alphas.push(1.0);
    let sigmas = alphas.iter().map(|alpha| ((1.0 - alpha) / alpha).sqrt()).collect();
    let evaluations = timesteps
        .iter()
        .zip(alphas.windows(2))
        .map(|(timestep, pair)| {
            // The reference adds no noise after timestep 0.
            let noise = if *timestep > 0.0 { deviation(config.variance, pair[0], pair[1]) } else { 0.0 };
            evaluation(config, pair[0], pair[1], noise)
        })
        .collect();
    Ok(Plan { evaluations, timesteps, sigmas, init_noise_sigma: 1.0, clip: config.clip })
}

/// The standard deviation of a step's noise, by the shares of the sample `ᾱ` before and after it.
fn deviation(variance: Variance, from: f64, to: f64) -> f64 {
    let beta = 1.0 - from / to;
    match variance {
        Variance::FixedSmall => ((1.0 - to) / (1.0 - from) * beta).max(MIN_VARIANCE).sqrt(),
        Variance::FixedLarge => beta.sqrt(),
    }
}

/// The step from one `ᾱ` to another (equation 7).
fn evaluation(config: &Config, from: f64, to: f64, fresh_noise: f64) -> Evaluation {
    let alpha = from / to;
    let next = Weights {
        sample: alpha.sqrt() * (1.0 - to) / (1.0 - from),
        clean: to.sqrt() * (1.0 - alpha) / (1.0 - from),
        ..Weights::default()
    };
    Evaluation {
        input: 1.0,
        clean: Level::of_alpha_bar(from).clean(config.prediction, Scale::Preserving),
        correction: Vec::new(),
        next: vec![next],
        fresh_noise,
        part: Part::Last,
    }
}
