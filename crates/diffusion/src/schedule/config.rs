//! A scheduler's configuration, checked.

use std::fmt;
use std::path::PathBuf;

use super::class::SchedulerClass;
use super::{Prediction, Substitution};

/// Which formula runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Ddim,
    Ddpm,
    Lcm,
    Euler,
    EulerAncestral,
    Heun,
    Lms,
    DpmSolver,
    /// DPM-Solver++ for the stochastic differential equation.
    DpmSolverSde,
    UniPc,
}

/// How the steps are spread over the timesteps of training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spacing {
    Leading,
    Trailing,
    Linspace,
}

/// How the steps are spread over the levels of noise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SigmaSpacing {
    /// The level that training had at each timestep.
    Trained,
    Karras,
    Exponential,
}

/// How the betas of training grow.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Betas {
    Linear { start: f64, end: f64 },
    ScaledLinear { start: f64, end: f64 },
    SquaredCos,
    Explicit(Vec<f32>),
}

impl fmt::Display for Betas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Linear { start, end } | Self::ScaledLinear { start, end } => write!(f, "{start} to {end}"),
            Self::SquaredCos => f.write_str("squaredcos_cap_v2"),
            Self::Explicit(betas) => write!(f, "a list of {}", betas.len()),
        }
    }
}

/// What is at the end of the levels of noise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FinalSigma {
    Zero,
    /// The lowest level of training.
    Lowest,
}

/// The variance of the noise that a step of DDPM adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Variance {
    /// That of the posterior distribution.
    FixedSmall,
    /// The step's beta.
    FixedLarge,
}

/// The function `B(h)` of UniPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SolverType {
    /// `h`.
    Bh1,
    /// `e^h − 1`.
    Bh2,
}

/// The estimate that UniPC interpolates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SolverVariable {
    Clean,
    Noise,
}

/// The options that only LCM has.
#[derive(Clone, Debug)]
pub(super) struct LcmOptions {
    /// The steps that the model was distilled on.
    pub(super) original_steps: usize,
    pub(super) timestep_scaling: f64,
}

/// The options that only UniPC has.
#[derive(Clone, Debug)]
pub(super) struct UniPcOptions {
    pub(super) solver_type: SolverType,
    pub(super) variable: SolverVariable,
    /// Steps whose sample is not corrected.
    pub(super) disabled_corrector: Vec<usize>,
}

/// A scheduler's options, checked. Those that a method does not have are at a value that changes nothing.
#[derive(Clone, Debug)]
pub(super) struct Config {
    /// The file's whole path, for messages.
    pub(super) file: PathBuf,
    /// The class that the file names.
    pub(super) class: &'static SchedulerClass,
    pub(super) method: Method,
    pub(super) train_timesteps: usize,
    pub(super) betas: Betas,
    pub(super) rescale_zero_snr: bool,
    pub(super) prediction: Prediction,
    pub(super) spacing: Spacing,
    pub(super) steps_offset: usize,
    /// DDIM, DDPM, LCM and Heun: predicted samples are cut off at ± this.
    pub(super) clip: Option<f64>,
    /// DDIM: whether the last step ends without any noise.
    pub(super) set_alpha_to_one: bool,
    pub(super) variance: Variance,
    pub(super) sigma_spacing: SigmaSpacing,
    /// Lowest and highest level of [`SigmaSpacing`], if not those of the schedule.
    pub(super) sigma_range: (Option<f64>, Option<f64>),
    pub(super) final_sigma: FinalSigma,
    /// DPM-Solver++: 1 or 2; UniPC: 1 to 3.
    pub(super) order: usize,
    pub(super) lower_order_final: bool,
    pub(super) euler_at_final: bool,
    /// DPM-Solver++: log signal-to-noise ratios below this are left out.
    pub(super) lambda_min_clipped: f64,
    pub(super) lcm: LcmOptions,
    pub(super) unipc: UniPcOptions,
}

impl Config {
    /// The class that the file names, if another one runs in its place.
    pub(super) fn substitution(&self) -> Option<Substitution> {
        self.class.substitution()
    }
}
