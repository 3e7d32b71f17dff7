//! The levels of noise that the samplers go through, and the timestep of each.

use super::config::{Betas, Config, FinalSigma, Method, SigmaSpacing, Spacing};
use super::spacing::{
    exponential, karras, leading, linspace, logarithms, sigma_at, timestep_of, timesteps, trailing,
};
use super::training::Training;
use crate::ModelError;

/// Levels of noise from the highest to the lowest.
pub(super) struct NoiseLevels {
    /// One per step.
    pub(super) timesteps: Vec<f64>,
    /// The ratio of noise to sample before each step, and after the last.
    pub(super) sigmas: Vec<f64>,
}

impl NoiseLevels {
    /// What standard normal noise is multiplied with to become a first sample `x + σ·ε`.
    pub(super) fn init_noise_sigma(&self, spacing: Spacing) -> f64 {
        let max_sigma = self.sigmas.iter().copied().fold(0.0, f64::max);
        match spacing {
            Spacing::Leading => libm::hypot(max_sigma, 1.0),
            Spacing::Trailing | Spacing::Linspace => max_sigma,
        }
    }

    /// Those of Euler's and Heun's method and of the linear multistep method.
    ///
    /// # Errors
    /// [`ModelError::InvalidStepCount`].
    pub(super) fn of_derivatives(
        config: &Config,
        training: &Training,
        steps: usize,
    ) -> Result<Self, ModelError> {
        let total = config.train_timesteps;
        if steps == 0 || steps > total {
            return Err(ModelError::invalid_step_count(&config.file, steps, total));
        }
        let trained = training.sigmas();
        // The reference hands timesteps to the model, and looks levels up, in `f32`.
        let mut timesteps: Vec<f64> =
            timesteps(config, steps).into_iter().map(|t| f64::from(t as f32)).collect();
        let mut sigmas: Vec<f64> = timesteps.iter().map(|timestep| sigma_at(&trained, *timestep)).collect();
        let (lowest, highest) = config.sigma_range;
        let (highest, lowest) = (highest.unwrap_or(sigmas[0]), lowest.unwrap_or(sigmas[sigmas.len() - 1]));
        let respaced = match config.sigma_spacing {
            SigmaSpacing::Trained => None,
            SigmaSpacing::Karras => Some(karras(highest, lowest, steps)),
            SigmaSpacing::Exponential => Some(exponential(highest, lowest, steps)),
        };
        if let Some(respaced) = respaced {
            let logs = logarithms(&trained);
            timesteps = respaced.iter().map(|sigma| f64::from(timestep_of(*sigma, &logs) as f32)).collect();
            sigmas = respaced;
        }
        sigmas.push(match config.final_sigma {
            FinalSigma::Zero => 0.0,
            FinalSigma::Lowest => f64::from(trained[0]),
        });
        Ok(Self { timesteps, sigmas: rounded(sigmas) })
    }

    /// Those of DPM-Solver++ and UniPC.
    ///
    /// # Errors
    /// [`ModelError::InvalidStepCount`].
    pub(super) fn of_solvers(config: &Config, training: &Training, steps: usize) -> Result<Self, ModelError> {
        let trained = training.sigmas();
        // λ = ln(α/σ) = −ln of the ratio of noise to sample, and falls with the timestep.
        let last =
            trained.iter().filter(|sigma| -f64::from(**sigma).ln() >= config.lambda_min_clipped).count();
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
        let (lowest, highest) = (f64::from(trained[0]), f64::from(trained[trained.len() - 1]));
        let mut final_sigma = lowest;
        let respaced = match config.sigma_spacing {
            SigmaSpacing::Trained => None,
            SigmaSpacing::Karras => Some(karras(highest, lowest, steps)),
            SigmaSpacing::Exponential => Some(exponential(highest, lowest, steps)),
        };
        if let Some(respaced) = respaced {
            let logs = logarithms(&trained);
            let is_unipc = config.method == Method::UniPc;
            let is_rounded = config.sigma_spacing == SigmaSpacing::Karras
                && (is_unipc || config.betas != Betas::SquaredCos);
            timesteps = respaced
                .iter()
                .map(|sigma| timestep_of(*sigma, &logs))
                .map(|timestep| if is_rounded { timestep.round_ties_even() } else { timestep.trunc() })
                .collect();
            if is_unipc {
                final_sigma = respaced[respaced.len() - 1];
            }
            sigmas = respaced;
        }
        sigmas.push(match config.final_sigma {
            FinalSigma::Zero => 0.0,
            FinalSigma::Lowest => final_sigma,
        });
        Ok(Self { timesteps, sigmas: rounded(sigmas) })
    }
}

/// In the precision of the reference.
fn rounded(sigmas: Vec<f64>) -> Vec<f64> {
    sigmas.into_iter().map(|sigma| f64::from(sigma as f32)).collect()
}
