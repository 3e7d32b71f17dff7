//! The text that travels inside a picture: what it was made from.

use std::borrow::Cow;
use std::fmt;

use tintype_core::request::GenerateRequest;

/// What one picture was made from. `Display` is AUTOMATIC1111's "generation parameters" text, which is what readers of
/// picture metadata parse:
///
/// ```text
/// a cyborg tiger
/// Negative prompt: blurry
/// Steps: 20, CFG scale: 7.5, Seed: 1, Size: 256x256, Model: emoji
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters {
    /// What the picture shows.
    pub prompt: String,
    /// What it should not show; left out of the text when empty.
    pub negative_prompt: String,
    /// Seed of this picture's noise.
    pub seed: u64,
    /// Denoising steps.
    pub steps: u32,
    /// Classifier-free guidance scale.
    pub guidance: f64,
    /// Pixels per row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// The model's name.
    pub model: String,
    /// How much of the picture a lossy format keeps, 0 to 100; not part of the text.
    pub compression: Option<u8>,
}

impl Parameters {
    /// Those of picture number `index` of a request made by `model`.
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
            compression: request.compression,
        }
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
        write!(
            f,
            "Steps: {steps}, CFG scale: {guidance}, Seed: {seed}, Size: {width}x{height}, Model: {model}"
        )
    }
}

/// A value as the web UI's `infotext` writes it: in JSON quotes if it holds a character that separates fields.
fn quoted(value: &str) -> Cow<'_, str> {
    if value.contains([',', ':', '\n']) { format!("{value:?}").into() } else { value.into() }
}
