//! What `text_encoder/config.json` says.

use serde::Deserialize;

use super::ops::Activation;
use crate::{ModelError, ModelFiles};

const FILE: &str = "text_encoder/config.json";

/// The options of a `CLIPTextModel` that change what it computes, with transformers' defaults.
#[derive(Deserialize)]
#[serde(default)]
struct RawConfig {
    architectures: Option<Vec<String>>,
    model_type: String,
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    max_position_embeddings: usize,
    hidden_act: String,
    layer_norm_eps: f64,
    use_attention_mask: bool,
}

impl Default for RawConfig {
    fn default() -> Self {
        Self {
            architectures: None,
            model_type: "clip_text_model".to_owned(),
            vocab_size: 49_408,
            hidden_size: 512,
            intermediate_size: 2_048,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            max_position_embeddings: 77,
            hidden_act: "quick_gelu".to_owned(),
            layer_norm_eps: 1e-5,
            use_attention_mask: false,
        }
    }
}

/// The same, checked.
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
        let raw: RawConfig = files.read_json(FILE)?;
        let unsupported = |option: &str, value: &dyn std::fmt::Debug, supported: &str| {
            ModelError::unsupported(files.path(FILE), option, format!("{value:?}"), supported)
        };
        let known = ["CLIPTextModel", "CLIPTextModelWithProjection"];
        let architecture = raw.architectures.iter().flatten().next();
        if architecture.is_some_and(|name| !known.contains(&name.as_str())) {
            return Err(unsupported(
                "architectures",
                &architecture,
                "CLIPTextModel, CLIPTextModelWithProjection",
            ));
        }
        if raw.model_type != "clip_text_model" {
            return Err(unsupported("model_type", &raw.model_type, "clip_text_model"));
        }
        if raw.use_attention_mask {
            return Err(unsupported("use_attention_mask", &true, "false"));
        }
        if raw.num_attention_heads == 0 || !raw.hidden_size.is_multiple_of(raw.num_attention_heads) {
            return Err(unsupported(
                "num_attention_heads",
                &raw.num_attention_heads,
                "a divisor of `hidden_size`",
            ));
        }
        if raw.max_position_embeddings < 3 {
            return Err(unsupported("max_position_embeddings", &raw.max_position_embeddings, "at least 3"));
        }
        let activation = Activation::named(&raw.hidden_act)
            .ok_or_else(|| unsupported("hidden_act", &raw.hidden_act, Activation::NAMES))?;
        Ok(Self {
            vocab_size: raw.vocab_size,
            hidden_size: raw.hidden_size,
            intermediate_size: raw.intermediate_size,
            num_hidden_layers: raw.num_hidden_layers,
            num_attention_heads: raw.num_attention_heads,
            max_position_embeddings: raw.max_position_embeddings,
            activation,
            layer_norm_eps: raw.layer_norm_eps,
        })
    }
}
