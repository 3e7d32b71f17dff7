//! The samplers beside diffusers', in `f64`: all differences are those of formulas.

use std::collections::BTreeMap;
use std::fs;

use candle_core::DType;
use serde_json::{Map, Value};

use super::*;

const STEPS: [usize; 5] = [1, 2, 4, 10, 25];
const TOLERANCE: f64 = 1e-5;

#[test]
fn samplers_go_the_references_way() {
    let golden = Golden::load("schedules/samplers.safetensors");
    let configs = fs::read_to_string(fixture("schedules/samplers.json")).expect("a fixture");
    let configs: BTreeMap<String, Map<String, Value>> =
        serde_json::from_str(&configs).expect("configurations");
    assert!(configs.len() > 40, "the fixture is not whole");
    for (name, config) in configs {
        let schedule = schedule(&Value::Object(config)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut expected = Reference::load(&golden, &name);
        for steps in STEPS {
            check_way(
                &golden,
                &mut expected,
                schedule.plan(steps).expect("a plan"),
                &format!("{name}.{steps}"),
            );
        }
        assert!(expected.is_used_up(), "{name}: the reference has more numbers");
    }
}

/// The numbers of one case for all numbers of steps, one after another.
struct Reference {
    timesteps: Vec<f64>,
    sigmas: Option<Vec<f64>>,
    inputs: Vec<f64>,
    samples: Vec<f64>,
}

impl Reference {
    fn load(golden: &Golden, name: &str) -> Self {
        let numbers = |key: &str| golden.numbers(&format!("{name}.{key}"));
        Self {
            timesteps: numbers("timesteps"),
            sigmas: golden.has(&format!("{name}.sigmas")).then(|| numbers("sigmas")),
            inputs: numbers("inputs"),
            samples: numbers("samples"),
        }
    }

    fn is_used_up(&self) -> bool {
        let sigmas = self.sigmas.iter().flatten();
        self.timesteps.iter().chain(sigmas).chain(&self.inputs).chain(&self.samples).next().is_none()
    }
}

/// Removes the first numbers.
fn take(numbers: &mut Vec<f64>, count: usize) -> Vec<f64> {
    numbers.drain(..count.min(numbers.len())).collect()
}

/// Takes the whole way with the fixture's outputs and noise.
fn check_way(golden: &Golden, expected: &mut Reference, mut sampler: Sampler, name: &str) {
    let wide = |tensor: &Tensor| tensor.to_dtype(DType::F64).expect("numbers");
    let (outputs, noise) = (wide(golden.tensor("outputs")), wide(golden.tensor("noise")));
    let count = sampler.timesteps().len();
    assert_near_in_f32(
        &format!("{name}: timesteps"),
        sampler.timesteps(),
        &take(&mut expected.timesteps, count),
        1e-6,
    );
    if let Some(sigmas) = &mut expected.sigmas {
        assert_near_in_f32(&format!("{name}: sigmas"), sampler.sigmas(), &take(sigmas, count + 1), 1e-6);
    }
    let first = noise.get(noise.dims()[0] - 1).expect("noise");
    let mut sample = (first * sampler.init_noise_sigma()).expect("a sample");
    let size = sample.elem_count();
    let start = take(&mut expected.samples, size);
    assert_near_in_f32(&format!("{name}: start"), &numbers(&sample), &start, TOLERANCE);
    let one = Tensor::new(&[1f64], sample.device()).expect("a number");
    for evaluation in 0..count {
        let input = numbers(&sampler.scale_model_input(&one, evaluation).expect("an input"));
        let label = format!("{name}: evaluation {evaluation}");
        assert_near(&label, &input, &take(&mut expected.inputs, 1), 1e-6);
        let output = outputs.get(evaluation).expect("an output");
        let fresh = noise.get(evaluation).expect("noise");
        let fresh = sampler.needs_noise(evaluation).then_some(&fresh);
        sample = sampler.step(evaluation, &sample, &output, fresh).expect("a step");
        assert_near_in_f32(&label, &numbers(&sample), &take(&mut expected.samples, size), TOLERANCE);
    }
    assert!(sampler.step(count, &sample, &sample, None).is_err(), "{name}: an evaluation too many");
}
