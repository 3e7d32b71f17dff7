//! What the text encoder needs beyond the kernels. Prompts are short, so the tensor library's own operations do.

use candle_core::{DType, Device, Result, Tensor};

use crate::kernels;

/// What lies between the two layers of a feed-forward block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Activation {
    /// `x · Φ(x)`, by the exact error function.
    Gelu,
    /// `x · sigmoid(1.702 x)`, CLIP's own.
    QuickGelu,
}

impl Activation {
    /// The names that [`Activation::named`] knows.
    pub(super) const NAMES: &'static str = "gelu, quick_gelu";

    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "gelu" => Some(Self::Gelu),
            "quick_gelu" => Some(Self::QuickGelu),
            _ => None,
        }
    }

    pub(super) fn apply(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Gelu => kernels::Activation::Gelu.apply(x),
            Self::QuickGelu => x / ((x * -1.702)?.exp()? + 1.0)?,
        }
    }
}

/// What is added to attention's scores so that a token sees itself and those before it: `[length, length]`.
pub(super) fn causal_mask(length: usize, dtype: DType, device: &Device) -> Result<Tensor> {
    let mask: Vec<f32> =
        (0..length * length).map(|i| if i % length > i / length { f32::NEG_INFINITY } else { 0.0 }).collect();
    Tensor::from_vec(mask, (length, length), device)?.to_dtype(dtype)
}

/// Attention with several heads: `q`, `k`, `v` and the result are `[batch, length, width]`.
pub(super) fn attention(projected: [Tensor; 3], mask: &Tensor, heads: usize) -> Result<Tensor> {
    let (batch, length, width) = projected[0].dims3()?;
    let split = |x: &Tensor| x.reshape((batch, length, heads, width / heads))?.transpose(1, 2)?.contiguous();
    let [q, k, v] = [split(&projected[0])?, split(&projected[1])?, split(&projected[2])?];
    let scale = ((width / heads) as f64).powf(-0.5);
    let scores = (q * scale)?.matmul(&k.t()?)?.broadcast_add(mask)?;
    // The softmax of 16-bit scores is computed in 32 bits, as the reference does.
    let weights = kernels::softmax(&scores.to_dtype(DType::F32)?)?.to_dtype(v.dtype())?;
    weights.matmul(&v)?.transpose(1, 2)?.reshape((batch, length, width))
}
