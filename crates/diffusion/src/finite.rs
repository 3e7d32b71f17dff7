//! Checks that what a model computes is finite: damaged weights and overflows give NaN or infinity, which would become
//! a black picture.

use std::fmt;

use candle_core::{DType, Device, Tensor};

use crate::ModelError;

/// A part of a model that computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// Makes the conditioning of a prompt.
    TextEncoder,
    /// Predicts the noise, with the scheduler's formula around it.
    Denoiser {
        /// The step, from 1.
        step: usize,
        /// The number of steps.
        of: usize,
    },
    /// Decodes latents.
    Autoencoder,
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TextEncoder => f.write_str("text encoder"),
            Self::Denoiser { step, of } => write!(f, "denoiser at step {step} of {of}"),
            Self::Autoencoder => f.write_str("autoencoder"),
        }
    }
}

/// The tensor if all of its elements are finite.
///
/// # Errors
/// [`ModelError::NotFinite`] names the component. [`ModelError::Tensor`] if the tensor cannot be copied to the host.
pub(crate) fn check(tensor: Tensor, component: Component) -> Result<Tensor, ModelError> {
    if is_finite(&tensor)? { Ok(tensor) } else { Err(ModelError::NotFinite { component }) }
}

/// Whether all elements are finite. An accelerator's tensor is copied to the host, so only for small ones.
pub(crate) fn is_finite(tensor: &Tensor) -> Result<bool, ModelError> {
    let elements: Vec<f32> =
        tensor.to_dtype(DType::F32)?.to_device(&Device::Cpu)?.flatten_all()?.to_vec1()?;
    Ok(all_finite(&elements))
}

/// Whether all numbers are finite.
pub(crate) fn all_finite(numbers: &[f32]) -> bool {
    // Without a branch for each number, the compiler makes vector code of the inner loop.
    numbers.chunks(4_096).all(|part| part.iter().fold(true, |all, x| all & x.is_finite()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_number_of_many_counts() {
        for length in [1, 4_096, 10_000] {
            let mut numbers = vec![f32::MAX; length];
            assert!(all_finite(&numbers));
            for (at, wrong) in [(0, f32::NAN), (length / 2, f32::INFINITY), (length - 1, f32::NEG_INFINITY)] {
                let kept = std::mem::replace(&mut numbers[at], wrong);
                assert!(!all_finite(&numbers), "{wrong} at {at} of {length}");
                numbers[at] = kept;
            }
        }
        assert!(all_finite(&[]));
    }

    #[test]
    fn the_error_names_the_component() {
        let half =
            Tensor::new(&[1f32, 1e6], &Device::Cpu).and_then(|t| t.to_dtype(DType::F16)).expect("numbers");
        let error = check(half, Component::Denoiser { step: 3, of: 20 }).expect_err("an overflow in 16 bits");
        assert_eq!(error.to_string(), "the denoiser at step 3 of 20 computed NaN or infinity");
    }
}
