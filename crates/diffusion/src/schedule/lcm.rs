//! Multistep sampling of Latent Consistency Models (Luo et al. 2023): every step estimates the clean sample, and all but the
//! last add fresh noise to it.

use super::config::Config;
use super::level::{Level, Scale};
use super::sampler::{Evaluation, Part, Plan, Weights};
use super::training::Training;
use crate::ModelError;

/// The standard deviation of the data that the boundary condition assumes, as in the reference.
const SIGMA_DATA: f64 = 0.5;

pub(super) fn plan(config: &Config, training: &Training, steps: usize) -> Result<Plan, ModelError> {
    let original = config.lcm.original_steps;
    if steps == 0 || steps > original {
        return Err(ModelError::invalid_step_count(&config.file, steps, original));
    }
    // Of the timesteps that the model was distilled on, every so many, the noisiest first.
    let distance = config.train_timesteps / original;
    let skipped = original as f64 / steps as f64;
    let indices: Vec<usize> =
        (0..steps).map(|step| (original - (step as f64 * skipped) as usize) * distance - 1).collect();
    let alphas: Vec<f64> = indices.iter().map(|index| f64::from(training.alphas[*index])).collect();
    let timesteps: Vec<f64> = indices.iter().map(|index| *index as f64).collect();
    let sigmas = alphas.iter().map(|alpha| ((1.0 - alpha) / alpha).sqrt()).chain([0.0]).collect();
    let evaluations = (0..steps)
        .map(|step| evaluation(config, timesteps[step], alphas[step], alphas.get(step + 1).copied()))
        .collect();
    Ok(Plan { evaluations, timesteps, sigmas, init_noise_sigma: 1.0, clip: config.clip })
}

/// The step from one `ᾱ` to another, or to no noise.
fn evaluation(config: &Config, timestep: f64, from: f64, to: Option<f64>) -> Evaluation {
    // The boundary condition: at timestep 0, the sample is the clean one.
    let scaled = timestep * config.lcm.timestep_scaling;
    let norm = scaled * scaled + SIGMA_DATA * SIGMA_DATA;
    let (skip, out) = (SIGMA_DATA * SIGMA_DATA / norm, scaled / norm.sqrt());
    let Level { alpha, sigma } = Level::of_alpha_bar(to.unwrap_or(1.0));
    Evaluation {
        input: 1.0,
        clean: Level::of_alpha_bar(from).clean(config.prediction, Scale::Preserving),
        correction: Vec::new(),
        next: vec![Weights { sample: alpha * skip, clean: alpha * out, ..Weights::default() }],
        fresh_noise: sigma,
        part: Part::Last,
    }
}
