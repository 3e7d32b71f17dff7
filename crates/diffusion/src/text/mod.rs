//! Text to conditioning: CLIP's tokenizer and its text encoder.

mod added_tokens;
mod config;
mod network;
mod ops;
mod pretokenizer;
mod serialized;
mod special;
mod tokenizer;

#[cfg(test)]
mod tests;

use candle_core::{DType, Device, Tensor};
use tintype_core::engine::Warning;

pub(crate) use config::TextConfig;
pub use tokenizer::Tokenizer;

use crate::{ModelError, ModelFiles, Weights};
use network::Network;

/// A prompt as the encoder reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// As many numbers as the encoder reads: start, text, end, padding.
    pub ids: Vec<u32>,
    /// What did not fit.
    pub truncation: Option<Truncation>,
}

/// Where a prompt was cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Truncation {
    /// How many tokens the encoder reads, its start and end tokens included.
    pub limit: usize,
    /// The part that was left out, from the first character that no longer counted.
    pub omitted: String,
}

impl Truncation {
    /// The same as a warning about `parameter`, which is `prompt` or `negative_prompt`.
    #[must_use]
    pub fn into_warning(self, parameter: &'static str) -> Warning {
        Warning::PromptTruncated { parameter, limit: self.limit, omitted: self.omitted }
    }
}

/// Turns text into what the denoiser is conditioned on: `tokenizer/` and `text_encoder/` of a model folder.
pub struct TextEncoder {
    tokenizer: Tokenizer,
    network: Network,
    width: usize,
}

impl TextEncoder {
    /// Loads both parts, the weights onto `device` in type `dtype`.
    ///
    /// # Errors
    /// [`ModelError`] for a file that is missing, malformed, or asks for something that this encoder does not do.
    pub fn load(files: &ModelFiles, device: &Device, dtype: DType) -> Result<Self, ModelError> {
        let config = TextConfig::load(files)?;
        let tokenizer = Tokenizer::load(files, config.max_position_embeddings)?;
        tokenizer.check_fits(files, config.vocab_size)?;
        Self::with_weights(&config, tokenizer, Weights::load(files, "text_encoder", device, dtype)?)
    }

    /// The encoder that the configuration describes, with these weights.
    ///
    /// # Errors
    /// [`ModelError::MissingTensor`] or [`ModelError::WrongShape`] if they do not fit.
    pub(crate) fn with_weights(
        config: &TextConfig,
        tokenizer: Tokenizer,
        weights: Weights,
    ) -> Result<Self, ModelError> {
        // transformers writes the prefix up to version 5.5, and for the variant with a projection.
        let plain = weights.contains("embeddings.token_embedding.weight");
        let root = if plain { weights } else { weights.pp("text_model") };
        let network = Network::load(config, &root)?;
        Ok(Self { tokenizer, network, width: config.hidden_size })
    }

    /// The prompt in tokens, cut and padded to the length that the encoder reads.
    #[must_use]
    pub fn tokenize(&self, prompt: &str) -> Tokens {
        self.tokenizer.tokenize(prompt)
    }

    /// The last hidden states, after the final norm: `[prompts, tokens, width]`. All prompts must come from this encoder's
    /// [`tokenize`](TextEncoder::tokenize).
    ///
    /// # Errors
    /// [`ModelError::Tensor`], also for no prompts or prompts of different lengths.
    pub fn encode(&self, prompts: &[Tokens]) -> Result<Tensor, ModelError> {
        let ids: Vec<&[u32]> = prompts.iter().map(|tokens| tokens.ids.as_slice()).collect();
        Ok(self.network.forward(&ids)?)
    }

    /// Features per token.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Tokens per prompt.
    #[must_use]
    pub fn length(&self) -> usize {
        self.tokenizer.length()
    }
}
