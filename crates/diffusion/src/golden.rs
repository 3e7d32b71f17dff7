//! What the reference computed, read from `tests/fixtures`, and comparing with it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};

/// A file of the fixtures.
pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// The tensors of one file of the fixtures.
pub(crate) struct Golden(HashMap<String, Tensor>);

impl Golden {
    pub(crate) fn load(name: &str) -> Self {
        Self(candle_core::safetensors::load(fixture(name), &Device::Cpu).expect("a fixture"))
    }

    #[track_caller]
    pub(crate) fn tensor(&self, name: &str) -> &Tensor {
        self.0.get(name).unwrap_or_else(|| panic!("the fixture has no {name}"))
    }

    #[track_caller]
    pub(crate) fn numbers(&self, name: &str) -> Vec<f64> {
        numbers(self.tensor(name))
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}

/// All elements in order.
pub(crate) fn numbers(tensor: &Tensor) -> Vec<f64> {
    tensor.flatten_all().and_then(|t| t.to_dtype(DType::F64)?.to_vec1()).expect("numbers")
}

/// Fails unless the tensors have one shape and differ by no more than `tolerance` times the expected one's standard
/// deviation.
#[track_caller]
pub(crate) fn assert_close(label: &str, found: &Tensor, expected: &Tensor, tolerance: f64) {
    assert_eq!(found.dims(), expected.dims(), "{label}: another shape");
    let (found, expected) = (numbers(found), numbers(expected));
    assert_near(label, &found, &expected, tolerance * standard_deviation(&expected));
}

/// The standard deviation of these numbers.
pub(crate) fn standard_deviation(numbers: &[f64]) -> f64 {
    let count = numbers.len() as f64;
    let mean = numbers.iter().sum::<f64>() / count;
    (numbers.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count).sqrt()
}

/// Fails unless there are equally many numbers and none differs by more than `tolerance`; tells the worst.
#[track_caller]
pub(crate) fn assert_near(label: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    compare(label, found, expected, |_| tolerance);
}

/// The same, where numbers above 1 may differ by that part of themselves: `f32` holds no more of them, and the
/// reference's last bits are its processor's.
#[track_caller]
pub(crate) fn assert_near_in_f32(label: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    compare(label, found, expected, |expected| tolerance * expected.abs().max(1.0));
}

#[track_caller]
fn compare(label: &str, found: &[f64], expected: &[f64], allowed: impl Fn(f64) -> f64) {
    assert_eq!(found.len(), expected.len(), "{label}: another number of elements");
    let off = |i: usize| {
        let off = (found[i] - expected[i]).abs() / allowed(expected[i]);
        if off.is_nan() { f64::INFINITY } else { off }
    };
    let Some(worst) = (0..found.len()).max_by(|a, b| off(*a).total_cmp(&off(*b))) else { return };
    assert!(
        off(worst) <= 1.0,
        "{label}: element {worst} of {} is {} and should be {}: off by {:.2} times the allowed {:e}",
        found.len(),
        found[worst],
        expected[worst],
        off(worst),
        allowed(expected[worst]),
    );
}
