//! Image generation requests: parsed ([`Draft`]) and validated ([`GenerateRequest`]).

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::model::ModelCard;
use crate::picture::Format;
use crate::violation::{Violation, ViolationKind};

/// Maximum length of the prompt and of the negative prompt, in characters (Unicode scalar values).
pub const MAX_PROMPT_CHARS: usize = 2_000;
/// Minimum width and height in pixels.
pub const MIN_SIDE: u32 = 64;
/// Maximum width and height in pixels; the operator's limits can only be lower.
pub const MAX_SIDE: u32 = 16_384;
/// Maximum number of images per request.
pub const MAX_PICTURES: u32 = 10;
/// Maximum seed: the largest integer that a double, JavaScript's and JSON's number type, represents exactly.
pub const MAX_SEED: u64 = (1 << 53) - 1;
/// The seed with which clients of other servers ask for a random seed.
pub const RANDOM_SEED: i64 = -1;
/// Default lifetime of a presigned URL.
pub const DEFAULT_EXPIRY: Duration = Duration::from_secs(300);
/// Maximum lifetime of a presigned URL: the limit of AWS Signature Version 4.
pub const MAX_EXPIRY: Duration = Duration::from_secs(7 * 24 * 3600);

/// A parsed request of any API dialect (native, OpenAI, SageMaker). Every field is optional and not yet
/// validated.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Draft {
    /// What the image shows.
    pub prompt: Option<String>,
    /// What the image should not show.
    pub negative_prompt: Option<String>,
    /// Width in pixels.
    pub width: Option<i64>,
    /// Height in pixels.
    pub height: Option<i64>,
    /// Denoising steps.
    pub steps: Option<i64>,
    /// Classifier-free guidance scale.
    pub guidance: Option<f64>,
    /// Seed of the noise.
    pub seed: Option<i64>,
    /// Number of images.
    pub n: Option<i64>,
    /// File format.
    pub format: Option<Format>,
    /// Quality of a lossy format, in percent.
    pub compression: Option<i64>,
    /// Lifetime of the presigned URL in seconds.
    pub expires_in: Option<i64>,
}

/// The seed of a request's noise, and who chose it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Seed {
    /// The client's seed: the same request gives the same image.
    Explicit(u64),
    /// A random seed below 2³², because the client gave none.
    Random(u64),
}

impl Seed {
    /// The seed's value.
    pub fn value(self) -> u64 {
        match self {
            Self::Explicit(seed) | Self::Random(seed) => seed,
        }
    }
}

/// A validated request. Only [`Draft::check`] and the reader of stored requests create one, so every instance is
/// valid.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerateRequest {
    /// What the image shows; not empty.
    pub prompt: String,
    /// What the image should not show; may be empty.
    pub negative_prompt: String,
    /// Width in pixels, a multiple of [`ModelCard::size_multiple`].
    pub width: u32,
    /// Height in pixels, a multiple of [`ModelCard::size_multiple`].
    pub height: u32,
    /// Denoising steps.
    pub steps: u32,
    /// Classifier-free guidance scale; 1 or less disables guidance.
    pub guidance: f64,
    /// Seed of the first image; image `i` has this seed plus `i`.
    pub seed: Seed,
    /// Number of images.
    pub n: u32,
    /// File format.
    pub format: Format,
    /// Quality of a lossy format, 0 to 100; the encoder's default if absent.
    pub compression: Option<u8>,
    /// Lifetime of the presigned URL.
    pub expires_in: Duration,
}

/// The operator's limits on one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestLimits {
    /// Maximum of `width × height`, in pixels.
    pub max_pixels: u64,
    /// Maximum of `width × height × steps × n`, in pixel-steps. If the model is evaluated twice per step, the
    /// evaluations count instead of the steps ([`Evaluations`](crate::model::Evaluations)).
    pub max_work: u64,
}

/// The area, in pixels, of Stable Diffusion's default size, which clients request regardless of the model.
const DEFAULT_AREA: u64 = 512 * 512;

impl RequestLimits {
    /// The default limits for a model: 2.25 times its default area (a square of 1.5 times the side fits), and
    /// the work of 200 denoising steps at its default size. They are never below 512 × 512 pixels, and 200
    /// steps at that size.
    pub fn for_model(model: &ModelCard) -> Self {
        let native = u64::from(model.width) * u64::from(model.height);
        Self { max_pixels: (native * 9 / 4).max(DEFAULT_AREA), max_work: native.max(DEFAULT_AREA) * 200 }
    }
}

impl Draft {
    /// Validates every field and fills in the model's defaults. `random_seed` is the seed if the draft has
    /// none.
    ///
    /// # Errors
    /// All violations; the list is not empty.
    pub fn check(
        self,
        model: &ModelCard,
        limits: &RequestLimits,
        random_seed: u32,
    ) -> Result<GenerateRequest, Vec<Violation>> {
        let mut validator = Validator::new(model);
        let prompt = validator.prompt(self.prompt);
        let negative_prompt = self.negative_prompt.unwrap_or_default();
        validator.length("negative_prompt", &negative_prompt);
        let width = validator.side("width", self.width, model.width);
        let height = validator.side("height", self.height, model.height);
        let steps =
            validator.integer("steps", self.steps, model.steps.into(), 1..=model.sampling.max_steps.into())
                as u32;
        let guidance = validator.guidance(self.guidance, model.guidance);
        let n = validator.integer("n", self.n, 1, 1..=MAX_PICTURES.into()) as u32;
        let seed = match self.seed {
            None | Some(RANDOM_SEED) => Seed::Random(random_seed.into()),
            Some(_) => Seed::Explicit(validator.integer("seed", self.seed, 0, 0..=MAX_SEED)),
        };
        let compression = self
            .compression
            .map(|_| validator.integer("output_compression", self.compression, 0, 0..=100) as u8);
        let (default_expiry, max_expiry) = (DEFAULT_EXPIRY.as_secs(), MAX_EXPIRY.as_secs());
        let expires_in = Duration::from_secs(validator.integer(
            "expires_in",
            self.expires_in,
            default_expiry,
            1..=max_expiry,
        ));

        let pixels = u64::from(width) * u64::from(height);
        if pixels > limits.max_pixels {
            // Report the side that the client gave; the default size is always within the limit.
            let side = if self.width.is_some() { "width" } else { "height" };
            validator.add(side, ViolationKind::TooManyPixels { limit: limits.max_pixels, actual: pixels });
        }
        let evaluations = model.sampling.evaluations.in_steps(steps);
        let work = pixels * u64::from(evaluations) * u64::from(n);
        if work > limits.max_work {
            let parameter = if n > 1 { "n" } else { "steps" };
            let evaluations = model.sampling.evaluations;
            let kind = ViolationKind::TooMuchWork { limit: limits.max_work, actual: work, evaluations };
            validator.add(parameter, kind);
        }
        if !validator.violations.is_empty() {
            return Err(validator.violations);
        }
        let format = self.format.unwrap_or_default();
        Ok(GenerateRequest {
            prompt,
            negative_prompt,
            width,
            height,
            steps,
            guidance,
            seed,
            n,
            format,
            compression,
            expires_in,
        })
    }
}

/// Collects violations. An invalid field gets its default value, so that the remaining fields are still
/// checked.
struct Validator<'a> {
    model: &'a ModelCard,
    violations: Vec<Violation>,
}

impl<'a> Validator<'a> {
    fn new(model: &'a ModelCard) -> Self {
        Self { model, violations: Vec::new() }
    }

    fn add(&mut self, parameter: &str, kind: ViolationKind) {
        self.violations.push(Violation::new(parameter, kind));
    }

    fn prompt(&mut self, prompt: Option<String>) -> String {
        match &prompt {
            None => self.add("prompt", ViolationKind::Missing),
            Some(text) if text.chars().all(is_invisible) => self.add("prompt", ViolationKind::Empty),
            Some(text) => self.length("prompt", text),
        }
        prompt.unwrap_or_default()
    }

    fn length(&mut self, parameter: &str, text: &str) {
        let actual = text.chars().count();
        if actual > MAX_PROMPT_CHARS {
            self.add(parameter, ViolationKind::TooLong { limit: MAX_PROMPT_CHARS, actual });
        }
    }

    fn integer(
        &mut self,
        parameter: &str,
        value: Option<i64>,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> u64 {
        let Some(value) = value else { return default };
        match u64::try_from(value) {
            Ok(value) if range.contains(&value) => value,
            _ => {
                let kind = ViolationKind::OutOfRange {
                    min: range.start().to_string(),
                    max: range.end().to_string(),
                };
                self.add(parameter, kind);
                default
            }
        }
    }

    /// Checks a width or height. `MAX_SIDE` is only a sanity check: the operator's limit is on the area.
    fn side(&mut self, parameter: &str, value: Option<i64>, default: u32) -> u32 {
        let side = self.integer(parameter, value, default.into(), MIN_SIDE.into()..=MAX_SIDE.into()) as u32;
        let multiple = self.model.size_multiple;
        if !side.is_multiple_of(multiple) {
            self.add(parameter, ViolationKind::NotMultipleOf(multiple));
        }
        side
    }

    fn guidance(&mut self, value: Option<f64>, default: f64) -> f64 {
        let max = self.model.max_guidance;
        match value {
            None => default,
            Some(value) if (0.0..=max).contains(&value) => value,
            Some(_) => {
                let kind = ViolationKind::OutOfRange { min: "0".into(), max: max.to_string() };
                self.add("guidance", kind);
                default
            }
        }
    }
}

/// Whether a character shows nothing: white space, control characters, U+2800, and the characters that have
/// Unicode's property `Default_Ignorable_Code_Point` (`DerivedCoreProperties.txt` of Unicode 16).
fn is_invisible(character: char) -> bool {
    character.is_whitespace()
        || character.is_control()
        || matches!(
            character,
            '\u{AD}'
                | '\u{34F}'
                | '\u{61C}'
                | '\u{115F}'..='\u{1160}'
                | '\u{17B4}'..='\u{17B5}'
                | '\u{180B}'..='\u{180F}'
                | '\u{200B}'..='\u{200F}'
                | '\u{202A}'..='\u{202E}'
                | '\u{2060}'..='\u{206F}'
                | '\u{2800}'
                | '\u{3164}'
                | '\u{FE00}'..='\u{FE0F}'
                | '\u{FEFF}'
                | '\u{FFA0}'
                | '\u{FFF0}'..='\u{FFF8}'
                | '\u{1BCA0}'..='\u{1BCA3}'
                | '\u{1D173}'..='\u{1D17A}'
                | '\u{E0000}'..='\u{E0FFF}'
        )
}

#[cfg(test)]
mod tests;
