//! The generation parameters in an image file's metadata.

use std::borrow::Cow;
use std::fmt;

use tintype_core::request::GenerateRequest;

/// The parameters of one image. `Display` writes AUTOMATIC1111's "generation parameters" text, the format
/// that other programs parse:
///
/// ```text
/// a cyborg tiger
/// Negative prompt: blurry
/// Steps: 20, CFG scale: 7.5, Seed: 1, Size: 256x256, Model hash: a1cc…, Model: emoji
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters {
    /// What the image shows.
    pub prompt: String,
    /// What the image should not show; omitted from the text if empty.
    pub negative_prompt: String,
    /// Seed of this image's noise.
    pub seed: u64,
    /// Denoising steps.
    pub steps: u32,
    /// Classifier-free guidance scale.
    pub guidance: f64,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// The model's name.
    pub model: String,
    /// SHA-256 of the model's weights in hexadecimal; omitted from the text if unknown.
    pub model_hash: Option<String>,
    /// Quality of a lossy format, 0 to 100, or the encoder's default; not part of the text.
    pub compression: Option<u8>,
}

impl Parameters {
    /// The parameters of the image with this index (from 0) in a request to `model`.
    pub fn new(request: &GenerateRequest, index: u32, model: &str) -> Self {
        Self {
            prompt: request.prompt.clone(),
            negative_prompt: request.negative_prompt.clone(),
            seed: request.seed.value() + u64::from(index),
            steps: request.steps,
            guidance: request.guidance,
            width: request.width,
            height: request.height,
            model: model.to_owned(),
            model_hash: None,
            compression: request.compression,
        }
    }

    /// Sets the SHA-256 of the model's weights.
    #[must_use]
    pub fn with_model_hash(self, model_hash: Option<String>) -> Self {
        Self { model_hash, ..self }
    }
}

impl fmt::Display for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.prompt)?;
        if !self.negative_prompt.is_empty() {
            writeln!(f, "Negative prompt: {}", self.negative_prompt)?;
        }
        let Self { steps, guidance, seed, width, height, .. } = self;
        let model = quoted(&self.model);
        write!(f, "Steps: {steps}, CFG scale: {guidance}, Seed: {seed}, Size: {width}x{height}, ")?;
        if let Some(hash) = &self.model_hash {
            write!(f, "Model hash: {hash}, ")?;
        }
        write!(f, "Model: {model}")
    }
}

/// Quotes a value as the web UI's `infotext` does: in JSON quotes if it contains a separator.
fn quoted(value: &str) -> Cow<'_, str> {
    if value.contains([',', ':', '\n']) { format!("{value:?}").into() } else { value.into() }
}
