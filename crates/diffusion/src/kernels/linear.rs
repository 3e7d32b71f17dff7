//! Linear layers.

use std::ops::Range;

use candle_core::{Result, Tensor};

use super::cpu::{is_cpu, prepared, tensor, view};
use super::project::{Initial, Rows, packed, project};

/// `y = x Wᵀ + b` on the last dimension.
#[derive(Clone, Debug)]
pub struct Linear {
    /// `[inputs, outputs]`, contiguous.
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    /// Takes the weight as PyTorch stores it, `[outputs, inputs]`, and the bias, `[outputs]`.
    ///
    /// # Errors
    /// If the weight is not a matrix.
    pub fn new(weight: &Tensor, bias: Option<&Tensor>) -> Result<Self> {
        let (outputs, inputs) = weight.dims2()?;
        let weight = if is_cpu(weight) {
            tensor(packed(&view(&prepared(weight)?)?, outputs, 1), (inputs, outputs))?
        } else {
            weight.t()?.contiguous()?
        };
        Ok(Self { weight, bias: bias.map(prepared).transpose()? })
    }

    /// Takes `[…, inputs]`, returns `[…, outputs]`.
    ///
    /// # Errors
    /// If the last dimension is not the number of inputs.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.forward_add(x, None)
    }

    /// The same, added to `residual`, which has the result's shape.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn forward_add(&self, x: &Tensor, residual: Option<&Tensor>) -> Result<Tensor> {
        let (inputs, outputs) = self.weight.dims2()?;
        let mut shape = x.dims().to_vec();
        match shape.last_mut() {
            Some(last) if *last == inputs => *last = outputs,
            _ => candle_core::bail!("a linear layer of {inputs} inputs got the shape {:?}", x.dims()),
        }
        if residual.is_some_and(|residual| residual.dims() != shape) {
            candle_core::bail!("the residual of a linear layer does not have its result's shape {shape:?}")
        }
        if !is_cpu(x) {
            return self.forward_on_accelerator(x, residual);
        }
        let x = x.contiguous()?;
        let residual = residual.map(Tensor::contiguous).transpose()?;
        let (x, weight) = (view(&x)?, view(&self.weight)?);
        let bias = self.bias.as_ref().map(view).transpose()?;
        let residual = residual.as_ref().map(view).transpose()?;
        let mut out = vec![0.0; x.len() / inputs * outputs];
        let start = Initial { bias: bias.as_deref(), residual: residual.as_deref(), ..Initial::default() };
        project(&mut out, &ContiguousRows { elements: &x, width: inputs }, &weight, start);
        tensor(out, shape)
    }

    fn forward_on_accelerator(&self, x: &Tensor, residual: Option<&Tensor>) -> Result<Tensor> {
        let mut y = match x.dims() {
            [n, t, _] => x.reshape((n * t, ()))?.matmul(&self.weight)?.reshape((*n, *t, ()))?,
            _ => x.matmul(&self.weight)?,
        };
        if let Some(bias) = &self.bias {
            y = y.broadcast_add(bias)?;
        }
        match residual {
            Some(residual) => y + residual,
            None => Ok(y),
        }
    }
}

/// Rows that lie in memory one after the other.
pub(super) struct ContiguousRows<'a> {
    pub(super) elements: &'a [f32],
    pub(super) width: usize,
}

impl Rows for ContiguousRows<'_> {
    fn width(&self) -> usize {
        self.width
    }

    fn contiguous(&self) -> Option<&[f32]> {
        Some(self.elements)
    }

    fn gather(&self, rows: Range<usize>, into: &mut [f32]) {
        into.copy_from_slice(&self.elements[rows.start * self.width..rows.end * self.width]);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, random};
    use super::*;

    #[test]
    fn agrees_with_candle() {
        let (weight, bias) = (random(&[24, 40], 1), random(&[24], 2));
        let reference = candle_nn::Linear::new(weight.clone(), Some(bias.clone()));
        let linear = Linear::new(&weight, Some(&bias)).expect("a layer");
        for shape in [vec![3, 40], vec![2, 7, 40], vec![2, 900, 40]] {
            let x = random(&shape, 3);
            let expected = candle_nn::Module::forward(&reference, &x).expect("candle's");
            assert_close(&linear.forward(&x).expect("ours"), &expected, 1e-5);
            assert_close(
                &linear.forward_on_accelerator(&x, None).expect("the accelerators'"),
                &expected,
                1e-5,
            );
            let residual = random(expected.dims(), 4);
            let expected = (expected + &residual).expect("a sum");
            assert_close(&linear.forward_add(&x, Some(&residual)).expect("ours"), &expected, 1e-5);
        }
        assert!(linear.forward(&random(&[3, 41], 1)).is_err());
        assert!(linear.forward_add(&random(&[3, 40], 1), Some(&random(&[2, 24], 1))).is_err());
    }
}
