//! Reading a scheduler's configuration: option by option, so that none is passed over.

use std::iter;

use serde_json::{Value, json};

use super::Prediction;
use super::class::{self, SchedulerClass, Support};
use super::config::{
    Betas, Config, FinalSigma, LcmOptions, Method, SigmaSpacing, SolverType, SolverVariable, Spacing,
    UniPcOptions, Variance,
};
use crate::index::ModelIndex;
use crate::options::Options;
use crate::{ModelError, ModelFiles};

impl Config {
    /// Reads the file of this name.
    ///
    /// # Errors
    /// [`ModelError`] if it is missing or malformed, or an option or the class is not supported.
    pub(super) fn load(files: &ModelFiles, name: &str) -> Result<Self, ModelError> {
        let mut options = Options::load(files, name)?;
        let named = ModelIndex::class_of(files, "scheduler", &options)?;
        let class = SchedulerClass::find(named.name()).ok_or_else(|| class::unsupported(&named))?;
        let config = Self::read(&mut options, class)?;
        options.ignore(&OPTIONS);
        options.finish()?;
        Ok(config)
    }

    fn read(options: &mut Options, class: &'static SchedulerClass) -> Result<Self, ModelError> {
        let method = method(options, class)?;
        // PNDM has none of the solver's options, and its file may have what another scheduler left behind.
        let upgraded = class.support == Support::Upgraded;
        let dpm_solver = matches!(method, Method::DpmSolver | Method::DpmSolverSde) && !upgraded;
        let solver = dpm_solver || method == Method::UniPc;
        let final_sigma = match method {
            Method::Euler => final_sigma(options)?,
            _ if solver => final_sigma(options)?,
            _ => FinalSigma::Zero,
        };
        let config = Self {
            file: options.file().to_owned(),
            class,
            method,
            train_timesteps: options.size("num_train_timesteps", 1000, 2..=1_000_000)?,
            betas: betas(options, class)?,
            rescale_zero_snr: has_zero_snr(class, method) && options.flag("rescale_betas_zero_snr")?,
            prediction: prediction(options, method)?,
            spacing: spacing(options, method)?,
            steps_offset: options.take("steps_offset", 0)?,
            clip: clip(options, method)?,
            set_alpha_to_one: method != Method::Ddim || options.flag_on_by_default("set_alpha_to_one")?,
            variance: variance(options, method)?,
            sigma_spacing: match method {
                Method::Euler | Method::Heun | Method::Lms => sigma_spacing(options)?,
                _ if solver => sigma_spacing(options)?,
                _ => SigmaSpacing::Trained,
            },
            sigma_range: match method {
                Method::Euler => (options.optional("sigma_min")?, options.optional("sigma_max")?),
                _ => (None, None),
            },
            final_sigma,
            order: if solver { order(options, class, method)? } else { 2 },
            lower_order_final: !solver || options.flag_on_by_default("lower_order_final")?,
            euler_at_final: dpm_solver && options.flag("euler_at_final")?,
            lambda_min_clipped: if dpm_solver {
                options.take("lambda_min_clipped", f64::MIN)?
            } else {
                f64::MIN
            },
            lcm: lcm(options, method)?,
            unipc: unipc(options, method)?,
        };
        config.check(options)?;
        refuse(options, class, method)?;
        Ok(config)
    }

    /// Refuses values that do not go together.
    fn check(&self, options: &Options) -> Result<(), ModelError> {
        if self.steps_offset >= self.train_timesteps {
            return Err(options.unsupported("steps_offset", "numbers below `num_train_timesteps`"));
        }
        for (name, sigma) in [("sigma_min", self.sigma_range.0), ("sigma_max", self.sigma_range.1)] {
            if sigma.is_some_and(|sigma| !(1e-6..=1e6).contains(&sigma)) {
                return Err(options.unsupported(name, "numbers from 0.000001 to 1000000"));
            }
        }
        // Where nothing but noise is left, the noise says nothing about the sample: a division by zero.
        let divides = matches!(self.method, Method::Ddim | Method::Ddpm | Method::Lcm);
        if divides && self.rescale_zero_snr && self.prediction == Prediction::Epsilon {
            return Err(options.unsupported("rescale_betas_zero_snr", "false with `prediction_type` epsilon"));
        }
        if self.method == Method::Lcm && self.lcm.original_steps > self.train_timesteps {
            let supported = format!("1 to {}, the value of `num_train_timesteps`", self.train_timesteps);
            return Err(options.unsupported("original_inference_steps", &supported));
        }
        // The way to no noise is infinite in the logarithm, where the higher orders interpolate.
        let infinite = self.final_sigma == FinalSigma::Zero && !self.lower_order_final && self.order > 1;
        if self.method == Method::UniPc && infinite {
            return Err(options.unsupported("lower_order_final", "true with `final_sigmas_type` zero"));
        }
        Ok(())
    }
}

/// Which formula runs: that of the class, or by `algorithm_type` the stochastic one of DPM-Solver++.
fn method(options: &mut Options, class: &SchedulerClass) -> Result<Method, ModelError> {
    if class.method != Method::DpmSolver || class.support == Support::Upgraded {
        return Ok(class.method);
    }
    let algorithm: String = options.take("algorithm_type", "dpmsolver++".to_owned())?;
    match (algorithm.as_str(), class.support) {
        // The class itself takes `deis` for `dpmsolver++`.
        ("dpmsolver++" | "deis", _) => Ok(Method::DpmSolver),
        ("sde-dpmsolver++", _) => Ok(Method::DpmSolverSde),
        (_, Support::SubstitutedBy(_)) => Ok(Method::DpmSolver),
        _ => Err(options.unsupported("algorithm_type", "dpmsolver++, sde-dpmsolver++")),
    }
}

/// Whether the class has the option `rescale_betas_zero_snr`.
fn has_zero_snr(class: &SchedulerClass, method: Method) -> bool {
    match (class.support, method) {
        (_, Method::Heun | Method::Lms) => false,
        (Support::SubstitutedBy(_), method) => method == Method::Lcm,
        _ => true,
    }
}

fn betas(options: &mut Options, class: &SchedulerClass) -> Result<Betas, ModelError> {
    let (start, end) =
        (options.take("beta_start", class.betas.start)?, options.take("beta_end", class.betas.end)?);
    let schedule: String = options.take("beta_schedule", class.betas.schedule.to_owned())?;
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

fn spacing(options: &mut Options, method: Method) -> Result<Spacing, ModelError> {
    let default = match method {
        Method::Ddim | Method::Ddpm | Method::Lcm => "leading",
        _ => "linspace",
    };
    let name: String = options.take("timestep_spacing", default.to_owned())?;
    match name.as_str() {
        "leading" => Ok(Spacing::Leading),
        "trailing" => Ok(Spacing::Trailing),
        "linspace" => Ok(Spacing::Linspace),
        _ => Err(options.unsupported("timestep_spacing", "leading, trailing, linspace")),
    }
}

fn clip(options: &mut Options, method: Method) -> Result<Option<f64>, ModelError> {
    let clip = match method {
        Method::Ddim | Method::Ddpm => options.flag_on_by_default("clip_sample")?,
        Method::Lcm | Method::Heun => options.flag("clip_sample")?,
        _ => return Ok(None),
    };
    let range: f64 = options.take("clip_sample_range", 1.0)?;
    if clip && range <= 0.0 {
        return Err(options.unsupported("clip_sample_range", "numbers above 0"));
    }
    Ok(clip.then_some(range))
}

fn variance(options: &mut Options, method: Method) -> Result<Variance, ModelError> {
    if method != Method::Ddpm {
        return Ok(Variance::FixedSmall);
    }
    let name: String = options.take("variance_type", "fixed_small".to_owned())?;
    match name.as_str() {
        "fixed_small" | "fixed_small_log" => Ok(Variance::FixedSmall),
        "fixed_large" => Ok(Variance::FixedLarge),
        _ => Err(options.unsupported("variance_type", "fixed_small, fixed_small_log, fixed_large")),
    }
}

fn sigma_spacing(options: &mut Options) -> Result<SigmaSpacing, ModelError> {
    options.require("use_beta_sigmas", &[json!(false)])?;
    match (options.flag("use_karras_sigmas")?, options.flag("use_exponential_sigmas")?) {
        (false, false) => Ok(SigmaSpacing::Trained),
        (true, false) => Ok(SigmaSpacing::Karras),
        (false, true) => Ok(SigmaSpacing::Exponential),
        (true, true) => {
            Err(options.unsupported("use_exponential_sigmas", "false with `use_karras_sigmas` true"))
        }
    }
}

fn final_sigma(options: &mut Options) -> Result<FinalSigma, ModelError> {
    let name: String = options.take("final_sigmas_type", "zero".to_owned())?;
    match name.as_str() {
        "zero" => Ok(FinalSigma::Zero),
        "sigma_min" => Ok(FinalSigma::Lowest),
        _ => Err(options.unsupported("final_sigmas_type", "zero, sigma_min")),
    }
}

fn order(options: &mut Options, class: &SchedulerClass, method: Method) -> Result<usize, ModelError> {
    match (class.support, method) {
        (Support::Full, Method::UniPc) => options.size("solver_order", 2, 1..=3),
        (Support::Full, _) => options.size("solver_order", 2, 1..=2),
        // The order of the method that is nearest.
        _ => Ok(options.take("solver_order", 2usize)?.clamp(1, 2)),
    }
}

fn lcm(options: &mut Options, method: Method) -> Result<LcmOptions, ModelError> {
    if method != Method::Lcm {
        return Ok(LcmOptions { original_steps: 1, timestep_scaling: 1.0 });
    }
    let timestep_scaling = options.take("timestep_scaling", 10.0)?;
    if !(1e-6..=1e6).contains(&timestep_scaling) {
        return Err(options.unsupported("timestep_scaling", "numbers from 0.000001 to 1000000"));
    }
    Ok(LcmOptions {
        original_steps: options.size("original_inference_steps", 50, 1..=1_000_000)?,
        timestep_scaling,
    })
}

fn unipc(options: &mut Options, method: Method) -> Result<UniPcOptions, ModelError> {
    if method != Method::UniPc {
        return Ok(UniPcOptions {
            solver_type: SolverType::Bh2,
            variable: SolverVariable::Clean,
            disabled_corrector: Vec::new(),
        });
    }
    options.require("solver_p", &[Value::Null])?;
    let name: String = options.take("solver_type", "bh2".to_owned())?;
    let solver_type = match name.as_str() {
        "bh1" => SolverType::Bh1,
        // The class takes the types of other solvers for its default.
        "bh2" | "midpoint" | "heun" | "logrho" => SolverType::Bh2,
        _ => return Err(options.unsupported("solver_type", "bh1, bh2")),
    };
    let variable = match options.flag_on_by_default("predict_x0")? {
        true => SolverVariable::Clean,
        false => SolverVariable::Noise,
    };
    Ok(UniPcOptions {
        solver_type,
        variable,
        disabled_corrector: options.take("disable_corrector", Vec::new())?,
    })
}

/// Refuses the options of this method that would change the result and are not supported.
fn refuse(options: &mut Options, class: &SchedulerClass, method: Method) -> Result<(), ModelError> {
    let is_full = class.support == Support::Full;
    let switches: &[&str] = match method {
        Method::Ddim | Method::Ddpm | Method::Lcm => &["thresholding"],
        Method::Euler | Method::EulerAncestral | Method::Heun | Method::Lms => &[],
        _ if class.support == Support::Upgraded => &[],
        Method::DpmSolver | Method::DpmSolverSde => {
            &["thresholding", "use_lu_lambdas", "use_flow_sigmas", "use_dynamic_shifting"]
        }
        Method::UniPc => &["thresholding", "use_flow_sigmas", "use_dynamic_shifting"],
    };
    for name in switches {
        options.require(name, &[json!(false)])?;
    }
    let words: &[(&str, &[&str])] = match method {
        Method::Euler => &[("interpolation_type", &["linear"]), ("timestep_type", &["discrete"])],
        // The class takes the types of other solvers for its default.
        Method::DpmSolver | Method::DpmSolverSde if is_full => {
            &[("solver_type", &["midpoint", "logrho", "bh1", "bh2"])]
        }
        _ => &[],
    };
    for (name, supported) in words {
        let supported: Vec<Value> = supported.iter().map(|word| json!(word)).collect();
        options.require(name, &supported)?;
    }
    if matches!(method, Method::DpmSolver | Method::DpmSolverSde) {
        // The others make the network predict variances as well.
        let fixed = ["fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log"];
        let supported: Vec<Value> = iter::once(Value::Null).chain(fixed.map(Value::from)).collect();
        options.require("variance_type", &supported)?;
    }
    Ok(())
}

/// The options of all schedulers here. Configurations are handed from one scheduler to another and keep what the
/// former one had, so an option that the class at hand does not have counts for nothing, as in the reference.
pub(super) const OPTIONS: [&str; 53] = [
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
    "corrector_order",
    "disable_corrector",
    "noise_sampler_seed",
    "num_inference_steps",
    "original_inference_steps",
    "predict_x0",
    "predictor_order",
    "rescale_factor",
    "rho",
    "shift_terminal",
    "sigma_data",
    "sigma_schedule",
    "solver_p",
    "tau_func",
    "timestep_scaling",
    "timestep_values",
    "use_exponential_decay",
];
