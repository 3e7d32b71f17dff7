//! The decoders of autoencoders: from latents to pixels.

mod config;
mod kl;
mod tiny;

use std::sync::OnceLock;

use candle_core::{DType, Device, Tensor};

use crate::finite::is_finite;
use crate::{ModelError, ModelFiles, Weights};
pub(crate) use config::Config as VaeConfig;
use config::Config;
use kl::KlDecoder;
use tiny::TinyDecoder;

/// The decoder of whichever autoencoder a model folder has: `AutoencoderKL`, or `AutoencoderTiny` (TAESD).
pub struct Vae {
    decoder: Decoder,
    /// For a decoder in 16 bits.
    upcast: Option<Upcast>,
    latent_channels: usize,
    scale: usize,
}

/// A decoder's network, and how latents are prepared for it.
struct Decoder {
    network: Network,
    scaling_factor: f64,
    shift_factor: f64,
    dtype: DType,
}

enum Network {
    Kl(Box<KlDecoder>),
    Tiny(TinyDecoder),
}

/// The same decoder in 32 bits, for latents that overflow in 16. It is loaded when it is first needed.
struct Upcast {
    config: Config,
    weights: Weights,
    decoder: OnceLock<Decoder>,
}

impl Vae {
    /// Loads `vae/` of a model folder onto a device; in `f32` whatever `dtype` says if its configuration demands that.
    ///
    /// # Errors
    /// [`ModelError`] for a file that is missing, malformed, or asks for something that this network does not do.
    pub fn load(files: &ModelFiles, device: &Device, dtype: DType) -> Result<Self, ModelError> {
        let config = Config::load(files)?;
        let dtype = if config.force_upcast() { DType::F32 } else { dtype };
        Self::with_weights(config, &Weights::load(files, "vae", device, dtype)?)
    }

    /// The decoder that the configuration describes, with these weights.
    ///
    /// # Errors
    /// [`ModelError::MissingTensor`] or [`ModelError::WrongShape`] if they do not fit.
    pub(crate) fn with_weights(config: Config, weights: &Weights) -> Result<Self, ModelError> {
        Ok(Self {
            decoder: Decoder::load(&config, weights)?,
            scale: config.scale(),
            latent_channels: config.latent_channels(),
            upcast: (weights.dtype() != DType::F32).then(|| Upcast::new(config, weights)),
        })
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
    /// width × scale]`, between about −1 and 1, in `f32`. Latents that overflow in 16 bits are decoded again in 32.
    ///
    /// # Errors
    /// [`ModelError::Tensor`] if the shape does not fit.
    pub fn decode(&self, latents: &Tensor) -> Result<Tensor, ModelError> {
        let colours = self.decoder.forward(latents)?;
        match &self.upcast {
            Some(upcast) if !is_finite(&colours)? => {
                tracing::warn!(
                    "the autoencoder overflowed in 16 bits, and decodes the image again in 32 bits"
                );
                Ok(upcast.decoder()?.forward(latents)?)
            }
            _ => Ok(colours),
        }
    }
}

impl Decoder {
    fn load(config: &Config, weights: &Weights) -> Result<Self, ModelError> {
        let (scaling_factor, shift_factor) = config.factors();
        let network = match config {
            Config::Kl(config) => Network::Kl(Box::new(KlDecoder::load(config, weights)?)),
            Config::Tiny(config) => Network::Tiny(TinyDecoder::load(config, &weights.pp("decoder"))?),
        };
        Ok(Self { network, scaling_factor, shift_factor, dtype: weights.dtype() })
    }

    /// The colours, in `f32`.
    fn forward(&self, latents: &Tensor) -> candle_core::Result<Tensor> {
        let latents = latents.to_dtype(self.dtype)?.affine(1.0 / self.scaling_factor, self.shift_factor)?;
        let colours = match &self.network {
            Network::Kl(decoder) => decoder.forward(&latents)?,
            Network::Tiny(decoder) => decoder.forward(&latents)?,
        };
        colours.to_dtype(DType::F32)
    }
}

impl Upcast {
    fn new(config: Config, weights: &Weights) -> Self {
        Self { config, weights: weights.with_dtype(DType::F32), decoder: OnceLock::new() }
    }

    fn decoder(&self) -> Result<&Decoder, ModelError> {
        if let Some(decoder) = self.decoder.get() {
            return Ok(decoder);
        }
        let decoder = Decoder::load(&self.config, &self.weights)?;
        Ok(self.decoder.get_or_init(|| decoder))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::fs;
    use std::path::{Path, PathBuf};

    use tempfile::TempDir;

    use super::*;
    use crate::golden::numbers;

    fn golden() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens/models/sd15")
    }

    /// A folder with the autoencoder of a golden, after these changes of its configuration and weights.
    fn changed(
        configure: impl FnOnce(&mut serde_json::Value),
        weigh: impl FnOnce(&mut HashMap<String, Tensor>),
    ) -> (TempDir, ModelFiles) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(folder.path().join("vae")).expect("a folder");
        fs::write(folder.path().join("model_index.json"), "{}").expect("an index");
        let config = fs::read_to_string(golden().join("vae/config.json")).expect("a configuration");
        let mut config = serde_json::from_str(&config).expect("JSON");
        configure(&mut config);
        fs::write(folder.path().join("vae/config.json"), config.to_string()).expect("a configuration");
        let weights = golden().join("vae/diffusion_pytorch_model.fp16.safetensors");
        let mut weights = candle_core::safetensors::load(weights, &Device::Cpu).expect("weights");
        weigh(&mut weights);
        let path = folder.path().join("vae/diffusion_pytorch_model.safetensors");
        candle_core::safetensors::save(&weights, path).expect("weights");
        let files = ModelFiles::folder(folder.path()).expect("a model");
        (folder, files)
    }

    fn load(files: &ModelFiles, dtype: DType) -> Vae {
        Vae::load(files, &Device::Cpu, dtype).expect("an autoencoder")
    }

    #[test]
    fn an_overflow_in_16_bits_is_decoded_again_in_32() {
        let (_folder, good) = changed(|_| {}, |_| {});
        let (_other, overflowing) = changed(
            |_| {},
            |weights| {
                let bias = Tensor::full(f32::INFINITY, 3, &Device::Cpu).expect("numbers");
                weights.insert("decoder.conv_out.bias".to_owned(), bias);
            },
        );
        let latents = Tensor::ones((1, 4, 2, 3), DType::F32, &Device::Cpu).expect("numbers");
        let expected = load(&good, DType::F32).decode(&latents).expect("colours");
        // The kernels for the processor have 32 bits only, so another decoder stands for the one in 16.
        let mut vae = load(&overflowing, DType::F32);
        assert!(!is_finite(&vae.decode(&latents).expect("colours")).expect("numbers"));
        let weights = Weights::load(&good, "vae", &Device::Cpu, DType::F16).expect("weights");
        vae.upcast = Some(Upcast::new(Config::load(&good).expect("a configuration"), &weights));
        for _ in 0..2 {
            assert_eq!(numbers(&vae.decode(&latents).expect("colours")), numbers(&expected));
        }
        // Other latents are decoded once.
        let mut vae = load(&good, DType::F32);
        vae.upcast = Some(Upcast::new(Config::load(&overflowing).expect("a configuration"), &weights));
        vae.decode(&latents).expect("colours");
        assert!(vae.upcast.is_some_and(|upcast| upcast.decoder.get().is_none()));
    }

    #[test]
    fn force_upcast_means_32_bits() {
        for (value, expected) in [(Some(true), DType::F32), (Some(false), DType::F16), (None, DType::F32)] {
            let (_folder, files) = changed(
                |config| {
                    let options = config.as_object_mut().expect("an object");
                    options.remove("force_upcast");
                    options.extend(value.map(|value| ("force_upcast".to_owned(), value.into())));
                },
                |_| {},
            );
            let vae = load(&files, DType::F16);
            assert_eq!(vae.decoder.dtype, expected, "{value:?}");
            assert_eq!(vae.upcast.is_some(), expected == DType::F16, "{value:?}");
        }
    }
}
