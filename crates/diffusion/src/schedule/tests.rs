//! Schedules beside diffusers', and what is refused.

mod classes;
mod samplers;

use std::collections::BTreeMap;
use std::fs;

use candle_core::Tensor;
use serde_json::{Map, Value, json};

use super::class::CLASSES;
use super::read::OPTIONS;
use super::*;
use crate::golden::{
    Golden, assert_close, assert_near, assert_near_in_f32, fixture, numbers, standard_deviation,
};

/// A model folder with nothing but this scheduler's configuration.
fn schedule(config: &Value) -> Result<Schedule, ModelError> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::create_dir(folder.path().join("scheduler")).expect("a folder");
    fs::write(folder.path().join("model_index.json"), "{}").expect("a file");
    fs::write(folder.path().join(FILE), config.to_string()).expect("a file");
    Schedule::load(&ModelFiles::folder(folder.path()).expect("a model"))
}

fn with(class: &str, options: Value) -> Value {
    let mut config = options.as_object().cloned().unwrap_or_default();
    config.insert("_class_name".to_owned(), json!(class));
    Value::Object(config)
}

#[test]
fn every_scheduler_goes_the_references_way() {
    let golden = Golden::load("schedules/golden.safetensors");
    let configs = fs::read_to_string(fixture("schedules/configs.json")).expect("a fixture");
    let configs: BTreeMap<String, Map<String, Value>> =
        serde_json::from_str(&configs).expect("configurations");
    assert!(configs.len() > 30, "the fixture is not whole");
    for (name, config) in configs {
        let schedule = schedule(&Value::Object(config)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let alphas: Vec<f64> =
            schedule.training.alphas.iter().step_by(7).map(|alpha| f64::from(*alpha)).collect();
        assert_near(&format!("{name}: alphas"), &alphas, &golden.numbers(&format!("{name}.alphas")), 1e-6);
        for steps in [1, 4, 20, 50] {
            check_sampling(&golden, &format!("{name}.{steps}"), schedule.plan(steps).expect("a plan"));
        }
    }
}

/// Takes the whole way with the fixture's outputs and noise.
fn check_sampling(golden: &Golden, name: &str, mut sampler: Sampler) {
    let timesteps = golden.numbers(&format!("{name}.timesteps"));
    assert_near_in_f32(&format!("{name}: timesteps"), sampler.timesteps(), &timesteps, 1e-6);
    if timesteps.iter().all(|timestep| timestep.fract() == 0.0) {
        assert_eq!(sampler.timesteps(), timesteps, "{name}: whole timesteps");
    }
    if golden.has(&format!("{name}.sigmas")) {
        assert_near_in_f32(
            &format!("{name}: sigmas"),
            sampler.sigmas(),
            &golden.numbers(&format!("{name}.sigmas")),
            1e-6,
        );
    }
    let (outputs, noise) = (golden.tensor("outputs"), golden.tensor("noise"));
    let (inputs, samples) =
        (golden.numbers(&format!("{name}.inputs")), golden.tensor(&format!("{name}.samples")));
    let first = noise.get(noise.dims()[0] - 1).expect("noise");
    let mut sample = (first * sampler.init_noise_sigma()).expect("a sample");
    assert_close(&format!("{name}: start"), &sample, &samples.get(0).expect("a sample"), 1e-6);
    let mut rounding = 0.0;
    for (step, input) in inputs.iter().enumerate() {
        let one = Tensor::new(&[1f32], sample.device()).expect("a number");
        let scaled = sampler.scale_model_input(&one, step).expect("an input");
        assert_near(&format!("{name}: input {step}"), &numbers(&scaled), &[*input], 1e-6);
        let (output, fresh) = (outputs.get(step).expect("an output"), noise.get(step).expect("noise"));
        // Where a step takes away nearly all, what is left carries the reference's rounding of what there was: this
        // counts only where a way begins at 4,000 times the noise.
        rounding += numbers(&sample).iter().fold(0.0, |most, x| x.abs().max(most)) * f64::from(f32::EPSILON);
        sample = sampler.step(step, &sample, &output, Some(&fresh)).expect("a step");
        let expected = numbers(&samples.get(step + 1).expect("a sample"));
        let allowed = 1e-4 * standard_deviation(&expected) + rounding;
        assert_near(&format!("{name}: step {step}"), &numbers(&sample), &expected, allowed);
    }
    assert!(sampler.step(inputs.len(), &sample, &sample, None).is_err(), "{name}: a step too many");
}

/// With a model that is always right, the clean sample is there from the first step.
#[test]
fn the_clean_sample_is_what_the_noise_was_added_to() {
    let (clean, noise) = (0.75, -1.5);
    for class in CLASSES.map(|class| class.name) {
        for prediction in ["epsilon", "v_prediction", "sample"] {
            let Ok(schedule) = schedule(&with(class, json!({"prediction_type": prediction}))) else {
                assert!(class.contains("Ancestral") && prediction == "sample", "{class}");
                continue;
            };
            let plan = schedule.plan(5).expect("a plan");
            for (step, ratio) in plan.sigmas().iter().take(plan.timesteps().len()).enumerate() {
                let (alpha, sigma) = (1.0 / ratio.hypot(1.0), ratio / ratio.hypot(1.0));
                let sample = match schedule.config.method {
                    Method::Euler | Method::EulerAncestral | Method::Heun | Method::Lms => {
                        clean + ratio * noise
                    }
                    _ => alpha * clean + sigma * noise,
                };
                let output = match prediction {
                    "epsilon" => noise,
                    "v_prediction" => alpha * noise - sigma * clean,
                    _ => clean,
                };
                let tensor =
                    |number: f64| Tensor::new(&[number], &candle_core::Device::Cpu).expect("a number");
                let found =
                    plan.clean_sample(step, &tensor(sample), &tensor(output)).expect("a clean sample");
                let found = found.to_vec1::<f64>().expect("f64");
                assert_near(&format!("{class}, {prediction}, step {step}"), &found, &[clean], 1e-6);
            }
        }
    }
}

#[test]
fn a_clean_sample_is_cut_off_where_the_configuration_says_so() {
    let options = json!({"clip_sample": true, "clip_sample_range": 2.0, "prediction_type": "sample"});
    let plan = schedule(&with("DDIMScheduler", options)).expect("a schedule").plan(1).expect("a plan");
    let (sample, output) = (Tensor::new(&[0f32; 3], &candle_core::Device::Cpu), [-3.0f32, 1.0, 9.0]);
    let sample = sample.expect("numbers");
    let output = Tensor::new(&output, sample.device()).expect("numbers");
    let found = plan.clean_sample(0, &sample, &output).expect("a clean sample");
    assert_eq!(numbers(&found), [-2.0, 1.0, 2.0]);
}

#[test]
fn what_is_not_supported_is_named() {
    for (class, options, named) in [
        ("MadeUpScheduler", json!({}), "_class_name"),
        ("DDIMScheduler", json!({"thresholding": true}), "thresholding"),
        ("DDIMScheduler", json!({"beta_schedule": "sigmoid"}), "beta_schedule"),
        ("DDIMScheduler", json!({"rescale_betas_zero_snr": true}), "rescale_betas_zero_snr"),
        ("DDIMScheduler", json!({"beta_end": 1.5}), "beta_end"),
        ("DDIMScheduler", json!({"num_train_timesteps": 1}), "num_train_timesteps"),
        ("DDIMScheduler", json!({"num_train_timesteps": 10, "trained_betas": [0.1]}), "trained_betas"),
        ("DDIMScheduler", json!({"beta_start": 0.0, "beta_end": 0.0}), "beta_start"),
        ("EulerDiscreteScheduler", json!({"interpolation_type": "log_linear"}), "interpolation_type"),
        ("EulerDiscreteScheduler", json!({"timestep_type": "continuous"}), "timestep_type"),
        ("EulerDiscreteScheduler", json!({"use_beta_sigmas": true}), "use_beta_sigmas"),
        ("EulerDiscreteScheduler", json!({"sigma_min": 0.0}), "sigma_min"),
        ("EulerDiscreteScheduler", json!({"steps_offset": 1000}), "steps_offset"),
        ("EulerDiscreteScheduler", json!({"made_up": 1}), "made_up"),
        ("EulerAncestralDiscreteScheduler", json!({"prediction_type": "sample"}), "prediction_type"),
        ("DPMSolverMultistepScheduler", json!({"algorithm_type": "dpmsolver"}), "algorithm_type"),
        ("DPMSolverMultistepScheduler", json!({"solver_type": "heun"}), "solver_type"),
        ("DPMSolverMultistepScheduler", json!({"solver_order": 3}), "solver_order"),
        ("DPMSolverMultistepScheduler", json!({"use_lu_lambdas": true}), "use_lu_lambdas"),
        ("DPMSolverMultistepScheduler", json!({"timestep_spacing": "even"}), "timestep_spacing"),
        ("DPMSolverMultistepScheduler", json!({"variance_type": "learned"}), "variance_type"),
    ] {
        let error = schedule(&with(class, options)).expect_err(named);
        assert!(matches!(error, ModelError::Unsupported { .. }), "{named}: {error}");
        let message = error.to_string();
        assert!(message.contains(named) && message.contains("scheduler_config.json"), "{named}: {message}");
    }
    let error =
        schedule(&with("DDIMScheduler", json!({"steps_offset": "one"}))).expect_err("a word for a number");
    assert!(
        matches!(error, ModelError::Malformed { .. }) && error.to_string().contains("steps_offset"),
        "{error}"
    );
}

#[test]
fn null_is_off_for_flags_and_the_default_for_others() {
    let flags = [
        "clip_sample",
        "set_alpha_to_one",
        "use_karras_sigmas",
        "lower_order_final",
        "euler_at_final",
        "thresholding",
        "rescale_betas_zero_snr",
        "use_lu_lambdas",
        "use_exponential_sigmas",
        "predict_x0",
    ];
    for class in CLASSES.map(|class| class.name) {
        for option in OPTIONS {
            let config = |options: Value| {
                let mut options = options;
                if option == "lower_order_final" {
                    // UniPC refuses its absence on the way to no noise.
                    options["final_sigmas_type"] = "sigma_min".into();
                }
                let schedule = schedule(&with(class, options)).expect(option);
                format!("{:?}", Config { file: "".into(), ..schedule.config })
            };
            let expected = if flags.contains(&option) { json!({option: false}) } else { json!({}) };
            assert_eq!(config(json!({option: null})), config(expected), "{class}: {option}");
        }
    }
    let config = schedule(&with("DDIMScheduler", json!({"set_alpha_to_one": null}))).expect("valid").config;
    assert!(!config.set_alpha_to_one, "null is off, although the default is on");
    let config = schedule(&with("DDIMScheduler", json!({"clip_sample": null}))).expect("valid").config;
    assert_eq!(config.clip, None);
}

#[test]
fn a_class_is_required() {
    let error = schedule(&json!({})).expect_err("no class").to_string();
    assert!(error.contains("scheduler_config.json: `_class_name` is missing; supported: DDIM"), "{error}");
}

#[test]
fn leftovers_of_other_schedulers_count_for_nothing() {
    let leftovers = json!({"skip_prk_steps": true, "clip_sample": true, "thresholding": true, "_diffusers_version": "0.2"});
    let turbo = schedule(&with("EulerDiscreteScheduler", leftovers)).expect("a schedule");
    assert_eq!(turbo.prediction(), Prediction::Epsilon);
}

#[test]
fn any_number_of_steps_is_a_plan_or_an_error() {
    for class in CLASSES.map(|class| class.name) {
        for spacing in ["leading", "trailing", "linspace"] {
            for total in [2, 3, 60, 1000] {
                let mut options =
                    json!({"timestep_spacing": spacing, "num_train_timesteps": total, "steps_offset": 1});
                options["original_inference_steps"] = (total / 2).into();
                let schedule = schedule(&with(class, options)).expect("a schedule");
                for steps in (0..=151).chain([usize::MAX / 2]) {
                    check(&schedule, steps, &format!("{class} {spacing} {total} {steps}"));
                }
            }
        }
    }
}

/// A plan is finite numbers, as many as were asked for.
fn check(schedule: &Schedule, steps: usize, what: &str) {
    let total = schedule.config.train_timesteps;
    let room = match schedule.config.method {
        Method::Lcm => schedule.config.lcm.original_steps + 1,
        _ => total,
    };
    match schedule.plan(steps) {
        Ok(plan) => {
            let evaluations = schedule.evaluations().in_steps(steps as u32) as usize;
            assert_eq!(plan.timesteps().len(), evaluations, "{what}");
            assert_eq!((0..evaluations).filter(|index| plan.ends_step(*index)).count(), steps, "{what}");
            assert_eq!(plan.sigmas().len(), evaluations + 1, "{what}");
            assert!(plan.timesteps().iter().all(|t| (0.0..=total as f64).contains(t)), "{what}");
            for evaluation in &plan.evaluations {
                assert!(evaluation.numbers().all(f64::is_finite), "{what}: {evaluation:?}");
            }
        }
        Err(error) => {
            assert!(matches!(error, ModelError::InvalidStepCount { .. }), "{what}: {error}");
            assert!(steps == 0 || steps + 1 >= room, "{what}: {error}");
        }
    }
}
