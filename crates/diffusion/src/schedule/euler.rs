//! Euler's method on the probability flow, plain and ancestral (Karras et al. 2022).

use super::config::{Config, Method};
use super::level::{Level, Scale};
use super::noise_levels::NoiseLevels;
use super::sampler::{Evaluation, Part, Plan, Weights};
use super::training::Training;
use crate::ModelError;

pub(super) fn plan(config: &Config, training: &Training, steps: usize) -> Result<Plan, ModelError> {
    let levels = NoiseLevels::of_derivatives(config, training, steps)?;
    let init_noise_sigma = levels.init_noise_sigma(config.spacing);
    let NoiseLevels { timesteps, sigmas } = levels;
    let evaluations = sigmas.windows(2).map(|pair| evaluation(config, pair[0], pair[1])).collect();
    Ok(Plan { evaluations, timesteps, sigmas, init_noise_sigma, clip: None })
}

/// The step from one level of noise to another, in samples `x + σ·ε`.
fn evaluation(config: &Config, from: f64, to: f64) -> Evaluation {
    let up = match config.method {
        Method::EulerAncestral => (to * to * (from * from - to * to) / (from * from)).max(0.0).sqrt(),
        _ => 0.0,
    };
    let down = (to * to - up * up).max(0.0).sqrt();
    // x' = x + (x − clean) · change, and the clean sample is again made of x and the output.
    let change = (down - from) / from;
    let clean = Level::of_ratio(from).clean(config.prediction, Scale::Exploding);
    let next = Weights {
        sample: 1.0 + change * (1.0 - clean.sample),
        output: -change * clean.output,
        ..Weights::default()
    };
    Evaluation {
        input: 1.0 / libm::hypot(from, 1.0),
        clean,
        correction: Vec::new(),
        next: vec![next],
        fresh_noise: up,
        part: Part::Last,
    }
}
