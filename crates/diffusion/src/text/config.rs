//! What `text_encoder/config.json` says.

use serde_json::json;

use super::ops::Activation;
use crate::options::Options;
use crate::{ModelError, ModelFiles};

const FILE: &str = "text_encoder/config.json";

/// The options of a `CLIPTextModel` that change what it computes, checked. Defaults are transformers'.
///
/// The file also has dozens of options of training, of generating text and of the library, which are not read.
pub(super) struct TextConfig {
    pub(super) vocab_size: usize,
    pub(super) hidden_size: usize,
    pub(super) intermediate_size: usize,
    pub(super) num_hidden_layers: usize,
    pub(super) num_attention_heads: usize,
    pub(super) max_position_embeddings: usize,
    pub(super) activation: Activation,
    pub(super) layer_norm_eps: f64,
}

impl TextConfig {
    pub(super) fn load(files: &ModelFiles) -> Result<Self, ModelError> {
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
            vocab_size: options.take("vocab_size", 49_408)?,
            hidden_size: options.take("hidden_size", 512)?,
            intermediate_size: options.take("intermediate_size", 2_048)?,
            num_hidden_layers: options.take("num_hidden_layers", 12)?,
            num_attention_heads: options.take("num_attention_heads", 8)?,
            max_position_embeddings: options.take("max_position_embeddings", 77)?,
            activation: Activation::named(&activation)
                .ok_or_else(|| options.unsupported("hidden_act", Activation::NAMES))?,
            layer_norm_eps: options.take("layer_norm_eps", 1e-5)?,
        };
        if config.num_attention_heads == 0 || !config.hidden_size.is_multiple_of(config.num_attention_heads) {
            return Err(options.unsupported("num_attention_heads", "a divisor of `hidden_size`"));
        }
        if config.max_position_embeddings < 3 {
            return Err(options.unsupported("max_position_embeddings", "at least 3"));
        }
        Ok(config)
    }
}
