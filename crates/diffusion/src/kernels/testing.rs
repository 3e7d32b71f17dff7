//! Random tensors and comparisons for the kernels' tests.

use candle_core::{Device, Tensor};

use crate::noise::Noise;

/// Standard normal numbers.
pub(super) fn random(shape: &[usize], seed: u64) -> Tensor {
    Noise::new(seed).normal(shape, &Device::Cpu).expect("numbers")
}

/// Fails unless the tensors have one shape and differ by no more than `tolerance` times the expected one's standard deviation.
#[track_caller]
pub(super) fn assert_close(found: &Tensor, expected: &Tensor, tolerance: f32) {
    assert_eq!(found.dims(), expected.dims());
    let flat = |t: &Tensor| t.flatten_all().and_then(|t| t.to_vec1::<f32>()).expect("f32 numbers");
    let (found, expected) = (flat(found), flat(expected));
    let mean = expected.iter().sum::<f32>() / expected.len() as f32;
    let variance = expected.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / expected.len() as f32;
    let worst = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(found.iter().all(|x| x.is_finite()), "not all numbers are finite");
    assert!(worst <= tolerance * variance.sqrt(), "off by {worst}, standard deviation {}", variance.sqrt());
}
