//! What `text_encoder/config.json` says.

use std::ops::RangeInclusive;

use serde_json::json;

use super::ops::Activation;
use crate::options::Options;
use crate::{ModelError, ModelFiles};

const FILE: &str = "text_encoder/config.json";

/// Bounds of what published encoders have, many times over.
const WIDTHS: RangeInclusive<usize> = 1..=65_536;

/// The options of a `CLIPTextModel` that change what it computes, checked. Defaults are transformers'.
///
/// The file also has dozens of options of training, of generating text and of the library, which are not read.
pub(crate) struct TextConfig {
    pub(crate) vocab_size: usize,
    pub(crate) hidden_size: usize,
    pub(crate) intermediate_size: usize,
    pub(crate) num_hidden_layers: usize,
    pub(crate) num_attention_heads: usize,
    pub(crate) max_position_embeddings: usize,
    pub(super) activation: Activation,
    pub(crate) layer_norm_eps: f64,
}

impl TextConfig {
    pub(crate) fn load(files: &ModelFiles) -> Result<Self, ModelError> {
        let mut options = Options::load(files, FILE)?;
        let architectures: Vec<String> = options.take("architectures", Vec::new())?;
        let known = ["CLIPTextModel", "CLIPTextModelWithProjection"];
        if architectures.first().is_some_and(|name| !known.contains(&name.as_str())) {
            return Err(options.unsupported("architectures", &known.join(", ")));
        }
        options.require("model_type", &[json!("clip_text_model")])?;
        options.require("use_attention_mask", &[json!(false)])?;
        let activation: String = options.take("hidden_act", "quick_gelu".to_owned())?;
        let config = Self {
            vocab_size: options.size("vocab_size", 49_408, 1..=10_000_000)?,
            hidden_size: options.size("hidden_size", 512, WIDTHS)?,
            intermediate_size: options.size("intermediate_size", 2_048, WIDTHS)?,
            num_hidden_layers: options.size("num_hidden_layers", 12, 1..=256)?,
            num_attention_heads: options.size("num_attention_heads", 8, WIDTHS)?,
            max_position_embeddings: options.size("max_position_embeddings", 77, 3..=65_536)?,
            activation: Activation::named(&activation)
                .ok_or_else(|| options.unsupported("hidden_act", Activation::NAMES))?,
            layer_norm_eps: options.take("layer_norm_eps", 1e-5)?,
        };
        if !config.hidden_size.is_multiple_of(config.num_attention_heads) {
            return Err(options.unsupported("num_attention_heads", "a divisor of `hidden_size`"));
        }
        Ok(config)
    }
}
