//! The levels of noise that a model was trained on.

use super::config::{Betas, Config};
use crate::ModelError;

/// How much of the sample is left at each timestep of training, `ᾱ`.
///
/// In `f32`, with every rounding where the reference has it: models were trained on these numbers, and at the noisy end the
/// exact ones differ visibly.
#[derive(Debug)]
pub(super) struct Training {
    pub(super) alphas: Vec<f32>,
}

impl Training {
    pub(super) fn new(config: &Config) -> Result<Self, ModelError> {
        let count = config.train_timesteps;
        let mut betas: Vec<f32> = match &config.betas {
            Betas::Linear { start, end } => linspace(*start as f32, *end as f32, count),
            Betas::ScaledLinear { start, end } => {
                linspace(start.sqrt() as f32, end.sqrt() as f32, count).into_iter().map(|b| b * b).collect()
            }
            Betas::SquaredCos => squared_cos(count),
            Betas::Explicit(betas) => betas.clone(),
        };
        if betas.len() != count || betas.iter().any(|beta| !(0.0..1.0).contains(beta)) {
            let given = config.betas.to_string();
            let supported = format!("{count} betas from 0 to below 1");
            return Err(ModelError::unsupported(
                &config.file,
                "beta_start, beta_end, trained_betas",
                given,
                supported,
            ));
        }
        if config.rescale_zero_snr {
            betas = rescale(&betas);
        }
        let alphas = products(&betas);
        // Some noise from the start, and never more sample than there was.
        if alphas.iter().any(|alpha| !(0.0..1.0).contains(alpha)) {
            let given = config.betas.to_string();
            return Err(ModelError::unsupported(
                &config.file,
                "beta_start, beta_end, trained_betas",
                given,
                "betas above 0",
            ));
        }
        Ok(Self { alphas })
    }

    /// `ᾱ` at a whole timestep; `None` beyond the last.
    pub(super) fn alpha_bar(&self, timestep: f64) -> Option<f64> {
        self.alphas.get(timestep as usize).map(|alpha| f64::from(*alpha))
    }

    /// The ratio of noise to sample at each timestep, `√((1 − ᾱ) / ᾱ)`. A model that was trained down to no sample at all is taken to see
    /// the least bit of it, or the ratio would be infinite.
    pub(super) fn sigmas(&self) -> Vec<f32> {
        const LEAST: f32 = 1.0 / (1u32 << 24) as f32;
        self.alphas
            .iter()
            .map(|alpha| if *alpha == 0.0 { LEAST } else { *alpha })
            .map(|a| ((1.0 - a) / a).sqrt())
            .collect()
    }
}

/// `count` numbers from `start` to `end`, rounded as PyTorch does it: from both ends to the middle, and once for both operations.
fn linspace(start: f32, end: f32, count: usize) -> Vec<f32> {
    let step = (end - start) / (count - 1) as f32;
    (0..count)
        .map(|i| {
            if i < count / 2 {
                step.mul_add(i as f32, start)
            } else {
                (-step).mul_add((count - i - 1) as f32, end)
            }
        })
        .collect()
}

/// Betas of which `ᾱ` follows a squared cosine.
fn squared_cos(count: usize) -> Vec<f32> {
    let alpha = |t: f64| ((t + 0.008) / 1.008 * std::f64::consts::PI / 2.0).cos().powi(2);
    let count = count as f64;
    (0..count as usize)
        .map(|i| (1.0 - alpha((i + 1) as f64 / count) / alpha(i as f64 / count)).min(0.999) as f32)
        .collect()
}

/// The running product of `1 − β`, kept in `f64` and rounded for each element.
fn products(betas: &[f32]) -> Vec<f32> {
    betas
        .iter()
        .scan(1.0f64, |product, beta| {
            *product *= f64::from(1.0 - beta);
            Some(*product as f32)
        })
        .collect()
}

/// Betas after which nothing is left of the sample ("Common Diffusion Noise Schedules and Sample Steps are Flawed", algorithm 1).
fn rescale(betas: &[f32]) -> Vec<f32> {
    let mut roots: Vec<f32> = products(betas).into_iter().map(f32::sqrt).collect();
    let (first, last) = (roots[0], roots[roots.len() - 1]);
    for root in &mut roots {
        *root -= last;
        *root *= first / (first - last);
    }
    let alphas: Vec<f32> = roots.into_iter().map(|root| root * root).collect();
    let mut before = 1.0;
    alphas
        .into_iter()
        .map(|alpha| {
            let beta = 1.0 - alpha / before;
            before = alpha;
            beta
        })
        .collect()
}
