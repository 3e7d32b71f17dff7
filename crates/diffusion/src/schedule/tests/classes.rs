//! Which scheduler classes run, which are substituted, and which are refused.

use std::fs;

use serde_json::json;

use super::*;

#[test]
fn classes_that_are_not_implemented_run_as_the_nearest() {
    for (class, method, substitute) in [
        ("DEISMultistepScheduler", Method::DpmSolver, "DPMSolverMultistepScheduler"),
        ("DPMSolverSinglestepScheduler", Method::DpmSolver, "DPMSolverMultistepScheduler"),
        ("DPMSolverSDEScheduler", Method::DpmSolverSde, "DPMSolverMultistepScheduler (sde-dpmsolver++)"),
        ("SASolverScheduler", Method::DpmSolverSde, "DPMSolverMultistepScheduler (sde-dpmsolver++)"),
        ("KDPM2DiscreteScheduler", Method::Heun, "HeunDiscreteScheduler"),
        ("KDPM2AncestralDiscreteScheduler", Method::EulerAncestral, "EulerAncestralDiscreteScheduler"),
        ("TCDScheduler", Method::Lcm, "LCMScheduler"),
    ] {
        let schedule = schedule(&with(class, json!({}))).expect(class);
        assert_eq!(schedule.substitution(), Some(Substitution { class, substitute }));
        assert_eq!(schedule.config.method, method, "{class}");
    }
}

#[test]
fn implemented_classes_have_no_substitute() {
    for class in
        ["DDIM", "DDPM", "LCM", "EulerDiscrete", "EulerAncestralDiscrete", "HeunDiscrete", "LMSDiscrete"]
            .into_iter()
            .chain(["DPMSolverMultistep", "UniPCMultistep", "PNDM", "DDIMParallel", "DDPMParallel"])
    {
        let schedule = schedule(&with(&format!("{class}Scheduler"), json!({}))).expect(class);
        assert_eq!(schedule.substitution(), None, "{class}");
    }
}

/// Every option that diffusers writes for these classes is known, and the substitute has the same betas.
#[test]
fn saved_configurations_of_substituted_classes_load() {
    let saved = fs::read_to_string(fixture("schedules/saved.json")).expect("a fixture");
    let saved: Vec<Value> = serde_json::from_str(&saved).expect("configurations");
    assert_eq!(saved.len(), 8, "the fixture is not whole");
    let euler = schedule(&with(
        "EulerDiscreteScheduler",
        json!({"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}),
    ));
    let alphas = euler.expect("a schedule").training.alphas;
    for config in saved {
        let schedule = schedule(&config).unwrap_or_else(|error| panic!("{config}: {error}"));
        assert_eq!(schedule.training.alphas, alphas, "{config}");
        schedule.plan(20).expect("a plan");
    }
}

/// Options of the class that the substitute does not support are those of the class, and no error.
#[test]
fn options_of_the_substituted_class_are_replaced() {
    let plan = |config: &Value| format!("{:?}", schedule(config).expect("valid").plan(8).expect("a plan"));
    let solver = plan(&with("DPMSolverMultistepScheduler", json!({})));
    let deis = json!({"algorithm_type": "deis", "solver_type": "logrho", "solver_order": 3});
    assert_eq!(plan(&with("DEISMultistepScheduler", deis.clone())), solver);
    let first = json!({"algorithm_type": "dpmsolver", "solver_type": "heun"});
    assert_eq!(plan(&with("DPMSolverSinglestepScheduler", first)), solver);
    let stochastic = json!({"algorithm_type": "sde-dpmsolver++"});
    assert_ne!(plan(&with("DPMSolverSinglestepScheduler", stochastic.clone())), solver);
    assert_eq!(
        plan(&with("DPMSolverSinglestepScheduler", stochastic.clone())),
        plan(&with("DPMSolverMultistepScheduler", stochastic))
    );
    // As diffusers' own class does with the configuration of DEIS.
    let own = json!({"algorithm_type": "deis", "solver_type": "bh2"});
    assert_eq!(plan(&with("DPMSolverMultistepScheduler", own)), solver);
    let error = schedule(&with("DPMSolverMultistepScheduler", deis)).expect_err("order 3").to_string();
    assert!(error.contains("`solver_order` is 3; supported: 1 to 2"), "{error}");
}

/// The betas of files that do not set them are those of the class.
#[test]
fn absent_betas_are_those_of_the_class() {
    for (class, start, schedule_name) in [
        ("DDPMScheduler", 0.0001, "linear"),
        ("LCMScheduler", 0.00085, "scaled_linear"),
        ("TCDScheduler", 0.00085, "scaled_linear"),
        ("HeunDiscreteScheduler", 0.00085, "linear"),
        ("KDPM2AncestralDiscreteScheduler", 0.00085, "linear"),
        ("DPMSolverSDEScheduler", 0.00085, "linear"),
        ("DEISMultistepScheduler", 0.0001, "linear"),
    ] {
        let end = if start < 0.0005 { 0.02 } else { 0.012 };
        let explicit = json!({"beta_start": start, "beta_end": end, "beta_schedule": schedule_name});
        let alphas = |options| schedule(&with(class, options)).expect(class).training.alphas;
        assert_eq!(alphas(json!({})), alphas(explicit), "{class}");
    }
}

#[test]
fn classes_for_other_models_are_refused_with_the_reason() {
    let refused = |class: &str| schedule(&with(class, json!({}))).expect_err(class).to_string();
    for class in ["FlowMatchEulerDiscrete", "FlowMatchHeunDiscrete", "FlowMatchLCM", "SCM"] {
        let error = refused(&format!("{class}Scheduler"));
        assert!(error.contains(class) && error.contains("flow-matching models"), "{error}");
    }
    for class in ["EDMEuler", "EDMDPMSolverMultistep", "CosineDPMSolverMultistep"] {
        let error = refused(&format!("{class}Scheduler"));
        assert!(error.contains(class) && error.contains("EDM's scaling"), "{error}");
    }
    for class in ["MadeUpScheduler", "DDIMInverseScheduler", "IPNDMScheduler", "euler"] {
        let error = refused(class);
        for known in CLASSES {
            assert!(error.contains(known.name), "{error}");
        }
    }
}

#[test]
fn options_of_the_new_classes_are_refused_by_name() {
    for (class, options, named) in [
        ("LCMScheduler", json!({"thresholding": true}), "thresholding"),
        ("LCMScheduler", json!({"original_inference_steps": 1001}), "original_inference_steps"),
        ("LCMScheduler", json!({"original_inference_steps": 0}), "original_inference_steps"),
        ("LCMScheduler", json!({"timestep_scaling": 0.0}), "timestep_scaling"),
        ("LCMScheduler", json!({"rescale_betas_zero_snr": true}), "rescale_betas_zero_snr"),
        ("DDPMScheduler", json!({"variance_type": "learned"}), "variance_type"),
        ("DDPMScheduler", json!({"variance_type": "learned_range"}), "variance_type"),
        ("DDPMScheduler", json!({"variance_type": "fixed_large_log"}), "variance_type"),
        ("DDPMScheduler", json!({"thresholding": true}), "thresholding"),
        ("DDPMScheduler", json!({"rescale_betas_zero_snr": true}), "rescale_betas_zero_snr"),
        ("UniPCMultistepScheduler", json!({"solver_order": 4}), "solver_order"),
        ("UniPCMultistepScheduler", json!({"solver_type": "bh3"}), "solver_type"),
        ("UniPCMultistepScheduler", json!({"solver_p": {"a": 1}}), "solver_p"),
        ("UniPCMultistepScheduler", json!({"lower_order_final": false}), "lower_order_final"),
        ("UniPCMultistepScheduler", json!({"use_flow_sigmas": true}), "use_flow_sigmas"),
        ("UniPCMultistepScheduler", json!({"thresholding": true}), "thresholding"),
        ("UniPCMultistepScheduler", json!({"use_beta_sigmas": true}), "use_beta_sigmas"),
        ("HeunDiscreteScheduler", json!({"beta_schedule": "exp"}), "beta_schedule"),
        ("HeunDiscreteScheduler", json!({"use_beta_sigmas": true}), "use_beta_sigmas"),
        ("LMSDiscreteScheduler", json!({"use_beta_sigmas": true}), "use_beta_sigmas"),
        (
            "LMSDiscreteScheduler",
            json!({"use_karras_sigmas": true, "use_exponential_sigmas": true}),
            "use_exponential_sigmas",
        ),
        ("DPMSolverMultistepScheduler", json!({"algorithm_type": "sde-dpmsolver"}), "algorithm_type"),
    ] {
        let error = schedule(&with(class, options)).expect_err(named);
        assert!(matches!(error, ModelError::Unsupported { .. }), "{class}, {named}: {error}");
        assert!(error.to_string().contains(named), "{class}, {named}: {error}");
    }
}

#[test]
fn lcm_has_the_steps_of_its_distillation() {
    let schedule = schedule(&with("LCMScheduler", json!({}))).expect("a schedule");
    assert_eq!(schedule.plan(4).expect("a plan").timesteps(), [999.0, 759.0, 499.0, 259.0]);
    assert_eq!(schedule.plan(50).expect("a plan").timesteps().len(), 50);
    assert_eq!(schedule.max_steps(), 50);
    let error = schedule.plan(51).expect_err("more than 50").to_string();
    assert!(error.contains("supports 1 to 50 steps, not 51"), "{error}");
}

#[test]
fn schedules_have_room_for_a_number_of_steps() {
    let short = json!({"num_train_timesteps": 20, "steps_offset": 1});
    for (class, options, steps) in [
        ("DDIMScheduler", json!({}), 150),
        ("HeunDiscreteScheduler", json!({}), 150),
        ("TCDScheduler", json!({"original_inference_steps": 8}), 8),
        ("UniPCMultistepScheduler", short.clone(), 19),
        ("DDPMScheduler", short, 19),
    ] {
        assert_eq!(schedule(&with(class, options)).expect(class).max_steps(), steps, "{class}");
    }
}

/// The way of UniPC's noise prediction and of `bh1` to no noise, where diffusers gives NaN.
#[test]
fn unipc_ends_without_noise_for_all_options() {
    for options in [json!({"predict_x0": false}), json!({"solver_type": "bh1"})] {
        let config = with("UniPCMultistepScheduler", options);
        for steps in [1, 2, 10] {
            let mut sampler = schedule(&config).expect("valid").plan(steps).expect("a plan");
            // The model is always right, so the last sample is the clean one.
            let (clean, noise) = (0.75, -1.5);
            let number = |x: f64| Tensor::new(&[x], &candle_core::Device::Cpu).expect("a number");
            let ratio = sampler.sigmas()[0];
            let mut sample = number((clean + ratio * noise) / ratio.hypot(1.0));
            for step in 0..steps {
                sample = sampler.step(step, &sample, &number(noise), None).expect("a step");
            }
            assert_near(&config.to_string(), &numbers(&sample), &[clean], 1e-9);
        }
    }
}
