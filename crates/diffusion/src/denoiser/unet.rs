//! The whole network.

use candle_core::{DType, Device, Tensor};

use super::blocks::{Conditions, Down, Mid, Up, norm};
use super::config::UNetConfig;
use super::time::TimeEmbedding;
use crate::kernels::{Conv2d, FeatureMap, GroupNorm};
use crate::layers::conv;
use crate::{ModelError, ModelFiles, Weights};

/// A denoiser with its weights.
pub struct UNet {
    config: UNetConfig,
    time: TimeEmbedding,
    conv_in: Conv2d,
    down: Vec<Down>,
    mid: Mid,
    up: Vec<Up>,
    norm_out: GroupNorm,
    conv_out: Conv2d,
    dtype: DType,
}

impl UNet {
    /// Loads `unet/` of a model folder onto a device.
    ///
    /// # Errors
    /// [`ModelError`] for a file that is missing, malformed, or asks for something that this network does not do.
    pub fn load(files: &ModelFiles, device: &Device, dtype: DType) -> Result<Self, ModelError> {
        let config = UNetConfig::load(files)?;
        let weights = Weights::load(files, "unet", device, dtype)?;
        Self::with_weights(config, &weights)
    }

    /// The network that the configuration describes, with these weights.
    ///
    /// # Errors
    /// [`ModelError::MissingTensor`] or [`ModelError::WrongShape`] if they do not fit.
    pub fn with_weights(config: UNetConfig, w: &Weights) -> Result<Self, ModelError> {
        let count = config.levels.len();
        let (Some(first), Some(last)) = (config.levels.first(), config.levels.last()) else {
            return Err(ModelError::unsupported(
                "unet/config.json",
                "block_out_channels",
                "[]",
                "at least one level",
            ));
        };
        let down = (0..count)
            .map(|i| {
                let inputs = config.levels[i.saturating_sub(1)].channels;
                Down::load(&w.pp("down_blocks").pp(i), &config, i, inputs)
            })
            .collect::<Result<_, _>>()?;
        let up = (0..count)
            .map(|i| Up::load(&w.pp("up_blocks").pp(i), &config, count - 1 - i))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            time: TimeEmbedding::load(&w.pp("time_embedding"), &config)?,
            conv_in: conv(&w.pp("conv_in"), config.in_channels, first.channels, config.conv_in_kernel)?,
            down,
            mid: Mid::load(&w.pp("mid_block"), &config, last)?,
            up,
            norm_out: norm(&config).load(&w.pp("conv_norm_out"), first.channels)?,
            conv_out: conv(&w.pp("conv_out"), first.channels, config.out_channels, config.conv_out_kernel)?,
            dtype: w.dtype(),
            config,
        })
    }

    /// What it was loaded from.
    #[must_use]
    pub fn config(&self) -> &UNetConfig {
        &self.config
    }

    /// Predicts what the model was trained to, of the latents' shape.
    ///
    /// `latents` is `[batch, in_channels, height, width]`; `context` the text, `[batch, tokens, width]`; `guidance`, for models
    /// that take one, comes from [`guidance_embedding`](super::guidance_embedding).
    ///
    /// # Errors
    /// [`ModelError::Tensor`] if the shapes do not fit the model.
    pub fn forward(
        &self,
        latents: &Tensor,
        timestep: f64,
        context: &Tensor,
        guidance: Option<&Tensor>,
    ) -> Result<Tensor, ModelError> {
        let latents = latents.to_dtype(self.dtype)?;
        let context = context.to_dtype(self.dtype)?.contiguous()?;
        let latents = if self.config.center_input_sample { latents.affine(2.0, -1.0)? } else { latents };
        let time = self.time.forward(timestep, &latents, guidance)?;
        let conditions = Conditions { time: &time, context: &context };

        let mut x = self.conv_in.forward(&FeatureMap::from_nchw(&latents)?)?;
        let mut skips = vec![x.clone()];
        for block in &self.down {
            x = block.forward(&x, &conditions, &mut skips)?;
        }
        x = self.mid.forward(x, &conditions)?;
        for block in &self.up {
            x = block.forward(x, &conditions, &mut skips)?;
        }
        let x = self.norm_out.forward(&x, Some(self.config.activation))?;
        Ok(self.conv_out.forward(&x)?.to_nchw()?)
    }
}
