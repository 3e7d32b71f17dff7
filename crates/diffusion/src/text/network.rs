//! CLIP's text transformer.

use candle_core::{Result, Tensor};

use super::config::TextConfig;
use super::ops::{Activation, attention, causal_mask};
use crate::kernels::{LayerNorm, Linear};
use crate::layers::linear;
use crate::{ModelError, Weights};

/// `text_model` of transformers' `CLIPTextModel`: token and position embeddings, pre-norm blocks with causal attention, a
/// final norm.
pub(super) struct Network {
    /// `[vocabulary, width]`
    tokens: Tensor,
    /// `[positions, width]`
    positions: Tensor,
    blocks: Vec<Block>,
    norm: LayerNorm,
}

impl Network {
    pub(super) fn load(config: &TextConfig, weights: &Weights) -> std::result::Result<Self, ModelError> {
        let width = config.hidden_size;
        let embeddings = weights.pp("embeddings");
        let layers = weights.pp("encoder.layers");
        Ok(Self {
            tokens: embeddings.get((config.vocab_size, width), "token_embedding.weight")?,
            positions: embeddings
                .get((config.max_position_embeddings, width), "position_embedding.weight")?,
            blocks: (0..config.num_hidden_layers)
                .map(|i| Block::load(config, &layers.pp(i)))
                .collect::<std::result::Result<_, _>>()?,
            norm: layer_norm(&weights.pp("final_layer_norm"), width, config.layer_norm_eps)?,
        })
    }

    /// `[prompts, length, width]` of prompts that are all of one length.
    pub(super) fn forward(&self, prompts: &[&[u32]]) -> Result<Tensor> {
        let length = prompts.first().map_or(0, |prompt| prompt.len());
        if length == 0 || prompts.iter().any(|prompt| prompt.len() != length) {
            candle_core::bail!(
                "at least one prompt is required, and all prompts must have the same number of tokens, at least 1"
            );
        }
        let (device, width) = (self.tokens.device(), self.tokens.dim(1)?);
        let ids = Tensor::new(prompts.concat(), device)?;
        let embedded = self.tokens.index_select(&ids, 0)?.reshape((prompts.len(), length, width))?;
        let mut x = embedded.broadcast_add(&self.positions.narrow(0, 0, length)?)?;
        let mask = causal_mask(length, x.dtype(), device)?;
        for block in &self.blocks {
            x = block.forward(&x, &mask)?;
        }
        self.norm.forward(&x)
    }
}

struct Block {
    norm1: LayerNorm,
    projections: [Linear; 3],
    out: Linear,
    heads: usize,
    norm2: LayerNorm,
    fc1: Linear,
    activation: Activation,
    fc2: Linear,
}

impl Block {
    fn load(config: &TextConfig, weights: &Weights) -> std::result::Result<Self, ModelError> {
        let (width, inner, epsilon) = (config.hidden_size, config.intermediate_size, config.layer_norm_eps);
        let square = |name: &str| linear(&weights.pp("self_attn").pp(name), width, width);
        Ok(Self {
            norm1: layer_norm(&weights.pp("layer_norm1"), width, epsilon)?,
            projections: [square("q_proj")?, square("k_proj")?, square("v_proj")?],
            out: square("out_proj")?,
            heads: config.num_attention_heads,
            norm2: layer_norm(&weights.pp("layer_norm2"), width, epsilon)?,
            fc1: linear(&weights.pp("mlp.fc1"), width, inner)?,
            activation: config.activation,
            fc2: linear(&weights.pp("mlp.fc2"), inner, width)?,
        })
    }

    fn forward(&self, x: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let normed = self.norm1.forward(x)?;
        let [q, k, v] = &self.projections;
        let projected = [q.forward(&normed)?, k.forward(&normed)?, v.forward(&normed)?];
        let x = self.out.forward_add(&attention(projected, mask, self.heads)?, Some(x))?;
        let inner = self.activation.apply(&self.fc1.forward(&self.norm2.forward(&x)?)?)?;
        self.fc2.forward_add(&inner, Some(&x))
    }
}

fn layer_norm(weights: &Weights, width: usize, epsilon: f64) -> std::result::Result<LayerNorm, ModelError> {
    Ok(LayerNorm::new(&weights.get(width, "weight")?, &weights.get(width, "bias")?, epsilon)?)
}
