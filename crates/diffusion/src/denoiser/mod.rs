//! The denoiser: diffusers' `UNet2DConditionModel`, which predicts the noise (or the velocity) in latents.

mod blocks;
mod config;
mod time;
mod transformer;
mod unet;

pub use config::{Level, MidBlock, UNetConfig};
pub use time::guidance_embedding;
pub use unet::UNet;
