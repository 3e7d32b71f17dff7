//! What `vae/config.json` says.

use std::ops::RangeInclusive;

use serde_json::json;

use crate::index::ModelIndex;
use crate::kernels::Activation;
use crate::options::Options;
use crate::{ModelError, ModelFiles};

const FILE: &str = "vae/config.json";
/// Bounds of what published decoders have, many times over.
const WIDTHS: RangeInclusive<usize> = 1..=16_384;
const LAYERS: RangeInclusive<usize> = 1..=64;
const MAX_LEVELS: usize = 8;
const CLASSES: &str = "AutoencoderKL, AutoencoderTiny";

/// The configuration of either autoencoder, checked.
pub(crate) enum Config {
    Kl(KlConfig),
    Tiny(TinyConfig),
}

/// The options of `AutoencoderKL` that shape its decoder.
pub(crate) struct KlConfig {
    pub(crate) block_out_channels: Vec<usize>,
    pub(crate) layers_per_block: usize,
    pub(crate) activation: Activation,
    pub(crate) latent_channels: usize,
    pub(crate) norm_num_groups: usize,
    pub(crate) use_post_quant_conv: bool,
    pub(crate) mid_block_add_attention: bool,
    scaling_factor: f64,
    shift_factor: f64,
    force_upcast: bool,
}

/// The options of `AutoencoderTiny` that shape its decoder.
pub(crate) struct TinyConfig {
    pub(crate) block_out_channels: Vec<usize>,
    pub(crate) num_blocks: Vec<usize>,
    pub(crate) activation: Activation,
    pub(crate) latent_channels: usize,
    pub(crate) upsampling: usize,
    scaling_factor: f64,
    shift_factor: f64,
    force_upcast: bool,
}

impl Config {
    /// Reads the file. Defaults are those of diffusers 0.35.
    pub(crate) fn load(files: &ModelFiles) -> Result<Self, ModelError> {
        let mut options = Options::load(files, FILE)?;
        let listed = ModelIndex::class_of(files, "vae", &options)?;
        // The class that it was saved from first: a tiny decoder may have been put into another model's folder.
        let config = match options.class().or(listed.name()) {
            None | Some("AutoencoderKL") => Self::Kl(KlConfig::read(&mut options)?),
            Some("AutoencoderTiny") => Self::Tiny(TinyConfig::read(&mut options)?),
            Some(_) if options.class().is_some() => return Err(options.unsupported("_class_name", CLASSES)),
            Some(_) => return Err(listed.unsupported(CLASSES)),
        };
        if config.factors().0 == 0.0 {
            return Err(options.unsupported("scaling_factor", "numbers other than 0"));
        }
        options.finish()?;
        Ok(config)
    }

    pub(crate) fn force_upcast(&self) -> bool {
        match self {
            Self::Kl(config) => config.force_upcast,
            Self::Tiny(config) => config.force_upcast,
        }
    }

    /// What latents are divided by, and what is added to them then.
    pub(crate) fn factors(&self) -> (f64, f64) {
        match self {
            Self::Kl(config) => (config.scaling_factor, config.shift_factor),
            Self::Tiny(config) => (config.scaling_factor, config.shift_factor),
        }
    }

    pub(crate) fn latent_channels(&self) -> usize {
        match self {
            Self::Kl(config) => config.latent_channels,
            Self::Tiny(config) => config.latent_channels,
        }
    }

    /// Floats per pixel in use at once at the finest level.
    pub(crate) fn channels_per_pixel(&self) -> usize {
        match self {
            Self::Kl(config) => {
                let finest = config.block_out_channels[0];
                2 * config.block_out_channels.get(1).unwrap_or(&finest) + finest
            }
            // A block's input, hidden map and output.
            Self::Tiny(config) => 3 * config.block_out_channels[0],
        }
    }

    /// An estimate of the bytes per latent that decoding takes beyond the weights.
    pub(crate) fn memory_per_latent(&self) -> u64 {
        (self.scale() * self.scale() * self.channels_per_pixel() * size_of::<f32>()) as u64
    }

    /// Pixels per latent, along each side.
    pub(crate) fn scale(&self) -> usize {
        match self {
            Self::Kl(config) => 1 << (config.block_out_channels.len() - 1),
            Self::Tiny(config) => config.upsampling.pow(config.block_out_channels.len() as u32 - 1),
        }
    }
}

impl KlConfig {
    fn read(options: &mut Options) -> Result<Self, ModelError> {
        let block_out_channels = options.sizes("block_out_channels", &[64], WIDTHS)?;
        let norm_num_groups = options.size("norm_num_groups", 32, WIDTHS)?;
        check_levels(options, "block_out_channels", &block_out_channels)?;
        if block_out_channels.iter().any(|channels| channels % norm_num_groups != 0) {
            return Err(
                options.unsupported("norm_num_groups", "a divisor of every one of `block_out_channels`")
            );
        }
        let types: Vec<String> = options.take("up_block_types", vec!["UpDecoderBlock2D".to_owned()])?;
        if types.len() != block_out_channels.len() || types.iter().any(|name| name != "UpDecoderBlock2D") {
            return Err(
                options.unsupported("up_block_types", "UpDecoderBlock2D for each of `block_out_channels`")
            );
        }
        options.require("out_channels", &[json!(3)])?;
        options.require("latents_mean", &[json!(null)])?;
        options.require("latents_std", &[json!(null)])?;
        // The encoder's, or about splitting pictures into tiles.
        options.ignore(&["in_channels", "down_block_types", "use_quant_conv", "sample_size"]);
        Ok(Self {
            block_out_channels,
            layers_per_block: options.size("layers_per_block", 1, LAYERS)?,
            activation: activation(options, "silu")?,
            latent_channels: options.size("latent_channels", 4, WIDTHS)?,
            norm_num_groups,
            use_post_quant_conv: options.flag_on_by_default("use_post_quant_conv")?,
            mid_block_add_attention: options.flag_on_by_default("mid_block_add_attention")?,
            scaling_factor: options.take("scaling_factor", 0.18215)?,
            shift_factor: options.take("shift_factor", 0.0)?,
            force_upcast: options.flag_on_by_default("force_upcast")?,
        })
    }
}

impl TinyConfig {
    fn read(options: &mut Options) -> Result<Self, ModelError> {
        let block_out_channels = options.sizes("decoder_block_out_channels", &[64; 4], WIDTHS)?;
        check_levels(options, "decoder_block_out_channels", &block_out_channels)?;
        let num_blocks = options.sizes("num_decoder_blocks", &[3, 3, 3, 1], 0..=*LAYERS.end())?;
        if num_blocks.len() != block_out_channels.len() {
            return Err(options
                .unsupported("num_decoder_blocks", "one number for each of `decoder_block_out_channels`"));
        }
        // The decoder's convolutions pass from level to level without changing the number of channels.
        if block_out_channels.windows(2).any(|pair| pair[0] != pair[1]) {
            return Err(options.unsupported("decoder_block_out_channels", "the same number for every level"));
        }
        let upsampling = options.size("upsampling_scaling_factor", 2, 1..=8)?;
        options.require("out_channels", &[json!(3)])?;
        options.require("upsample_fn", &[json!("nearest")])?;
        // The encoder's, or the scaling of latents to pictures of their own.
        options.ignore(&[
            "in_channels",
            "encoder_block_out_channels",
            "num_encoder_blocks",
            "block_out_channels",
        ]);
        options.ignore(&["latent_magnitude", "latent_shift"]);
        Ok(Self {
            block_out_channels,
            num_blocks,
            activation: activation(options, "relu")?,
            latent_channels: options.size("latent_channels", 4, WIDTHS)?,
            upsampling,
            scaling_factor: options.take("scaling_factor", 1.0)?,
            shift_factor: options.take("shift_factor", 0.0)?,
            force_upcast: options.flag("force_upcast")?,
        })
    }
}

fn check_levels(options: &Options, option: &str, channels: &[usize]) -> Result<(), ModelError> {
    match (1..=MAX_LEVELS).contains(&channels.len()) {
        true => Ok(()),
        false => Err(options.unsupported(option, &format!("1 to {MAX_LEVELS} numbers"))),
    }
}

fn activation(options: &mut Options, default: &str) -> Result<Activation, ModelError> {
    Activation::named(&options.take("act_fn", default.to_owned())?)
        .ok_or_else(|| options.unsupported("act_fn", "silu, swish, gelu or relu"))
}
