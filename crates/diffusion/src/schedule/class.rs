//! The scheduler classes of diffusers, and the methods that run for them.

use super::config::Method;
use crate::ModelError;
use crate::index::Class;

/// A scheduler class that a model can name.
#[derive(Debug)]
pub(super) struct SchedulerClass {
    pub(super) name: &'static str,
    /// The method that runs.
    pub(super) method: Method,
    pub(super) support: Support,
    pub(super) betas: DefaultBetas,
}

/// How close the method is to the class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Support {
    /// The class itself.
    Full,
    /// The solver that needs fewer steps than the class for the same image, on purpose and without a warning.
    Upgraded,
    /// The nearest method, of this class. Images differ from those of diffusers, so this is a warning.
    SubstitutedBy(&'static str),
}

/// The betas of a class for files that do not set them.
#[derive(Clone, Copy, Debug)]
pub(super) struct DefaultBetas {
    pub(super) start: f64,
    pub(super) end: f64,
    pub(super) schedule: &'static str,
}

const DDPM_BETAS: DefaultBetas = DefaultBetas { start: 0.0001, end: 0.02, schedule: "linear" };
const KARRAS_BETAS: DefaultBetas = DefaultBetas { start: 0.00085, end: 0.012, schedule: "linear" };
const LATENT_BETAS: DefaultBetas = DefaultBetas { start: 0.00085, end: 0.012, schedule: "scaled_linear" };

const DDIM: &str = "DDIMScheduler";
const DDPM: &str = "DDPMScheduler";
const LCM: &str = "LCMScheduler";
const EULER: &str = "EulerDiscreteScheduler";
const EULER_ANCESTRAL: &str = "EulerAncestralDiscreteScheduler";
const HEUN: &str = "HeunDiscreteScheduler";
const LMS: &str = "LMSDiscreteScheduler";
const DPM_SOLVER: &str = "DPMSolverMultistepScheduler";
const DPM_SOLVER_SDE: &str = "DPMSolverMultistepScheduler (sde-dpmsolver++)";
const UNIPC: &str = "UniPCMultistepScheduler";

const fn full(name: &'static str, method: Method, betas: DefaultBetas) -> SchedulerClass {
    SchedulerClass { name, method, support: Support::Full, betas }
}

const fn substituted(
    name: &'static str,
    method: Method,
    by: &'static str,
    betas: DefaultBetas,
) -> SchedulerClass {
    SchedulerClass { name, method, support: Support::SubstitutedBy(by), betas }
}

pub(super) const CLASSES: [SchedulerClass; 19] = [
    full(DDIM, Method::Ddim, DDPM_BETAS),
    full(DDPM, Method::Ddpm, DDPM_BETAS),
    full(LCM, Method::Lcm, LATENT_BETAS),
    full(EULER, Method::Euler, DDPM_BETAS),
    full(EULER_ANCESTRAL, Method::EulerAncestral, DDPM_BETAS),
    full(HEUN, Method::Heun, KARRAS_BETAS),
    full(LMS, Method::Lms, DDPM_BETAS),
    full(DPM_SOLVER, Method::DpmSolver, DDPM_BETAS),
    full(UNIPC, Method::UniPc, DDPM_BETAS),
    // The formulas of these two are those of the classes without "Parallel".
    full("DDIMParallelScheduler", Method::Ddim, DDPM_BETAS),
    full("DDPMParallelScheduler", Method::Ddpm, DDPM_BETAS),
    SchedulerClass {
        name: "PNDMScheduler",
        method: Method::DpmSolver,
        support: Support::Upgraded,
        betas: DDPM_BETAS,
    },
    substituted("DEISMultistepScheduler", Method::DpmSolver, DPM_SOLVER, DDPM_BETAS),
    substituted("DPMSolverSinglestepScheduler", Method::DpmSolver, DPM_SOLVER, DDPM_BETAS),
    substituted("DPMSolverSDEScheduler", Method::DpmSolverSde, DPM_SOLVER_SDE, KARRAS_BETAS),
    // SA-Solver of order 2 with full noise and without a corrector is the stochastic DPM-Solver++ (Xue et al. 2023).
    substituted("SASolverScheduler", Method::DpmSolverSde, DPM_SOLVER_SDE, DDPM_BETAS),
    substituted("KDPM2DiscreteScheduler", Method::Heun, HEUN, KARRAS_BETAS),
    substituted("KDPM2AncestralDiscreteScheduler", Method::EulerAncestral, EULER_ANCESTRAL, KARRAS_BETAS),
    substituted("TCDScheduler", Method::Lcm, LCM, LATENT_BETAS),
];

impl SchedulerClass {
    /// The class of this name.
    pub(super) fn find(name: Option<&str>) -> Option<&'static Self> {
        static TABLE: [SchedulerClass; CLASSES.len()] = CLASSES;
        TABLE.iter().find(|class| Some(class.name) == name)
    }
}

/// The error for a class that does not run, with the reason if there is a special one.
pub(super) fn unsupported(class: &Class) -> ModelError {
    let name = class.name().unwrap_or_default();
    if name.starts_with("FlowMatch") || name == "SCMScheduler" {
        return class.unsupported(
            "the schedulers of Stable Diffusion 1 and 2; this one is for flow-matching models, such as Stable \
             Diffusion 3 and FLUX",
        );
    }
    if name.starts_with("EDM") || name == "CosineDPMSolverMultistepScheduler" {
        return class.unsupported(
            "the schedulers of Stable Diffusion 1 and 2; this one is for models that were trained with EDM's \
             scaling of inputs and noise levels",
        );
    }
    let names: Vec<&str> = CLASSES.iter().map(|class| class.name).collect();
    class.unsupported(&names.join(", "))
}
