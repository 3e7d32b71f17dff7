//! The local engine: Stable Diffusion in Rust on candle tensors.
//!
//! Everything is read from a model folder in the layout that diffusers publishes ([`ModelFiles`]): what the networks look like,
//! how the noise is taken away, how text becomes tokens. Nothing about a model is written in the code, and an option
//! that a folder sets but this code does not know is an error that names it. Only what is known to have no effect on images
//! is ignored.

mod defaults;
pub mod denoiser;
mod engine;
mod error;
mod files;
mod finite;
mod foreign;
#[cfg(test)]
mod golden;
pub mod hub;
mod index;
pub mod kernels;
mod layers;
mod model_hash;
pub mod noise;
mod options;
pub mod pipeline;
mod plan;
mod preview;
mod revision;
pub mod schedule;
pub mod text;
pub mod vae;
mod weights;

pub use engine::{DeviceChoice, DiffusionEngine, EngineOptions};
pub use error::ModelError;
pub use files::{EmbeddedFiles, ModelFiles};
pub use finite::Component;
pub use foreign::FileKind;
pub use weights::Weights;
