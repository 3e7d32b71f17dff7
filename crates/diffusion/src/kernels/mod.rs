//! What the networks are made of: convolution, linear layers, norms, attention and activations.
//!
//! The model code calls nothing else, so that an operation can be made faster here without touching it. Every operation
//! takes `f32` tensors on the CPU through our own code, and tensors of any type on an accelerator through candle's. The two keep pictures
//! in different orders ([`FeatureMap`]): on the CPU the channels of a pixel lie side by side, which turns a 1×1 convolution into
//! a plain matrix product, tokens into a matter of naming, and the rows of every other convolution into whole-block copies.
//!
//! The CPU code is safe Rust over the `gemm` crate, which chooses AVX-512, AVX2 or NEON when the program runs; loops are compiled once for
//! each of them by `pulp`. Work is split over the rayon pool that the caller runs in.

/// The version of the CPU kernels' arithmetic. Raise it with every change that can change a pixel.
pub(crate) const VERSION: u32 = 1;

mod activation;
mod attention;
mod conv;
mod cpu;
mod feature_map;
mod gemm;
mod linear;
mod norm;
mod project;

pub use activation::{Activation, geglu};
pub(crate) use attention::softmax;
pub use attention::{Heads, attention};
pub use conv::{Conv2d, ConvShape};
pub use feature_map::FeatureMap;
pub use linear::Linear;
pub use norm::{GroupNorm, LayerNorm};

#[cfg(test)]
mod testing;
