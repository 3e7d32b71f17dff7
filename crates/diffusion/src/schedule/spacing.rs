//! Which timesteps of training the steps go through, and the level of noise at each.

use super::config::{Config, Spacing};

/// `count` numbers from `start` to `stop`, both included.
pub(super) fn linspace(start: f64, stop: f64, count: usize) -> Vec<f64> {
    let step = if count > 1 { (stop - start) / (count - 1) as f64 } else { 0.0 };
    (0..count).map(|i| if i > 0 && i == count - 1 { stop } else { i as f64 * step + start }).collect()
}

/// Timesteps at equal whole distances from 0 plus the configured offset, the noisiest first; `count` of them at the
/// distance that `parts` parts have.
pub(super) fn leading(config: &Config, last: usize, parts: usize, count: usize) -> Vec<f64> {
    let distance = last / parts;
    let skipped = parts - count;
    (0..count).rev().map(|i| ((i + skipped) * distance + config.steps_offset) as f64).collect()
}

/// Timesteps at equal distances back from `last`, rounded to whole ones. For some numbers of steps the last division
/// leaves a crumb, which the reference takes for one more step below the first timestep; here it is not one.
pub(super) fn trailing(config: &Config, last: usize, count: usize) -> Vec<f64> {
    let distance = config.train_timesteps as f64 / count as f64;
    let count = (last as f64 / distance).ceil() as usize;
    (0..count)
        .map(|i| (last as f64 - i as f64 * distance).round_ties_even() - 1.0)
        .filter(|timestep| *timestep >= 0.0)
        .collect()
}

/// The timesteps of DDIM's and Euler's steps, the noisiest first; not rounded for [`Spacing::Linspace`].
pub(super) fn timesteps(config: &Config, steps: usize) -> Vec<f64> {
    let total = config.train_timesteps;
    match config.spacing {
        Spacing::Leading => leading(config, total, steps, steps),
        Spacing::Trailing => trailing(config, total, steps),
        Spacing::Linspace => linspace(0.0, (total - 1) as f64, steps).into_iter().rev().collect(),
    }
}

/// The level of noise at a timestep, between those of training by linear interpolation.
pub(super) fn sigma_at(sigmas: &[f32], timestep: f64) -> f64 {
    let last = sigmas.len() - 1;
    if timestep >= last as f64 {
        return f64::from(sigmas[last]);
    }
    let below = timestep.max(0.0) as usize;
    let (low, high) = (f64::from(sigmas[below]), f64::from(sigmas[below + 1]));
    (high - low) * (timestep.max(0.0) - below as f64) + low
}

/// The timestep at which training had this level of noise, by interpolation of its logarithm.
pub(super) fn timestep_of(sigma: f64, log_sigmas: &[f32]) -> f64 {
    let log = sigma.max(1e-10).ln();
    let above = log_sigmas.partition_point(|other| f64::from(*other) <= log);
    let low = above.saturating_sub(1).min(log_sigmas.len() - 2);
    let (from, to) = (log_sigmas[low], log_sigmas[low + 1]);
    let share = ((f64::from(from) - log) / f64::from(from - to)).clamp(0.0, 1.0);
    (1.0 - share) * low as f64 + share * (low + 1) as f64
}

/// The natural logarithms of levels of noise.
pub(super) fn logarithms(sigmas: &[f32]) -> Vec<f32> {
    sigmas.iter().map(|sigma| f64::from(*sigma).ln() as f32).collect()
}

/// Karras' levels of noise ("Elucidating the Design Space of Diffusion-Based Generative Models", equation 5, ρ = 7),
/// from the highest to the lowest.
pub(super) fn karras(highest: f64, lowest: f64, count: usize) -> Vec<f64> {
    const RHO: f64 = 7.0;
    let (from, to) = (highest.powf(1.0 / RHO), lowest.powf(1.0 / RHO));
    linspace(0.0, 1.0, count).into_iter().map(|share| (from + share * (to - from)).powf(RHO)).collect()
}

/// Levels of noise at equal distances of their logarithm, from the highest to the lowest.
pub(super) fn exponential(highest: f64, lowest: f64, count: usize) -> Vec<f64> {
    linspace(highest.ln(), lowest.ln(), count).into_iter().map(f64::exp).collect()
}
