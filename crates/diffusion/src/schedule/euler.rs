//! Euler's method on the probability flow, plain and ancestral (Karras et al. 2022).

use super::Prediction;
use super::config::{Config, FinalSigma, Spacing};
use super::sampler::{LinearCombination, Sampler, Step};
use super::spacing::{karras, logarithms, sigma_at, timestep_of, timesteps};
use super::training::Training;
use crate::ModelError;

/// Whether noise comes in again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Plain,
    Ancestral,
}

pub(super) fn plan(
    config: &Config,
    training: &Training,
    steps: usize,
    kind: Kind,
) -> Result<Sampler, ModelError> {
    let total = config.train_timesteps;
    if steps == 0 || steps > total {
        return Err(ModelError::invalid_step_count(&config.file, steps, total));
    }
    let trained = training.sigmas();
    // The reference hands timesteps to the model, and looks levels up, in `f32`.
    let mut timesteps: Vec<f64> = timesteps(config, steps).into_iter().map(|t| f64::from(t as f32)).collect();
    let mut sigmas: Vec<f64> = timesteps.iter().map(|timestep| sigma_at(&trained, *timestep)).collect();
    if config.karras {
        let logs = logarithms(&trained);
        let (lowest, highest) = config.sigma_range;
        sigmas = karras(highest.unwrap_or(sigmas[0]), lowest.unwrap_or(sigmas[sigmas.len() - 1]), steps);
        timesteps = sigmas.iter().map(|sigma| f64::from(timestep_of(*sigma, &logs) as f32)).collect();
    }
    sigmas.push(match config.final_sigma {
        FinalSigma::Zero => 0.0,
        FinalSigma::Lowest => f64::from(trained[0]),
    });
    let sigmas: Vec<f64> = sigmas.into_iter().map(|sigma| f64::from(sigma as f32)).collect();
    let max_sigma = sigmas.iter().copied().fold(0.0, f64::max);
    let init_noise_sigma = match config.spacing {
        Spacing::Leading => libm::hypot(max_sigma, 1.0),
        Spacing::Trailing | Spacing::Linspace => max_sigma,
    };
    let steps = sigmas.windows(2).map(|pair| step(config, pair[0], pair[1], kind)).collect();
    Ok(Sampler { steps, timesteps, sigmas, init_noise_sigma, clip: None, previous_clean: None })
}

/// The step from one level of noise to another, in samples `x + σ·ε`.
fn step(config: &Config, from: f64, to: f64, kind: Kind) -> Step {
    let up = match kind {
        Kind::Plain => 0.0,
        Kind::Ancestral => (to * to * (from * from - to * to) / (from * from)).max(0.0).sqrt(),
    };
    let down = (to * to - up * up).max(0.0).sqrt();
    // x' = x + (x − clean) · change, and the clean sample is again made of x and the output.
    let change = (down - from) / from;
    let clean = clean(config.prediction, from);
    Step {
        input: 1.0 / libm::hypot(from, 1.0),
        clean,
        next: LinearCombination {
            sample: 1.0 + change * (1.0 - clean.sample),
            output: -change * clean.output,
        },
        from_noise: up,
        ..Step::default()
    }
}

/// The clean sample at this level of noise.
fn clean(prediction: Prediction, sigma: f64) -> LinearCombination {
    match prediction {
        Prediction::Epsilon => LinearCombination { sample: 1.0, output: -sigma },
        Prediction::Velocity => LinearCombination {
            sample: 1.0 / (sigma * sigma + 1.0),
            output: -sigma / libm::hypot(sigma, 1.0),
        },
        Prediction::Sample => LinearCombination { sample: 0.0, output: 1.0 },
    }
}
