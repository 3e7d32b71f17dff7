//! Transformers over the pixels of a level: diffusers' `Transformer2DModel` of `BasicTransformerBlock`s.

use candle_core::{Result, Tensor};

use super::config::{Level, UNetConfig};
use crate::kernels::{Conv2d, FeatureMap, GroupNorm, Heads, LayerNorm, Linear, attention, geglu};
use crate::layers::{Norm, conv, layer_norm, linear, linear_no_bias};
use crate::{ModelError, Weights};

/// How pixels become tokens and back.
enum Projection {
    Linear(Linear),
    Conv(Conv2d),
}

impl Projection {
    fn load(w: &Weights, channels: usize, is_linear: bool) -> std::result::Result<Self, ModelError> {
        Ok(match is_linear {
            true => Self::Linear(linear(w, channels, channels)?),
            false => Self::Conv(conv(w, channels, channels, 1)?),
        })
    }

    fn to_tokens(&self, x: &FeatureMap) -> Result<Tensor> {
        match self {
            Self::Linear(layer) => layer.forward(&x.to_tokens()?),
            Self::Conv(layer) => layer.forward(x)?.to_tokens(),
        }
    }

    fn to_map(&self, tokens: &Tensor, residual: &FeatureMap) -> Result<FeatureMap> {
        let [_, _, height, width] = residual.dims();
        match self {
            Self::Linear(layer) => {
                let tokens = layer.forward_add(tokens, Some(&residual.to_tokens()?))?;
                FeatureMap::from_tokens(&tokens, height, width)
            }
            Self::Conv(layer) => {
                let map = FeatureMap::from_tokens(tokens, height, width)?;
                layer.forward_add(&map, None, Some(residual))
            }
        }
    }
}

/// A transformer between two projections, around a skip connection.
pub(super) struct Transformer {
    norm: GroupNorm,
    proj_in: Projection,
    blocks: Vec<Block>,
    proj_out: Projection,
}

impl Transformer {
    pub(super) fn load(
        w: &Weights,
        config: &UNetConfig,
        level: &Level,
        only_cross_attention: bool,
    ) -> std::result::Result<Self, ModelError> {
        // Unlike every other norm of the network, this one's epsilon is not configurable in diffusers.
        let norm = Norm { groups: config.norm_num_groups, epsilon: 1e-6, activation: config.activation };
        let is_linear = config.use_linear_projection;
        let heads = Heads {
            count: level.heads,
            width: level.channels / level.heads,
            upcast: config.upcast_attention,
        };
        Ok(Self {
            norm: norm.load(&w.pp("norm"), level.channels)?,
            proj_in: Projection::load(&w.pp("proj_in"), level.channels, is_linear)?,
            blocks: (0..level.transformers)
                .map(|i| {
                    let w = w.pp("transformer_blocks").pp(i);
                    Block::load(&w, heads, level.context, only_cross_attention)
                })
                .collect::<std::result::Result<_, _>>()?,
            proj_out: Projection::load(&w.pp("proj_out"), level.channels, is_linear)?,
        })
    }

    /// `context` is the text, `[batch, tokens, width]`.
    pub(super) fn forward(&self, x: &FeatureMap, context: &Tensor) -> Result<FeatureMap> {
        let mut tokens = self.proj_in.to_tokens(&self.norm.forward(x, None)?)?;
        for block in &self.blocks {
            tokens = block.forward(&tokens, context)?;
        }
        self.proj_out.to_map(&tokens, x)
    }
}

struct Block {
    norm1: LayerNorm,
    attn1: Attention,
    norm2: LayerNorm,
    attn2: Attention,
    norm3: LayerNorm,
    ff_in: Linear,
    ff_out: Linear,
    only_cross_attention: bool,
}

impl Block {
    fn load(
        w: &Weights,
        heads: Heads,
        context: usize,
        only_cross_attention: bool,
    ) -> std::result::Result<Self, ModelError> {
        let width = heads.count * heads.width;
        let first = if only_cross_attention { context } else { width };
        Ok(Self {
            norm1: layer_norm(&w.pp("norm1"), width)?,
            attn1: Attention::load(&w.pp("attn1"), heads, first)?,
            norm2: layer_norm(&w.pp("norm2"), width)?,
            attn2: Attention::load(&w.pp("attn2"), heads, context)?,
            norm3: layer_norm(&w.pp("norm3"), width)?,
            ff_in: linear(&w.pp("ff.net.0.proj"), width, width * 8)?,
            ff_out: linear(&w.pp("ff.net.2"), width * 4, width)?,
            only_cross_attention,
        })
    }

    fn forward(&self, x: &Tensor, context: &Tensor) -> Result<Tensor> {
        let hidden = self.norm1.forward(x)?;
        let first = if self.only_cross_attention { context } else { &hidden };
        let x = self.attn1.forward(&hidden, first, x)?;
        let x = self.attn2.forward(&self.norm2.forward(&x)?, context, &x)?;
        let hidden = geglu(&self.ff_in.forward(&self.norm3.forward(&x)?)?)?;
        self.ff_out.forward_add(&hidden, Some(&x))
    }
}

struct Attention {
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    to_out: Linear,
    heads: Heads,
}

impl Attention {
    fn load(w: &Weights, heads: Heads, context: usize) -> std::result::Result<Self, ModelError> {
        let width = heads.count * heads.width;
        Ok(Self {
            to_q: linear_no_bias(&w.pp("to_q"), width, width)?,
            to_k: linear_no_bias(&w.pp("to_k"), context, width)?,
            to_v: linear_no_bias(&w.pp("to_v"), context, width)?,
            to_out: linear(&w.pp("to_out.0"), width, width)?,
            heads,
        })
    }

    fn forward(&self, x: &Tensor, context: &Tensor, residual: &Tensor) -> Result<Tensor> {
        let (q, k, v) = (self.to_q.forward(x)?, self.to_k.forward(context)?, self.to_v.forward(context)?);
        self.to_out.forward_add(&attention(&q, &k, &v, self.heads)?, Some(residual))
    }
}
