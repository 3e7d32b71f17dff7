//! A level of noise, and what a model's output says about the sample and the noise at that level.

use super::Prediction;
use super::sampler::LinearCombination;

/// A level of noise: a sample is `α·x + σ·ε` with `α² + σ² = 1`, times a [`Scale`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Level {
    pub(super) alpha: f64,
    pub(super) sigma: f64,
}

/// The scale of samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// `α·x + σ·ε`, as the model was trained ("variance preserving").
    Preserving,
    /// `x + (σ/α)·ε` ("variance exploding").
    Exploding,
}

impl Level {
    /// The level with this ratio of noise to sample, `σ/α`.
    pub(super) fn of_ratio(ratio: f64) -> Self {
        let alpha = 1.0 / libm::hypot(ratio, 1.0);
        Self { alpha, sigma: ratio * alpha }
    }

    /// The level with this `ᾱ`, which is `α²`.
    pub(super) fn of_alpha_bar(alpha_bar: f64) -> Self {
        Self { alpha: alpha_bar.sqrt(), sigma: (1.0 - alpha_bar).sqrt() }
    }

    /// The estimate of the clean sample `x`.
    pub(super) fn clean(self, prediction: Prediction, scale: Scale) -> LinearCombination {
        let Self { alpha, sigma } = self;
        match (prediction, scale) {
            (Prediction::Epsilon, Scale::Preserving) => {
                LinearCombination { sample: 1.0 / alpha, output: -sigma / alpha }
            }
            (Prediction::Epsilon, Scale::Exploding) => {
                LinearCombination { sample: 1.0, output: -sigma / alpha }
            }
            (Prediction::Velocity, Scale::Preserving) => LinearCombination { sample: alpha, output: -sigma },
            (Prediction::Velocity, Scale::Exploding) => {
                LinearCombination { sample: alpha * alpha, output: -sigma }
            }
            (Prediction::Sample, _) => LinearCombination { sample: 0.0, output: 1.0 },
        }
    }

    /// The estimate of the noise `ε`.
    pub(super) fn noise(self, prediction: Prediction, scale: Scale) -> LinearCombination {
        let Self { alpha, sigma } = self;
        let shrink = match scale {
            Scale::Preserving => 1.0,
            Scale::Exploding => alpha,
        };
        match prediction {
            Prediction::Epsilon => LinearCombination { sample: 0.0, output: 1.0 },
            Prediction::Velocity => LinearCombination { sample: sigma * shrink, output: alpha },
            Prediction::Sample => LinearCombination { sample: shrink / sigma, output: -alpha / sigma },
        }
    }
}
