//! The linear multistep method of Adams and Bashforth on the probability flow, of order 4: the derivatives of the last four
//! steps determine a polynomial, which is integrated over the step.

use super::config::Config;
use super::level::{Level, Scale};
use super::noise_levels::NoiseLevels;
use super::sampler::{Evaluation, Part, Plan, Weights};
use super::training::Training;
use crate::ModelError;

const ORDER: usize = 4;

pub(super) fn plan(config: &Config, training: &Training, steps: usize) -> Result<Plan, ModelError> {
    let levels = NoiseLevels::of_derivatives(config, training, steps)?;
    let init_noise_sigma = levels.init_noise_sigma(config.spacing);
    let NoiseLevels { timesteps, sigmas } = levels;
    let evaluations = (0..timesteps.len()).map(|step| evaluation(config, &sigmas, step)).collect();
    Ok(Plan { evaluations, timesteps, sigmas, init_noise_sigma, clip: None })
}

fn evaluation(config: &Config, sigmas: &[f64], step: usize) -> Evaluation {
    let order = ORDER.min(step + 1);
    // In samples x + σ·ε, the derivative by σ is the estimate of ε.
    let mut next: Vec<Weights> = (0..order)
        .map(|age| {
            let noise = Level::of_ratio(sigmas[step - age]).noise(config.prediction, Scale::Exploding);
            Weights::of(noise, coefficient(sigmas, step, order, age))
        })
        .collect();
    next[0].sample += 1.0;
    Evaluation {
        input: 1.0 / libm::hypot(sigmas[step], 1.0),
        clean: Level::of_ratio(sigmas[step]).clean(config.prediction, Scale::Exploding),
        correction: Vec::new(),
        next,
        fresh_noise: 0.0,
        part: Part::Last,
    }
}

/// The integral over the step of the Lagrange polynomial that is 1 at the level of the step of this age, and 0 at those of
/// the other steps. By Gauss and Legendre's rule with two points, which is exact up to the third degree.
fn coefficient(sigmas: &[f64], step: usize, order: usize, age: usize) -> f64 {
    let level = |age: usize| sigmas[step - age];
    let polynomial = |sigma: f64| -> f64 {
        (0..order)
            .filter(|other| *other != age)
            .map(|other| (sigma - level(other)) / (level(age) - level(other)))
            .product()
    };
    let (middle, half) = ((sigmas[step + 1] + sigmas[step]) / 2.0, (sigmas[step + 1] - sigmas[step]) / 2.0);
    let offset = half / 3f64.sqrt();
    half * (polynomial(middle - offset) + polynomial(middle + offset))
}
