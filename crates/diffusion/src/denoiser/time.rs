//! How timesteps and guidance scales enter the network.

use candle_core::{Device, Result, Tensor};

use super::config::UNetConfig;
use crate::kernels::{Activation, Linear};
use crate::layers::{linear, linear_no_bias};
use crate::{ModelError, Weights};

/// Sines and cosines of falling frequencies: diffusers' `get_timestep_embedding`, computed in `f32` as it does.
fn sinusoids(value: f32, width: usize, shift: f64, cosines_first: bool) -> Vec<f32> {
    let half = width / 2;
    let steps = half as f64 - shift;
    let angles = (0..half).map(|i| value * (-(10_000f64.ln()) * i as f64 / steps).exp() as f32);
    let (sines, cosines): (Vec<f32>, Vec<f32>) = angles.map(f32::sin_cos).unzip();
    let mut embedding = if cosines_first { [cosines, sines].concat() } else { [sines, cosines].concat() };
    embedding.resize(width, 0.0);
    embedding
}

/// What models distilled with guidance (latent consistency models) take instead of a second pass: `[1, width]`.
///
/// # Errors
/// Only if the device has no memory for it.
pub fn guidance_embedding(guidance: f64, width: usize, device: &Device) -> Result<Tensor> {
    Tensor::from_vec(sinusoids(((guidance - 1.0) * 1000.0) as f32, width, 1.0, false), (1, width), device)
}

/// The timestep's embedding and the two layers behind it.
pub(super) struct TimeEmbedding {
    linear_1: Linear,
    linear_2: Linear,
    guidance: Option<Linear>,
    activation: Activation,
    width: usize,
    shift: f64,
    cosines_first: bool,
}

impl TimeEmbedding {
    pub(super) fn load(w: &Weights, config: &UNetConfig) -> std::result::Result<Self, ModelError> {
        let width = config.levels.first().map_or(0, |level| level.channels);
        Ok(Self {
            linear_1: linear(&w.pp("linear_1"), width, config.time_embed_dim)?,
            linear_2: linear(&w.pp("linear_2"), config.time_embed_dim, config.time_embed_dim)?,
            guidance: config
                .time_cond_proj_dim
                .map(|inputs| linear_no_bias(&w.pp("cond_proj"), inputs, width))
                .transpose()?,
            activation: config.activation,
            width,
            shift: config.freq_shift,
            cosines_first: config.flip_sin_to_cos,
        })
    }

    /// The embedding of one timestep for a batch like `sample`, activated for the residual blocks: `[batch, width]`.
    pub(super) fn forward(
        &self,
        timestep: f64,
        sample: &Tensor,
        guidance: Option<&Tensor>,
    ) -> Result<Tensor> {
        let embedding = sinusoids(timestep as f32, self.width, self.shift, self.cosines_first);
        let embedding =
            Tensor::from_vec(embedding, (1, self.width), sample.device())?.to_dtype(sample.dtype())?;
        let embedding = match (&self.guidance, guidance) {
            (Some(layer), Some(guidance)) => {
                layer.forward_add(&guidance.to_dtype(sample.dtype())?, Some(&embedding))?
            }
            _ => embedding,
        };
        let hidden = self.activation.apply(&self.linear_1.forward(&embedding)?)?;
        let embedding = self.activation.apply(&self.linear_2.forward(&hidden)?)?;
        embedding.repeat((sample.dim(0)?, 1))
    }
}
