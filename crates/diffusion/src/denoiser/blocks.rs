//! The blocks of a level: on the way down, in the middle, on the way up.

use candle_core::{Result, Tensor};

use super::config::{Level, MidBlock, UNetConfig};
use super::transformer::Transformer;
use crate::kernels::{Conv2d, ConvShape, FeatureMap};
use crate::layers::{Norm, Resnet, conv, shaped_conv};
use crate::{ModelError, Weights};

type Loaded<T> = std::result::Result<T, ModelError>;

/// The inputs of all layers of a pass: the activated timestep embedding and the text.
pub(super) struct Conditions<'a> {
    pub(super) time: &'a Tensor,
    pub(super) context: &'a Tensor,
}

pub(super) fn norm(config: &UNetConfig) -> Norm {
    Norm { groups: config.norm_num_groups, epsilon: config.norm_eps, activation: config.activation }
}

/// A residual block, and a transformer behind it if the block has attention.
struct Layer {
    resnet: Resnet,
    transformer: Option<Transformer>,
}

impl Layer {
    fn forward(&self, x: &FeatureMap, conditions: &Conditions<'_>) -> Result<FeatureMap> {
        let x = self.resnet.forward(x, Some(conditions.time))?;
        match &self.transformer {
            Some(transformer) => transformer.forward(&x, conditions.context),
            None => Ok(x),
        }
    }
}

/// A block's layers, whose residual blocks take so many channels each.
fn layers(
    w: &Weights,
    config: &UNetConfig,
    level: &Level,
    attention: bool,
    inputs: &[usize],
) -> Loaded<Vec<Layer>> {
    let (norm, time) = (norm(config), Some(config.time_embed_dim));
    let transformer =
        |i: usize| Transformer::load(&w.pp("attentions").pp(i), config, level, level.only_cross_attention);
    inputs
        .iter()
        .enumerate()
        .map(|(i, inputs)| {
            Ok(Layer {
                resnet: Resnet::load(&w.pp("resnets").pp(i), *inputs, level.channels, time, norm)?,
                transformer: attention.then(|| transformer(i)).transpose()?,
            })
        })
        .collect()
}

/// diffusers' `CrossAttnDownBlock2D` and `DownBlock2D`.
pub(super) struct Down {
    layers: Vec<Layer>,
    downsample: Option<Conv2d>,
}

impl Down {
    /// `inputs` are the channels that come in; all but the last block halve the picture's sides.
    pub(super) fn load(w: &Weights, config: &UNetConfig, index: usize, inputs: usize) -> Loaded<Self> {
        let level = &config.levels[index];
        let mut channels = vec![level.channels; level.layers];
        channels[0] = inputs;
        let halve = ConvShape { kernel: 3, stride: 2, padding: 1 };
        let downsample = (index + 1 < config.levels.len())
            .then(|| shaped_conv(&w.pp("downsamplers.0.conv"), level.channels, level.channels, halve))
            .transpose()?;
        Ok(Self { layers: layers(w, config, level, level.attention_down, &channels)?, downsample })
    }

    /// Keeps what the way up will need in `skips`.
    pub(super) fn forward(
        &self,
        x: &FeatureMap,
        conditions: &Conditions<'_>,
        skips: &mut Vec<FeatureMap>,
    ) -> Result<FeatureMap> {
        let mut x = x.clone();
        for layer in &self.layers {
            x = layer.forward(&x, conditions)?;
            skips.push(x.clone());
        }
        if let Some(downsample) = &self.downsample {
            x = downsample.forward(&x)?;
            skips.push(x.clone());
        }
        Ok(x)
    }
}

/// diffusers' `UNetMidBlock2DCrossAttn`, or its first residual block alone, or nothing.
pub(super) struct Mid {
    first: Option<Resnet>,
    rest: Option<(Transformer, Resnet)>,
}

impl Mid {
    pub(super) fn load(w: &Weights, config: &UNetConfig, level: &Level) -> Loaded<Self> {
        let resnet = |i: usize| {
            let (c, time) = (level.channels, Some(config.time_embed_dim));
            Resnet::load(&w.pp("resnets").pp(i), c, c, time, norm(config))
        };
        let rest = (config.mid_block == MidBlock::CrossAttention)
            .then(|| {
                Ok::<_, ModelError>((
                    Transformer::load(&w.pp("attentions.0"), config, level, false)?,
                    resnet(1)?,
                ))
            })
            .transpose()?;
        Ok(Self { first: (config.mid_block != MidBlock::Absent).then(|| resnet(0)).transpose()?, rest })
    }

    pub(super) fn forward(&self, x: FeatureMap, conditions: &Conditions<'_>) -> Result<FeatureMap> {
        let mut x = x;
        if let Some(resnet) = &self.first {
            x = resnet.forward(&x, Some(conditions.time))?;
        }
        if let Some((transformer, resnet)) = &self.rest {
            x = resnet.forward(&transformer.forward(&x, conditions.context)?, Some(conditions.time))?;
        }
        Ok(x)
    }
}

/// diffusers' `CrossAttnUpBlock2D` and `UpBlock2D`.
pub(super) struct Up {
    layers: Vec<Layer>,
    upsample: Option<Conv2d>,
}

impl Up {
    /// The block of a level, counted from the finest; all but the finest double the picture's sides.
    pub(super) fn load(w: &Weights, config: &UNetConfig, index: usize) -> Loaded<Self> {
        let level = &config.levels[index];
        let below = config.levels.get(index + 1).unwrap_or(level).channels;
        let above = config.levels[index.saturating_sub(1)].channels;
        // Each residual block also takes a map from the way down: the last of them the one that entered this level.
        let inputs: Vec<usize> = (0..=level.layers)
            .map(|i| {
                let hidden = if i == 0 { below } else { level.channels };
                hidden + if i == level.layers { above } else { level.channels }
            })
            .collect();
        let upsample = (index > 0)
            .then(|| conv(&w.pp("upsamplers.0.conv"), level.channels, level.channels, 3))
            .transpose()?;
        Ok(Self { layers: layers(w, config, level, level.attention_up, &inputs)?, upsample })
    }

    /// Takes what it needs from the end of `skips`.
    pub(super) fn forward(
        &self,
        x: FeatureMap,
        conditions: &Conditions<'_>,
        skips: &mut Vec<FeatureMap>,
    ) -> Result<FeatureMap> {
        let mut x = x;
        for layer in &self.layers {
            let skip = skips.pop().ok_or_else(|| {
                candle_core::Error::Msg("no skip connection is left for this up block".into())
            })?;
            x = layer.forward(&x.concat(&skip)?, conditions)?;
        }
        match (&self.upsample, skips.last()) {
            (Some(upsample), Some(next)) => {
                // To the size of the map that it is joined with next: twice its own, or one less where that was odd.
                let [_, _, height, width] = next.dims();
                upsample.forward(&x.upsample_nearest(height, width)?)
            }
            _ => Ok(x),
        }
    }
}
