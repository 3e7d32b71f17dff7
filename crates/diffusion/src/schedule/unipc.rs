//! UniPC (Zhao et al. 2023): a multistep predictor, and a corrector that uses the next evaluation to improve the sample that
//! the predictor made, without further evaluations.
//!
//! Predictor and corrector are the same formula. With the estimates `m` of the last steps, of the clean sample or of the
//! noise, and `r` the distance of a step in units of `h` (both in the logarithm of the signal-to-noise ratio), the step adds
//! `Σ ρ·(m_k − m_0)/r_k` to the step of the first order; the corrector has one term more, the new estimate at `r = 1`.

use super::config::{Config, SolverType, SolverVariable};
use super::level::{Level, Scale};
use super::noise_levels::NoiseLevels;
use super::sampler::{Evaluation, Part, Plan, Weights};
use super::training::Training;
use crate::ModelError;

pub(super) fn plan(config: &Config, training: &Training, steps: usize) -> Result<Plan, ModelError> {
    let NoiseLevels { timesteps, sigmas } = NoiseLevels::of_solvers(config, training, steps)?;
    let count = timesteps.len();
    let order = |step: usize| {
        let order = if config.lower_order_final { config.order.min(count - step) } else { config.order };
        order.min(step + 1)
    };
    let solver = Solver { config, sigmas: &sigmas };
    let evaluations = (0..count)
        .map(|step| Evaluation {
            input: 1.0,
            clean: Level::of_ratio(sigmas[step]).clean(config.prediction, Scale::Preserving),
            correction: match step.checked_sub(1) {
                Some(before) if !config.unipc.disabled_corrector.contains(&before) => {
                    solver.update(before, order(before), Stage::Corrector)
                }
                _ => Vec::new(),
            },
            next: solver.update(step, order(step), Stage::Predictor),
            fresh_noise: 0.0,
            part: Part::Last,
        })
        .collect();
    Ok(Plan { evaluations, timesteps, sigmas, init_noise_sigma: 1.0, clip: None })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// From this step to the next level.
    Predictor,
    /// The same way again, from the next level's evaluation.
    Corrector,
}

struct Solver<'a> {
    config: &'a Config,
    sigmas: &'a [f64],
}

impl Solver<'_> {
    /// The way from the level of `step` to the next one.
    fn update(&self, step: usize, order: usize, stage: Stage) -> Vec<Weights> {
        let ratio = |step: usize| self.sigmas[step];
        let (from, to) = (ratio(step), ratio(step + 1));
        let (start, end) = (Level::of_ratio(from), Level::of_ratio(to));
        let h = (from / to).ln();
        let distances: Vec<f64> = (1..order).map(|age| (from / ratio(step - age)).ln() / h).collect();
        // The steps of the first order are written without e^h, which is infinite at the end and makes the reference's
        // noise prediction and `bh1` NaN there.
        let (corrected, first, unit, hh) = match self.config.unipc.variable {
            SolverVariable::Clean => (end.sigma / start.sigma, end.alpha * (1.0 - to / from), -end.alpha, -h),
            SolverVariable::Noise => (end.alpha / start.alpha, -end.alpha * (from - to), -end.sigma, h),
        };
        let shares = self.shares(&distances, hh, stage);
        let mut estimates = vec![first];
        for (share, distance) in shares.iter().zip(&distances) {
            let difference = unit * share / distance;
            estimates.push(difference);
            estimates[0] -= difference;
        }
        let mut ages: Vec<Weights> = Vec::new();
        let mut offset = 0;
        if let (Stage::Corrector, Some(share)) = (stage, shares.last()) {
            estimates[0] -= unit * share;
            ages.push(self.estimate(step + 1, unit * share));
            offset = 1;
        }
        ages.extend((0..).zip(&estimates).map(|(age, share)| self.estimate(step - age, *share)));
        ages[offset].corrected = corrected;
        ages
    }

    /// A share of the estimate of a step.
    fn estimate(&self, step: usize, share: f64) -> Weights {
        match self.config.unipc.variable {
            SolverVariable::Clean => Weights { clean: share, ..Weights::default() },
            SolverVariable::Noise => {
                let level = Level::of_ratio(self.sigmas[step]);
                Weights::of(level.noise(self.config.prediction, Scale::Preserving), share)
            }
        }
    }

    /// `B(h)·ρ` for each distance, and for the corrector's distance 1.
    fn shares(&self, distances: &[f64], hh: f64, stage: Stage) -> Vec<f64> {
        let scale = match self.config.unipc.solver_type {
            SolverType::Bh1 => hh,
            SolverType::Bh2 => hh.exp_m1(),
        };
        let mut points = distances.to_vec();
        if stage == Stage::Corrector {
            points.push(1.0);
        }
        match (points.len(), stage) {
            (0, _) => Vec::new(),
            // As in the reference, which takes 1/2 for one unknown, where the equation gives nearly the same.
            (1, _) => vec![0.5 * scale],
            (count, _) => {
                // h·φ_k(h)·k!, by the recurrence of the φ functions.
                let (mut phi, mut factorial) = (hh.exp_m1() / hh - 1.0, 1.0);
                let mut right = Vec::with_capacity(count);
                for k in 1..=count {
                    right.push(phi * factorial);
                    factorial *= (k + 1) as f64;
                    phi = phi / hh - 1.0 / factorial;
                }
                let rows = (0..count).map(|power| points.iter().map(|r| r.powi(power as i32)).collect());
                solve(rows.collect(), right)
            }
        }
    }
}

/// Solves a small system of linear equations by Gauss' elimination with pivots.
fn solve(mut rows: Vec<Vec<f64>>, mut right: Vec<f64>) -> Vec<f64> {
    let count = right.len();
    for column in 0..count {
        let pivot = (column..count)
            .max_by(|a, b| rows[*a][column].abs().total_cmp(&rows[*b][column].abs()))
            .unwrap_or(column);
        rows.swap(column, pivot);
        right.swap(column, pivot);
        let (known, known_right) = (rows[column].clone(), right[column]);
        for row in column + 1..count {
            let factor = rows[row][column] / known[column];
            rows[row].iter_mut().zip(&known).for_each(|(number, known)| *number -= factor * known);
            right[row] -= factor * known_right;
        }
    }
    for row in (0..count).rev() {
        let known: f64 = (row + 1..count).map(|k| rows[row][k] * right[k]).sum();
        right[row] = (right[row] - known) / rows[row][row];
    }
    right
}
