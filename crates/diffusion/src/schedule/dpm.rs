//! DPM-Solver++ (Lu et al. 2022): multistep, of order 1 or 2, midpoint; for the probability flow, or for the stochastic
//! differential equation with fresh noise in every step.

use super::config::{Config, FinalSigma, Method};
use super::level::{Level, Scale};
use super::noise_levels::NoiseLevels;
use super::sampler::{Evaluation, Part, Plan, Weights};
use super::training::Training;
use crate::ModelError;

/// Below so many steps, `lower_order_final` has the last one be of the first order.
const LOWER_ORDER_FINAL_STEPS: usize = 15;

pub(super) fn plan(config: &Config, training: &Training, steps: usize) -> Result<Plan, ModelError> {
    let NoiseLevels { timesteps, sigmas } = NoiseLevels::of_solvers(config, training, steps)?;
    let count = timesteps.len();
    let evaluations = (0..count)
        .map(|i| {
            let is_last = i + 1 == count;
            let ends_low = config.euler_at_final
                || (config.lower_order_final && count < LOWER_ORDER_FINAL_STEPS)
                || config.final_sigma == FinalSigma::Zero;
            let previous = (config.order == 2 && i > 0 && !(is_last && ends_low)).then(|| sigmas[i - 1]);
            evaluation(config, previous, sigmas[i], sigmas[i + 1])
        })
        .collect();
    Ok(Plan { evaluations, timesteps, sigmas, init_noise_sigma: 1.0, clip: None })
}

/// The step from one level of noise to another, in samples `α·x + σ·ε`; of the second order if the level before is given.
fn evaluation(config: &Config, previous: Option<f64>, from: f64, to: f64) -> Evaluation {
    let (level, end) = (Level::of_ratio(from), Level::of_ratio(to));
    // λ = −ln(σ/α), so e^(−h) is a ratio, and 0 at the end.
    let shrink = to / from;
    let (sample, towards, fresh_noise) = match config.method {
        Method::DpmSolverSde => {
            let rest = 1.0 - shrink * shrink;
            (end.sigma / level.sigma * shrink, end.alpha * rest, end.sigma * rest.max(0.0).sqrt())
        }
        _ => (end.sigma / level.sigma, end.alpha * (1.0 - shrink), 0.0),
    };
    let mut next = vec![Weights { sample, clean: towards, ..Weights::default() }];
    // h is infinite at the end, where nothing of the second order is left.
    let correction = previous.map_or(0.0, |previous| 0.5 * (from / to).ln() / (previous / from).ln());
    if correction.is_finite() && correction != 0.0 {
        next[0].clean += towards * correction;
        next.push(Weights { clean: -towards * correction, ..Weights::default() });
    }
    Evaluation {
        input: 1.0,
        clean: level.clean(config.prediction, Scale::Preserving),
        correction: Vec::new(),
        next,
        fresh_noise,
        part: Part::Last,
    }
}
