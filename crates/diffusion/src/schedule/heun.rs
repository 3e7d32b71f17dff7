//! Heun's method on the probability flow (Karras et al. 2022, algorithm 1 without churn): Euler's step to the next level of
//! noise, and the step again with the mean of the derivatives at both ends. The last step, to no noise, is Euler's.

use super::config::Config;
use super::level::{Level, Scale};
use super::noise_levels::NoiseLevels;
use super::sampler::{Evaluation, Part, Plan, Weights};
use super::training::Training;
use crate::ModelError;

pub(super) fn plan(config: &Config, training: &Training, steps: usize) -> Result<Plan, ModelError> {
    let levels = NoiseLevels::of_derivatives(config, training, steps)?;
    let init_noise_sigma = levels.init_noise_sigma(config.spacing);
    let (mut evaluations, mut timesteps, mut sigmas) = (Vec::new(), Vec::new(), vec![levels.sigmas[0]]);
    for (step, timestep) in levels.timesteps.iter().enumerate() {
        let (from, to) = (levels.sigmas[step], levels.sigmas[step + 1]);
        let end = levels.timesteps.get(step + 1);
        evaluations.push(euler(config, from, to, if end.is_some() { Part::First } else { Part::Last }));
        timesteps.push(*timestep);
        sigmas.push(to);
        if let Some(end) = end {
            evaluations.push(again(config, from, to));
            timesteps.push(*end);
            sigmas.push(to);
        }
    }
    Ok(Plan { evaluations, timesteps, sigmas, init_noise_sigma, clip: config.clip })
}

/// The share of the derivative at a level, `(x − clean) / σ`.
fn derivative(sigma: f64, share: f64) -> Weights {
    Weights { sample: share / sigma, clean: -share / sigma, ..Weights::default() }
}

fn euler(config: &Config, from: f64, to: f64, part: Part) -> Evaluation {
    let mut next = derivative(from, to - from);
    next.sample += 1.0;
    evaluation(config, from, vec![next], part)
}

/// Replaces the step from `from` to `to` by one with the mean derivative, after an evaluation at its end.
fn again(config: &Config, from: f64, to: f64) -> Evaluation {
    let half = (to - from) / 2.0;
    let mut start = derivative(from, half);
    start.sample += 1.0;
    evaluation(config, to, vec![derivative(to, half), start], Part::Last)
}

fn evaluation(config: &Config, sigma: f64, next: Vec<Weights>, part: Part) -> Evaluation {
    Evaluation {
        input: 1.0 / libm::hypot(sigma, 1.0),
        clean: Level::of_ratio(sigma).clean(config.prediction, Scale::Exploding),
        correction: Vec::new(),
        next,
        fresh_noise: 0.0,
        part,
    }
}
