//! Activation functions.

use candle_core::{D, Result, Tensor};
use rayon::prelude::*;

use super::cpu::{exp, is_cpu, rows_per_task, tensor, vectorized, view};

/// A function applied to every element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x · sigmoid(x)`; configurations also call it `swish`.
    Silu,
    /// The exact `x · Φ(x)`, by the error function.
    Gelu,
    /// `max(x, 0)`
    Relu,
}

impl Activation {
    /// The function that a configuration means by this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "silu" | "swish" => Some(Self::Silu),
            "gelu" => Some(Self::Gelu),
            "relu" => Some(Self::Relu),
            _ => None,
        }
    }

    /// Applies it to every element.
    ///
    /// # Errors
    /// Only if there is no memory for the result.
    pub fn apply(self, x: &Tensor) -> Result<Tensor> {
        if !is_cpu(x) {
            return match self {
                Self::Silu => x.silu(),
                Self::Gelu => x.gelu_erf(),
                Self::Relu => x.relu(),
            };
        }
        let x = x.contiguous()?;
        let from = view(&x)?;
        let mut to = from.to_vec();
        let part = rows_per_task(to.len(), 1 << 16);
        to.par_chunks_mut(part).for_each(|part| self.in_place(part));
        tensor(to, x.shape())
    }

    /// Applies it to every element of a slice.
    pub(super) fn in_place(self, x: &mut [f32]) {
        match self {
            Self::Silu => vectorized(
                #[inline(always)]
                || x.iter_mut().for_each(|x| *x = silu(*x)),
            ),
            Self::Gelu => vectorized(
                #[inline(always)]
                || x.iter_mut().for_each(|x| *x = gelu(*x)),
            ),
            Self::Relu => vectorized(
                #[inline(always)]
                // Not `f32::max`, which turns NaN into 0 and hides it.
                || x.iter_mut().for_each(|x| *x = if *x < 0.0 { 0.0 } else { *x }),
            ),
        }
    }
}

#[inline(always)]
pub(super) fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

#[inline(always)]
fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

/// The error function as a rational one on ±4, where `f32` reaches 1; the coefficients are those of Eigen and XLA.
#[inline(always)]
fn erf(x: f32) -> f32 {
    let x = x.clamp(-4.0, 4.0);
    let square = x * x;
    let mut p = -2.726_142_3e-10;
    for c in [2.770_681_4e-8, -2.101_024e-6, -5.692_506_4e-5, -7.349_906e-4, -2.954_6e-3, -1.609_603_3e-2] {
        p = p * square + c;
    }
    let mut q = -1.456_607_2e-5;
    for c in [-2.133_740_6e-4, -1.682_827e-3, -7.373_329e-3, -1.426_474e-2] {
        q = q * square + c;
    }
    x * p / q
}

/// The gated activation of feed-forward layers: the last dimension's first half times the exact GELU of its second half.
///
/// # Errors
/// If the last dimension is odd.
pub fn geglu(x: &Tensor) -> Result<Tensor> {
    let double = x.dim(D::Minus1)?;
    if double % 2 != 0 {
        candle_core::bail!("a gated activation needs an even number of channels, got {double}")
    }
    let half = double / 2;
    if !is_cpu(x) {
        return x.narrow(D::Minus1, 0, half)?.contiguous()?
            * x.narrow(D::Minus1, half, half)?.contiguous()?.gelu_erf()?;
    }
    let x = x.contiguous()?;
    let from = view(&x)?;
    let from = &*from;
    let mut to = vec![0.0; from.len() / 2];
    let rows = rows_per_task(to.len() / half, 64);
    to.par_chunks_mut(rows * half).zip(from.par_chunks(rows * double)).for_each(|(to, from)| {
        vectorized(
            #[inline(always)]
            || {
                for (to, from) in to.chunks_exact_mut(half).zip(from.chunks_exact(double)) {
                    let (values, gates) = from.split_at(half);
                    for ((to, value), gate) in to.iter_mut().zip(values).zip(gates) {
                        *to = value * gelu(*gate);
                    }
                }
            },
        );
    });
    let mut shape = x.dims().to_vec();
    if let Some(last) = shape.last_mut() {
        *last = half;
    }
    tensor(to, shape)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::super::testing::{assert_close, random};
    use super::*;

    #[test]
    fn agree_with_candle_over_the_whole_range() {
        let x = Tensor::arange_step(-110f32, 110.0, 0.003_7, &Device::Cpu).expect("numbers");
        for (activation, expected) in
            [(Activation::Silu, x.silu()), (Activation::Gelu, x.gelu_erf()), (Activation::Relu, x.relu())]
        {
            assert_close(&activation.apply(&x).expect("ours"), &expected.expect("candle's"), 1e-6);
        }
        let small = (x / 100.0).expect("small numbers");
        assert_close(
            &Activation::Gelu.apply(&small).expect("ours"),
            &small.gelu_erf().expect("candle's"),
            1e-6,
        );
    }

    #[test]
    fn nan_and_infinity_stay_so() {
        let x = Tensor::new(&[1f32, f32::NAN, f32::INFINITY, -1.0], &Device::Cpu).expect("numbers");
        for activation in [Activation::Silu, Activation::Gelu, Activation::Relu] {
            let y: Vec<f32> = activation.apply(&x).and_then(|y| y.to_vec1()).expect("numbers");
            assert_eq!(
                [0, 1, 2, 3].map(|i| y[i].is_finite()),
                [true, false, false, true],
                "{activation:?}: {y:?}"
            );
        }
    }

    #[test]
    fn exponentials_are_within_two_units_in_the_last_place() {
        for i in -870_000..880_000 {
            let x = i as f32 * 1e-4;
            let (found, expected) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((found / expected - 1.0).abs() < 2.4e-7, "exp({x}) is {expected}, not {found}");
        }
        assert_eq!((exp(0.0), silu(-1e30), silu(1e30)), (1.0, -1e30 / (1.0 + exp(88.0)), 1e30));
    }

    #[test]
    fn gates_agree_with_candle() {
        let x = random(&[2, 70, 48], 1);
        let parts = x.chunk(2, 2).expect("halves");
        let expected = parts[1].contiguous().and_then(|gate| &parts[0] * gate.gelu_erf()?).expect("candle's");
        assert_close(&geglu(&x).expect("ours"), &expected, 1e-6);
        assert!(geglu(&random(&[2, 3], 1)).is_err());
    }
}
