//! The options in a scheduler's configuration: read one by one, so that none is passed over.

use std::path::PathBuf;
use std::{fmt, iter};

use serde_json::{Value, json};

use super::Prediction;
use crate::index::ModelIndex;
use crate::options::Options;
use crate::{ModelError, ModelFiles};

/// Which formula runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Ddim,
    Euler,
    EulerAncestral,
    DpmSolver,
}

/// How the steps are spread over the timesteps of training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spacing {
    Leading,
    Trailing,
    Linspace,
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

/// A scheduler's options, checked. Those that a method does not have are at a value that changes nothing.
#[derive(Clone, Debug)]
pub(super) struct Config {
    /// The file's whole path, for messages.
    pub(super) file: PathBuf,
    pub(super) method: Method,
    pub(super) train_timesteps: usize,
    pub(super) betas: Betas,
    pub(super) rescale_zero_snr: bool,
    pub(super) prediction: Prediction,
    pub(super) spacing: Spacing,
    pub(super) steps_offset: usize,
    /// DDIM: predicted samples are cut off at ± this.
    pub(super) clip: Option<f64>,
    /// DDIM: whether the last step ends without any noise.
    pub(super) set_alpha_to_one: bool,
    pub(super) karras: bool,
    /// Karras' lowest and highest level, if not those of the schedule.
    pub(super) sigma_range: (Option<f64>, Option<f64>),
    pub(super) final_sigma: FinalSigma,
    /// DPM-Solver++: 1 or 2.
    pub(super) order: usize,
    pub(super) lower_order_final: bool,
    pub(super) euler_at_final: bool,
    /// DPM-Solver++: log signal-to-noise ratios below this are left out.
    pub(super) lambda_min_clipped: f64,
}

impl Config {
    pub(super) fn load(files: &ModelFiles, name: &str) -> Result<Self, ModelError> {
        let mut options = Options::load(files, name)?;
        let class = ModelIndex::class_of(files, "scheduler", &options)?;
        let method = match class.name() {
            Some("DDIMScheduler") => Method::Ddim,
            Some("EulerDiscreteScheduler") => Method::Euler,
            Some("EulerAncestralDiscreteScheduler") => Method::EulerAncestral,
            Some("DPMSolverMultistepScheduler" | "PNDMScheduler") => Method::DpmSolver,
            _ => {
                let supported = "DDIMScheduler, EulerDiscreteScheduler, EulerAncestralDiscreteScheduler, \
                                 DPMSolverMultistepScheduler, PNDMScheduler";
                return Err(class.unsupported(supported));
            }
        };
        let config = Self::read(&mut options, method, class.name() == Some("PNDMScheduler"))?;
        options.ignore(&OPTIONS);
        options.finish()?;
        Ok(config)
    }

    fn read(options: &mut Options, method: Method, pndm: bool) -> Result<Self, ModelError> {
        let ddim = method == Method::Ddim;
        let solver = method == Method::DpmSolver && !pndm;
        let config = Self {
            file: options.file().to_owned(),
            method,
            train_timesteps: options.size("num_train_timesteps", 1000, 2..=1_000_000)?,
            betas: betas(options)?,
            rescale_zero_snr: options.flag("rescale_betas_zero_snr")?,
            prediction: prediction(options, method)?,
            spacing: spacing(options, if ddim { "leading" } else { "linspace" })?,
            steps_offset: options.take("steps_offset", 0)?,
            clip: if ddim { clip(options)? } else { None },
            set_alpha_to_one: !ddim || options.flag_on_by_default("set_alpha_to_one")?,
            karras: (method == Method::Euler || solver) && options.flag("use_karras_sigmas")?,
            sigma_range: match method {
                Method::Euler => (options.optional("sigma_min")?, options.optional("sigma_max")?),
                _ => (None, None),
            },
            final_sigma: if method == Method::Euler || solver {
                final_sigma(options)?
            } else {
                FinalSigma::Zero
            },
            order: if solver { options.size("solver_order", 2, 1..=2)? } else { 2 },
            lower_order_final: !solver || options.flag_on_by_default("lower_order_final")?,
            euler_at_final: solver && options.flag("euler_at_final")?,
            lambda_min_clipped: if solver { options.take("lambda_min_clipped", f64::MIN)? } else { f64::MIN },
        };
        if config.steps_offset >= config.train_timesteps {
            return Err(options.unsupported("steps_offset", "numbers below `num_train_timesteps`"));
        }
        for (name, sigma) in [("sigma_min", config.sigma_range.0), ("sigma_max", config.sigma_range.1)] {
            if sigma.is_some_and(|sigma| !(1e-6..=1e6).contains(&sigma)) {
                return Err(options.unsupported(name, "numbers from 0.000001 to 1000000"));
            }
        }
        refuse(options, method, pndm)?;
        // Where nothing but noise is left, the noise says nothing about the sample, and DDIM would divide by zero.
        if ddim && config.rescale_zero_snr && config.prediction == Prediction::Epsilon {
            return Err(options.unsupported("rescale_betas_zero_snr", "false with `prediction_type` epsilon"));
        }
        Ok(config)
    }
}

fn betas(options: &mut Options) -> Result<Betas, ModelError> {
    let (start, end) = (options.take("beta_start", 0.0001)?, options.take("beta_end", 0.02)?);
    let schedule: String = options.take("beta_schedule", "linear".to_owned())?;
    let explicit: Option<Vec<f32>> = options.optional("trained_betas")?;
    if let Some(explicit) = explicit {
        return Ok(Betas::Explicit(explicit));
    }
    match schedule.as_str() {
        "linear" => Ok(Betas::Linear { start, end }),
        "scaled_linear" => Ok(Betas::ScaledLinear { start, end }),
        "squaredcos_cap_v2" => Ok(Betas::SquaredCos),
        _ => Err(options.unsupported("beta_schedule", "linear, scaled_linear, squaredcos_cap_v2")),
    }
}

fn prediction(options: &mut Options, method: Method) -> Result<Prediction, ModelError> {
    let name: String = options.take("prediction_type", "epsilon".to_owned())?;
    match name.as_str() {
        "epsilon" => Ok(Prediction::Epsilon),
        "v_prediction" => Ok(Prediction::Velocity),
        "sample" if method != Method::EulerAncestral => Ok(Prediction::Sample),
        _ if method == Method::EulerAncestral => {
            Err(options.unsupported("prediction_type", "epsilon, v_prediction"))
        }
        _ => Err(options.unsupported("prediction_type", "epsilon, v_prediction, sample")),
    }
}

fn spacing(options: &mut Options, default: &str) -> Result<Spacing, ModelError> {
    let name: String = options.take("timestep_spacing", default.to_owned())?;
    match name.as_str() {
        "leading" => Ok(Spacing::Leading),
        "trailing" => Ok(Spacing::Trailing),
        "linspace" => Ok(Spacing::Linspace),
        _ => Err(options.unsupported("timestep_spacing", "leading, trailing, linspace")),
    }
}

fn clip(options: &mut Options) -> Result<Option<f64>, ModelError> {
    let (clip, range): (bool, f64) =
        (options.flag_on_by_default("clip_sample")?, options.take("clip_sample_range", 1.0)?);
    if clip && range <= 0.0 {
        return Err(options.unsupported("clip_sample_range", "numbers above 0"));
    }
    Ok(clip.then_some(range))
}

fn final_sigma(options: &mut Options) -> Result<FinalSigma, ModelError> {
    let name: String = options.take("final_sigmas_type", "zero".to_owned())?;
    match name.as_str() {
        "zero" => Ok(FinalSigma::Zero),
        "sigma_min" => Ok(FinalSigma::Lowest),
        _ => Err(options.unsupported("final_sigmas_type", "zero, sigma_min")),
    }
}

/// Refuses the options of this method that would change the result and are not supported.
fn refuse(options: &mut Options, method: Method, pndm: bool) -> Result<(), ModelError> {
    let switches: &[&str] = match method {
        Method::Ddim => &["thresholding"],
        Method::Euler => &["use_exponential_sigmas", "use_beta_sigmas"],
        Method::EulerAncestral => &[],
        Method::DpmSolver if pndm => &[],
        Method::DpmSolver => &[
            "thresholding",
            "use_exponential_sigmas",
            "use_beta_sigmas",
            "use_lu_lambdas",
            "use_flow_sigmas",
            "use_dynamic_shifting",
        ],
    };
    for name in switches {
        options.require(name, &[json!(false)])?;
    }
    let words: &[(&str, &str)] = match method {
        Method::Euler => &[("interpolation_type", "linear"), ("timestep_type", "discrete")],
        Method::DpmSolver if !pndm => &[("algorithm_type", "dpmsolver++"), ("solver_type", "midpoint")],
        _ => &[],
    };
    for (name, only) in words {
        options.require(name, &[json!(only)])?;
    }
    if method == Method::DpmSolver {
        // The others make the network predict variances as well.
        let fixed = ["fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log"];
        let supported: Vec<Value> = iter::once(Value::Null).chain(fixed.map(Value::from)).collect();
        options.require("variance_type", &supported)?;
    }
    Ok(())
}

/// The options of all schedulers here. Configurations are handed from one scheduler to another and keep what the
/// former one had, so an option that the class at hand does not have counts for nothing, as in the reference.
pub(super) const OPTIONS: [&str; 50] = [
    "algorithm_type",
    "beta_end",
    "beta_schedule",
    "beta_start",
    "clip_sample",
    "clip_sample_range",
    "dynamic_thresholding_ratio",
    "euler_at_final",
    "final_sigmas_type",
    "flow_shift",
    "interpolation_type",
    "lambda_min_clipped",
    "lower_order_final",
    "num_train_timesteps",
    "prediction_type",
    "rescale_betas_zero_snr",
    "sample_max_value",
    "set_alpha_to_one",
    "sigma_max",
    "sigma_min",
    "skip_prk_steps",
    "solver_order",
    "solver_type",
    "steps_offset",
    "thresholding",
    "time_shift_type",
    "timestep_spacing",
    "timestep_type",
    "trained_betas",
    "use_beta_sigmas",
    "use_dynamic_shifting",
    "use_exponential_sigmas",
    "use_flow_sigmas",
    "use_karras_sigmas",
    "use_lu_lambdas",
    "variance_type",
    // Of other schedulers that configurations are handed on from.
    "disable_corrector",
    "noise_sampler_seed",
    "num_inference_steps",
    "original_inference_steps",
    "predict_x0",
    "rescale_factor",
    "rho",
    "shift_terminal",
    "sigma_data",
    "sigma_schedule",
    "solver_p",
    "timestep_scaling",
    "timestep_values",
    "use_exponential_decay",
];
