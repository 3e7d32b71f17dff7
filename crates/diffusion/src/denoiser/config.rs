//! What `unet/config.json` says.

use std::ops::RangeInclusive;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::index::ModelIndex;
use crate::kernels::Activation;
use crate::options::Options;
use crate::{ModelError, ModelFiles};

const FILE: &str = "unet/config.json";

/// Bounds of what published networks have, many times over. They keep a malformed configuration from allocating
/// memory before its sizes are compared with the weights.
const WIDTHS: RangeInclusive<usize> = 1..=65_536;
const LAYERS: RangeInclusive<usize> = 1..=64;
const KERNELS: RangeInclusive<usize> = 1..=15;
const MAX_LEVELS: usize = 16;
/// In latents: with the largest decoder, 131,072 pixels.
const SIDES: RangeInclusive<usize> = 1..=1024;

/// One resolution of the network: a block on the way down and one on the way up.
#[derive(Clone, Debug, PartialEq)]
pub struct Level {
    /// Channels that the blocks work with.
    pub channels: usize,
    /// Residual blocks on the way down; the way up has one more.
    pub layers: usize,
    /// Attention heads. Configurations call this `attention_head_dim`, by an old mistake that diffusers keeps.
    pub heads: usize,
    /// Transformer blocks after each residual block.
    pub transformers: usize,
    /// Width of the text features.
    pub context: usize,
    /// Whether the first attention of a transformer block also looks at the text.
    pub only_cross_attention: bool,
    /// Whether there is attention on the way down.
    pub attention_down: bool,
    /// Whether there is attention on the way up.
    pub attention_up: bool,
}

/// What lies between the ways down and up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MidBlock {
    /// Nothing.
    Absent,
    /// One residual block.
    Residual,
    /// A transformer between two residual blocks.
    CrossAttention,
}

/// The options that shape the network, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct UNetConfig {
    /// Height and width of the latents that the model was trained on, if the file says so.
    pub sample_size: Option<[usize; 2]>,
    /// Latent channels that go in.
    pub in_channels: usize,
    /// Latent channels that come out.
    pub out_channels: usize,
    /// Whether latents are mapped from 0…1 to −1…1 first.
    pub center_input_sample: bool,
    /// Whether the timestep's cosines come before its sines.
    pub flip_sin_to_cos: bool,
    /// Shift of the timestep's frequencies.
    pub freq_shift: f64,
    /// Width of the timestep's embedding.
    pub time_embed_dim: usize,
    /// Width of the guidance scale's embedding, in models distilled to take one.
    pub time_cond_proj_dim: Option<usize>,
    /// The resolutions, from the finest.
    pub levels: Vec<Level>,
    /// What lies between the ways down and up.
    pub mid_block: MidBlock,
    /// Groups of every group norm.
    pub norm_num_groups: usize,
    /// Added to variances.
    pub norm_eps: f64,
    /// The activation function.
    pub activation: Activation,
    /// Whether transformers project by linear layers instead of 1×1 convolutions.
    pub use_linear_projection: bool,
    /// Whether attention scores are computed in `f32`.
    pub upcast_attention: bool,
    /// Kernel size of the first convolution.
    pub conv_in_kernel: usize,
    /// Kernel size of the last convolution.
    pub conv_out_kernel: usize,
}

/// A size that is one number for a square, or height and width.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum Size {
    Square(usize),
    Sides([usize; 2]),
}

impl Size {
    pub(crate) fn sides(&self) -> [usize; 2] {
        match self {
            Self::Square(side) => [*side, *side],
            Self::Sides(sides) => *sides,
        }
    }
}

impl UNetConfig {
    /// Reads the file. Defaults are those of diffusers 0.35.
    ///
    /// # Errors
    /// [`ModelError`] naming the file, and the option if it is one that this network does not do.
    pub fn load(files: &ModelFiles) -> Result<Self, ModelError> {
        let mut options = Options::load(files, FILE)?;
        let class = ModelIndex::class_of(files, "unet", &options)?;
        if class.name().is_some_and(|name| name != "UNet2DConditionModel") {
            return Err(class.unsupported("UNet2DConditionModel"));
        }
        reject_unsupported(&mut options)?;
        let levels = levels(&mut options)?;
        let first = levels.first().map_or(0, |level| level.channels);
        let mid_block =
            match options.nullable("mid_block_type", "UNetMidBlock2DCrossAttn".to_owned())?.as_deref() {
                None => MidBlock::Absent,
                Some("UNetMidBlock2D") => MidBlock::Residual,
                Some("UNetMidBlock2DCrossAttn") => MidBlock::CrossAttention,
                Some(_) => {
                    let supported = "UNetMidBlock2DCrossAttn, UNetMidBlock2D or null";
                    return Err(options.unsupported("mid_block_type", supported));
                }
            };
        let time_cond_proj_dim: Option<usize> = options.optional("time_cond_proj_dim")?;
        // The frequencies of fewer would divide by zero.
        options.check_sizes("time_cond_proj_dim", time_cond_proj_dim.as_slice(), &(4..=*WIDTHS.end()))?;
        let config = Self {
            sample_size: sample_size(&mut options)?,
            in_channels: options.size("in_channels", 4, WIDTHS)?,
            out_channels: options.size("out_channels", 4, WIDTHS)?,
            center_input_sample: options.flag("center_input_sample")?,
            flip_sin_to_cos: options.flag_on_by_default("flip_sin_to_cos")?,
            freq_shift: options.take("freq_shift", 0.0)?,
            time_embed_dim: options.size("time_embedding_dim", first * 4, 1..=4 * WIDTHS.end())?,
            time_cond_proj_dim,
            levels,
            mid_block,
            norm_num_groups: options.size("norm_num_groups", 32, WIDTHS)?,
            norm_eps: options.take("norm_eps", 1e-5)?,
            activation: Activation::named(&options.take("act_fn", "silu".to_owned())?)
                .ok_or_else(|| options.unsupported("act_fn", "silu, swish, gelu or relu"))?,
            use_linear_projection: options.flag("use_linear_projection")?,
            upcast_attention: options.flag("upcast_attention")?,
            conv_in_kernel: options.size("conv_in_kernel", 3, KERNELS)?,
            conv_out_kernel: options.size("conv_out_kernel", 3, KERNELS)?,
        };
        config.check(&options)?;
        options.finish()?;
        Ok(config)
    }

    /// An estimate of the bytes per latent that one guided pass takes beyond the weights.
    ///
    /// The finest level decides: for each latent of the batch of 2 it keeps a map per layer for the way up. While a
    /// feed-forward layer runs, fourteen times the level's channels are in use beside them: its input twice, its gates
    /// and values (8), their product (4). Coarser levels hold a quarter of the pixels each and no more than four times
    /// the channels.
    pub(crate) fn memory_per_latent(&self) -> u64 {
        let Some(level) = self.levels.first() else { return 0 };
        (2 * level.channels * (14 + 2 * (level.layers + 2)) * size_of::<f32>()) as u64
    }

    /// The levels with attention; the heads and the text features of the others have no effect.
    pub(crate) fn attending(&self) -> impl Iterator<Item = &Level> {
        let middle = (self.mid_block == MidBlock::CrossAttention).then(|| self.levels.last()).flatten();
        self.levels.iter().filter(|level| level.attention_down || level.attention_up).chain(middle)
    }

    fn check(&self, options: &Options) -> Result<(), ModelError> {
        let groups = self.norm_num_groups;
        if self.levels.iter().any(|level| level.channels % groups != 0) {
            return Err(
                options.unsupported("norm_num_groups", "a divisor of every one of `block_out_channels`")
            );
        }
        if self.attending().any(|level| level.channels % level.heads != 0) {
            return Err(options
                .unsupported("attention_head_dim", "divisors of `block_out_channels`: numbers of heads"));
        }
        let half = self.levels.first().map_or(0, |level| level.channels / 2);
        if !(0.0..half as f64).contains(&self.freq_shift) {
            return Err(options.unsupported("freq_shift", "0 to half of the first of `block_out_channels`"));
        }
        for (option, kernel) in
            [("conv_in_kernel", self.conv_in_kernel), ("conv_out_kernel", self.conv_out_kernel)]
        {
            if kernel % 2 == 0 {
                return Err(options.unsupported(option, "odd numbers"));
            }
        }
        Ok(())
    }
}

/// The size of the latents. diffusers before version 0.9 wrote 32, which nothing was trained on; as in
/// `StableDiffusionPipeline`, a side below 64 of that age means 64.
fn sample_size(options: &mut Options) -> Result<Option<[usize; 2]>, ModelError> {
    let size: Option<Size> = options.optional("sample_size")?;
    if let Some(size) = &size {
        options.check_sizes("sample_size", &size.sides(), &SIDES)?;
    }
    let version = options.value("_diffusers_version").and_then(Value::as_str);
    Ok(match size {
        Some(Size::Square(side)) if side < 64 && version.is_some_and(is_before_0_9) => Some([64; 2]),
        size => size.as_ref().map(Size::sides),
    })
}

/// Whether a version of diffusers, such as `0.8.0.dev0`, is older than `0.9.0.dev0`.
fn is_before_0_9(version: &str) -> bool {
    let mut numbers = version.split('.').map(str::parse::<u64>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) < (0, 9),
        _ => false,
    }
}

fn levels(options: &mut Options) -> Result<Vec<Level>, ModelError> {
    let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let cross = "CrossAttnDownBlock2D";
    let down: Vec<String> = options.take("down_block_types", names(&[cross, cross, cross, "DownBlock2D"]))?;
    let cross = "CrossAttnUpBlock2D";
    let up: Vec<String> = options.take("up_block_types", names(&["UpBlock2D", cross, cross, cross]))?;
    let channels = options.sizes("block_out_channels", &[320, 640, 1280, 1280], WIDTHS)?;
    let count = channels.len();
    if !(1..=MAX_LEVELS).contains(&count) {
        return Err(options.unsupported("block_out_channels", &format!("1 to {MAX_LEVELS} numbers")));
    }
    for (option, types) in [("down_block_types", &down), ("up_block_types", &up)] {
        if types.len() != count {
            return Err(options.unsupported(option, &format!("{count} blocks, as `block_out_channels` has")));
        }
    }
    let attends = |option: &str, name: &str, with: &str, without: &str| match name {
        _ if name == with => Ok(true),
        _ if name == without => Ok(false),
        _ => Err(options.unsupported(option, &format!("{with} and {without}"))),
    };
    let attention_down = down
        .iter()
        .map(|name| attends("down_block_types", name, "CrossAttnDownBlock2D", "DownBlock2D"))
        .collect::<Result<Vec<_>, _>>()?;
    let attention_up = up
        .iter()
        .rev()
        .map(|name| attends("up_block_types", name, "CrossAttnUpBlock2D", "UpBlock2D"))
        .collect::<Result<Vec<_>, _>>()?;
    let layers = options.sizes_per_level("layers_per_block", 2, count, LAYERS)?;
    let heads = options.sizes_per_level("attention_head_dim", 8, count, WIDTHS)?;
    let transformers =
        options.sizes_per_level("transformer_layers_per_block", 1, count, 0..=*LAYERS.end())?;
    let context = options.sizes_per_level("cross_attention_dim", 1280, count, WIDTHS)?;
    let only_cross_attention = options.flags_per_level("only_cross_attention", count)?;
    Ok((0..count)
        .map(|i| Level {
            channels: channels[i],
            layers: layers[i],
            heads: heads[i],
            transformers: transformers[i],
            context: context[i],
            only_cross_attention: only_cross_attention[i],
            attention_down: attention_down[i],
            attention_up: attention_up[i],
        })
        .collect())
}

fn reject_unsupported(options: &mut Options) -> Result<(), ModelError> {
    let null = &[json!(null)];
    for option in [
        "addition_embed_type",
        "class_embed_type",
        "cross_attention_norm",
        "encoder_hid_dim",
        "encoder_hid_dim_type",
        "num_attention_heads",
        "num_class_embeds",
        "reverse_transformer_layers_per_block",
        "time_embedding_act_fn",
        "timestep_post_act",
    ] {
        options.require(option, null)?;
    }
    for (option, supported) in [
        ("attention_type", json!("default")),
        ("class_embeddings_concat", json!(false)),
        ("downsample_padding", json!(1)),
        ("dual_cross_attention", json!(false)),
        ("mid_block_scale_factor", json!(1)),
        ("resnet_out_scale_factor", json!(1.0)),
        ("resnet_skip_time_act", json!(false)),
        ("resnet_time_scale_shift", json!("default")),
        ("time_embedding_type", json!("positional")),
    ] {
        options.require(option, &[supported])?;
    }
    options.require("mid_block_only_cross_attention", &[json!(null), json!(false)])?;
    // Of use in training, or to options refused above.
    options.ignore(&["addition_embed_type_num_heads", "dropout"]);
    options.ignore(&["addition_time_embed_dim", "projection_class_embeddings_input_dim"]);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_before_0_9_are_recognized() {
        for (version, old) in [
            ("0.2.2", true),
            ("0.6.0", true),
            ("0.8.0.dev0", true),
            ("0.8.1", true),
            ("0.9.0.dev0", false),
            ("0.9.0", false),
            ("0.10.2", false),
            ("0.35.2", false),
            ("1.0", false),
            ("1", false),
            ("", false),
            ("main", false),
        ] {
            assert_eq!(is_before_0_9(version), old, "{version}");
        }
    }
}
