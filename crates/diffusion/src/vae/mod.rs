//! The decoders of autoencoders: from latents to pixels.

mod config;
mod kl;
mod tiny;

use candle_core::{DType, Device, Tensor};

use crate::{ModelError, ModelFiles};
use config::Config;
use kl::KlDecoder;
use tiny::TinyDecoder;

/// The decoder of whichever autoencoder a model folder has: `AutoencoderKL`, or `AutoencoderTiny` (TAESD).
pub struct Vae {
    network: Network,
    scaling_factor: f64,
    shift_factor: f64,
    latent_channels: usize,
    scale: usize,
    /// Floats per pixel in use at the finest level.
    channels_per_pixel: usize,
    dtype: DType,
}

enum Network {
    Kl(Box<KlDecoder>),
    Tiny(TinyDecoder),
}

impl Vae {
    /// Loads `vae/` of a model folder onto a device; in `f32` whatever `dtype` says if its configuration demands that.
    ///
    /// # Errors
    /// [`ModelError`] for a file that is missing, malformed, or asks for something that this network does not do.
    pub fn load(files: &ModelFiles, device: &Device, dtype: DType) -> Result<Self, ModelError> {
        let config = Config::load(files)?;
        let dtype = if config.force_upcast() { DType::F32 } else { dtype };
        let weights = crate::Weights::load(files, "vae", device, dtype)?;
        let (scaling_factor, shift_factor) = config.factors();
        let (latent_channels, scale) = (config.latent_channels(), config.scale());
        let channels_per_pixel = config.channels_per_pixel();
        let network = match config {
            Config::Kl(config) => Network::Kl(Box::new(KlDecoder::load(&config, &weights)?)),
            Config::Tiny(config) => Network::Tiny(TinyDecoder::load(&config, &weights.pp("decoder"))?),
        };
        Ok(Self { network, scaling_factor, shift_factor, latent_channels, scale, channels_per_pixel, dtype })
    }

    /// Channels of the latents.
    #[must_use]
    pub fn latent_channels(&self) -> usize {
        self.latent_channels
    }

    /// Pixels per latent, along each side.
    #[must_use]
    pub fn scale(&self) -> usize {
        self.scale
    }

    /// Turns the denoiser's latents, `[batch, latent_channels, height, width]`, into colours, `[batch, 3, height × scale,
    /// width × scale]`, between about −1 and 1, in `f32`.
    ///
    /// # Errors
    /// [`ModelError::Tensor`] if the shape does not fit.
    pub fn decode(&self, latents: &Tensor) -> Result<Tensor, ModelError> {
        let latents = latents.to_dtype(self.dtype)?.affine(1.0 / self.scaling_factor, self.shift_factor)?;
        let colours = match &self.network {
            Network::Kl(decoder) => decoder.forward(&latents)?,
            Network::Tiny(decoder) => decoder.forward(&latents)?,
        };
        Ok(colours.to_dtype(DType::F32)?)
    }

    /// An estimate of the bytes that decoding latents of this size takes beyond the weights.
    ///
    /// Everything happens at the finest level: there the first residual block holds its input twice (as it came, and
    /// normalized) and its output once, for every pixel.
    #[must_use]
    pub fn memory_needed(&self, height: usize, width: usize) -> u64 {
        let pixels = height * width * self.scale * self.scale;
        (pixels * self.channels_per_pixel * size_of::<f32>()) as u64
    }
}
