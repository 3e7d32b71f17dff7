//! The decoder of diffusers' `AutoencoderKL`.

use candle_core::{Result, Tensor};

use super::config::KlConfig;
use crate::kernels::{Conv2d, FeatureMap, GroupNorm, Heads, Linear, attention};
use crate::layers::{Norm, Resnet, conv, linear};
use crate::{ModelError, Weights};

type Loaded<T> = std::result::Result<T, ModelError>;

pub(super) struct KlDecoder {
    post_quant: Option<Conv2d>,
    conv_in: Conv2d,
    mid_first: Resnet,
    mid_attention: Option<MidAttention>,
    mid_second: Resnet,
    up: Vec<Up>,
    norm_out: GroupNorm,
    norm: Norm,
    conv_out: Conv2d,
}

impl KlDecoder {
    pub(super) fn load(config: &KlConfig, w: &Weights) -> Loaded<Self> {
        let norm = Norm { groups: config.norm_num_groups, epsilon: 1e-6, activation: config.activation };
        let (latent, channels) = (config.latent_channels, &config.block_out_channels);
        let (first, last) = (channels[0], channels[channels.len() - 1]);
        let post_quant =
            config.use_post_quant_conv.then(|| conv(&w.pp("post_quant_conv"), latent, latent, 1));
        let w = w.pp("decoder");
        let mid = w.pp("mid_block");
        let resnet = |i: usize| Resnet::load(&mid.pp("resnets").pp(i), last, last, None, norm);
        let attention =
            config.mid_block_add_attention.then(|| MidAttention::load(&mid.pp("attentions.0"), last, norm));
        let up = (0..channels.len())
            .map(|i| {
                // From the coarsest level, which is the last in the configuration.
                let outputs = channels[channels.len() - 1 - i];
                let inputs = channels[(channels.len() - i).min(channels.len() - 1)];
                let shape = UpShape { inputs, outputs, layers: config.layers_per_block + 1 };
                Up::load(&w.pp("up_blocks").pp(i), shape, i + 1 < channels.len(), norm)
            })
            .collect::<Loaded<_>>()?;
        Ok(Self {
            post_quant: post_quant.transpose()?,
            conv_in: conv(&w.pp("conv_in"), latent, last, 3)?,
            mid_first: resnet(0)?,
            mid_attention: attention.transpose()?,
            mid_second: resnet(1)?,
            up,
            norm_out: norm.load(&w.pp("conv_norm_out"), first)?,
            norm,
            conv_out: conv(&w.pp("conv_out"), first, 3, 3)?,
        })
    }

    /// Takes and returns `[batch, channels, height, width]`.
    pub(super) fn forward(&self, latents: &Tensor) -> Result<Tensor> {
        let mut x = FeatureMap::from_nchw(latents)?;
        if let Some(post_quant) = &self.post_quant {
            x = post_quant.forward(&x)?;
        }
        x = self.mid_first.forward(&self.conv_in.forward(&x)?, None)?;
        if let Some(attention) = &self.mid_attention {
            x = attention.forward(&x)?;
        }
        x = self.mid_second.forward(&x, None)?;
        for block in &self.up {
            x = block.forward(x)?;
        }
        x = self.norm_out.forward(&x, Some(self.norm.activation))?;
        self.conv_out.forward(&x)?.to_nchw()
    }
}

/// Attention of every pixel to every other, with one head.
struct MidAttention {
    norm: GroupNorm,
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
    channels: usize,
}

impl MidAttention {
    fn load(w: &Weights, channels: usize, norm: Norm) -> Loaded<Self> {
        // The names changed in diffusers 0.12; folders published before still have the old ones.
        let [q, k, v, out] = match w.contains("query.weight") {
            true => ["query", "key", "value", "proj_attn"],
            false => ["to_q", "to_k", "to_v", "to_out.0"],
        };
        let layer = |name: &str| linear(&w.pp(name), channels, channels);
        let norm = norm.load(&w.pp("group_norm"), channels)?;
        Ok(Self { norm, q: layer(q)?, k: layer(k)?, v: layer(v)?, out: layer(out)?, channels })
    }

    fn forward(&self, x: &FeatureMap) -> Result<FeatureMap> {
        let [_, _, height, width] = x.dims();
        let tokens = self.norm.forward(x, None)?.to_tokens()?;
        let (q, k, v) = (self.q.forward(&tokens)?, self.k.forward(&tokens)?, self.v.forward(&tokens)?);
        let heads = Heads { count: 1, width: self.channels, upcast: true };
        let tokens = self.out.forward_add(&attention(&q, &k, &v, heads)?, Some(&x.to_tokens()?))?;
        FeatureMap::from_tokens(&tokens, height, width)
    }
}

struct UpShape {
    inputs: usize,
    outputs: usize,
    layers: usize,
}

/// diffusers' `UpDecoderBlock2D`.
struct Up {
    resnets: Vec<Resnet>,
    upsample: Option<Conv2d>,
}

impl Up {
    fn load(w: &Weights, shape: UpShape, enlarges: bool, norm: Norm) -> Loaded<Self> {
        let UpShape { inputs, outputs, layers } = shape;
        let resnets = (0..layers)
            .map(|i| {
                let inputs = if i == 0 { inputs } else { outputs };
                Resnet::load(&w.pp("resnets").pp(i), inputs, outputs, None, norm)
            })
            .collect::<Loaded<_>>()?;
        let upsample = enlarges.then(|| conv(&w.pp("upsamplers.0.conv"), outputs, outputs, 3));
        Ok(Self { resnets, upsample: upsample.transpose()? })
    }

    fn forward(&self, x: FeatureMap) -> Result<FeatureMap> {
        let mut x = x;
        for resnet in &self.resnets {
            x = resnet.forward(&x, None)?;
        }
        let [_, _, height, width] = x.dims();
        match &self.upsample {
            Some(upsample) => upsample.forward(&x.upsample_nearest(height * 2, width * 2)?),
            None => Ok(x),
        }
    }
}
