//! DPM-Solver++ (Lu et al. 2022): multistep, of order 1 or 2, midpoint.

use super::Prediction;
use super::config::{Betas, Config, FinalSigma, Spacing};
use super::sampler::{LinearCombination, Sampler, Step};
use super::spacing::{karras, leading, linspace, logarithms, sigma_at, timestep_of, trailing};
use super::training::Training;
use crate::ModelError;

/// Below so many steps, `lower_order_final` has the last one be of the first order.
const LOWER_ORDER_FINAL_STEPS: usize = 15;

pub(super) fn plan(config: &Config, training: &Training, steps: usize) -> Result<Sampler, ModelError> {
    let trained = training.sigmas();
    // λ = ln(α/σ) = −ln of the ratio of noise to sample, and falls with the timestep.
    let last = trained.iter().filter(|sigma| -f64::from(**sigma).ln() >= config.lambda_min_clipped).count();
    if steps == 0 || steps >= last {
        return Err(ModelError::invalid_step_count(&config.file, steps, last.saturating_sub(1)));
    }
    let mut timesteps: Vec<f64> = match config.spacing {
        Spacing::Linspace => linspace(0.0, (last - 1) as f64, steps + 1)[1..]
            .iter()
            .rev()
            .map(|timestep| timestep.round_ties_even())
            .collect(),
        Spacing::Leading => leading(config, last, steps + 1, steps),
        Spacing::Trailing => trailing(config, last, steps),
    };
    let mut sigmas: Vec<f64> = timesteps.iter().map(|timestep| sigma_at(&trained, *timestep)).collect();
    if config.karras {
        let logs = logarithms(&trained);
        sigmas = karras(f64::from(trained[trained.len() - 1]), f64::from(trained[0]), steps);
        timesteps = sigmas.iter().map(|sigma| timestep_of(*sigma, &logs)).collect();
        if config.betas != Betas::SquaredCos {
            timesteps.iter_mut().for_each(|timestep| *timestep = timestep.round_ties_even());
        }
        timesteps.iter_mut().for_each(|timestep| *timestep = timestep.trunc());
    }
    sigmas.push(match config.final_sigma {
        FinalSigma::Zero => 0.0,
        FinalSigma::Lowest => f64::from(trained[0]),
    });
    let sigmas: Vec<f64> = sigmas.into_iter().map(|sigma| f64::from(sigma as f32)).collect();
    let count = timesteps.len();
    let steps = (0..count)
        .map(|i| {
            let is_last = i + 1 == count;
            let ends_low = config.euler_at_final
                || (config.lower_order_final && count < LOWER_ORDER_FINAL_STEPS)
                || config.final_sigma == FinalSigma::Zero;
            let previous = (config.order == 2 && i > 0 && !(is_last && ends_low)).then(|| sigmas[i - 1]);
            step(config.prediction, previous, sigmas[i], sigmas[i + 1])
        })
        .collect();
    Ok(Sampler { steps, timesteps, sigmas, init_noise_sigma: 1.0, clip: None, previous_clean: None })
}

/// The step from one level of noise to another, in samples `α·x + σ·ε`; of the second order if the level before is given.
fn step(prediction: Prediction, previous: Option<f64>, from: f64, to: f64) -> Step {
    let (alpha_from, sigma_from) = alpha_sigma(from);
    let (alpha_to, sigma_to) = alpha_sigma(to);
    let clean = match prediction {
        Prediction::Epsilon => {
            LinearCombination { sample: 1.0 / alpha_from, output: -sigma_from / alpha_from }
        }
        Prediction::Velocity => LinearCombination { sample: alpha_from, output: -sigma_from },
        Prediction::Sample => LinearCombination { sample: 0.0, output: 1.0 },
    };
    // λ = −ln(σ/α), so e^(−h) is a ratio, and 0 at the end.
    let shrink = to / from;
    let towards = alpha_to * (1.0 - shrink);
    // h is infinite at the end, where nothing of the second order is left.
    let correction = previous.map_or(0.0, |previous| 0.5 * (from / to).ln() / (previous / from).ln());
    let correction = if correction.is_finite() { correction } else { 0.0 };
    Step {
        input: 1.0,
        clean,
        next: LinearCombination { sample: sigma_to / sigma_from, output: 0.0 },
        from_clean: towards * (1.0 + correction),
        from_previous: -towards * correction,
        from_noise: 0.0,
    }
}

/// `α` and `σ` with `α² + σ² = 1` of the ratio of noise to sample.
fn alpha_sigma(ratio: f64) -> (f64, f64) {
    let alpha = 1.0 / libm::hypot(ratio, 1.0);
    (alpha, ratio * alpha)
}
