//! A request for pictures: as a dialect understood it, and checked.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::engine::ModelCard;
use crate::picture::Format;
use crate::violation::{Violation, ViolationKind};

/// Longest prompt and negative prompt, in characters (Unicode scalar values).
pub const MAX_PROMPT_CHARS: usize = 2_000;
/// Smallest width and height in pixels.
pub const MIN_SIDE: u32 = 64;
/// Largest width and height in pixels, whatever the operator allows.
pub const MAX_SIDE: u32 = 16_384;
/// Width and height are multiples of this: the downsampling of Stable Diffusion's autoencoder.
pub const SIDE_UNIT: u32 = 8;
/// Most denoising steps.
pub const MAX_STEPS: u32 = 150;
/// Largest guidance scale.
pub const MAX_GUIDANCE: f64 = 30.0;
/// Most pictures in one request.
pub const MAX_PICTURES: u32 = 10;
/// Largest seed: the largest whole number that JavaScript's and JSON's doubles hold exactly.
pub const MAX_SEED: u64 = (1 << 53) - 1;
/// Life of a signed URL when none is asked for.
pub const DEFAULT_EXPIRY: Duration = Duration::from_secs(300);
/// Longest life of a signed URL: the limit of AWS Signature Version 4.
pub const MAX_EXPIRY: Duration = Duration::from_secs(7 * 24 * 3600);

/// What a dialect read from a request: every field optional, none checked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Draft {
    /// What the picture shows.
    pub prompt: Option<String>,
    /// What it should not show.
    pub negative_prompt: Option<String>,
    /// Pixels per row.
    pub width: Option<i64>,
    /// Rows.
    pub height: Option<i64>,
    /// Denoising steps.
    pub steps: Option<i64>,
    /// Classifier-free guidance scale.
    pub guidance: Option<f64>,
    /// Seed of the noise.
    pub seed: Option<i64>,
    /// Number of pictures.
    pub n: Option<i64>,
    /// File format.
    pub format: Option<Format>,
    /// How much of the picture a lossy format keeps, in percent.
    pub compression: Option<i64>,
    /// Life of the signed URL in seconds.
    pub expires_in: Option<i64>,
}

/// Where the noise comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seed {
    /// The client asked for this one: the same request gives the same picture.
    Explicit(u64),
    /// Drawn by us, below 2³².
    Drawn(u64),
}

impl Seed {
    /// The number, whoever chose it.
    pub fn value(self) -> u64 {
        match self {
            Self::Explicit(seed) | Self::Drawn(seed) => seed,
        }
    }
}

/// A checked request. There is no way to make one but [`Draft::check`] (and reading one that was written down), so
/// whoever holds one need not check again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GenerateRequest {
    /// What the picture shows; not empty.
    pub prompt: String,
    /// What it should not show; may be empty.
    pub negative_prompt: String,
    /// Pixels per row, a multiple of [`SIDE_UNIT`].
    pub width: u32,
    /// Rows, a multiple of [`SIDE_UNIT`].
    pub height: u32,
    /// Denoising steps.
    pub steps: u32,
    /// Classifier-free guidance scale; at most 1 means none.
    pub guidance: f64,
    /// Seed of the first picture; picture `i` has this seed plus `i`.
    pub seed: Seed,
    /// Number of pictures.
    pub n: u32,
    /// File format.
    pub format: Format,
    /// How much of the picture a lossy format keeps, 0 to 100; by the format's own default if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<u8>,
    /// Life of the signed URL.
    pub expires_in: Duration,
}

/// What may be asked for: the model's defaults and the operator's limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestLimits {
    /// Most pixels in one picture.
    pub max_pixels: u64,
    /// Most `width × height × steps × n`.
    pub max_work: u64,
}

/// The area, in pixels, of what programs written for Stable Diffusion ask for, whatever model there is: 512 × 512.
const COMMON_AREA: u64 = 512 * 512;

impl RequestLimits {
    /// The limits for a model when the operator sets none: 2.25 times its own area (so that a square of one and a
    /// half times the side fits), and the work of 200 denoising steps at its own size; for a small model those of 512 × 512.
    pub fn for_model(model: &ModelCard) -> Self {
        let native = u64::from(model.width) * u64::from(model.height);
        Self { max_pixels: (native * 9 / 4).max(COMMON_AREA), max_work: native.max(COMMON_AREA) * 200 }
    }
}

impl Draft {
    /// Checks every field and fills in the model's defaults. `fresh_seed` is used when the client gave none.
    ///
    /// # Errors
    /// Every violation found, never an empty list.
    pub fn check(
        self,
        model: &ModelCard,
        limits: &RequestLimits,
        fresh_seed: u32,
    ) -> Result<GenerateRequest, Vec<Violation>> {
        let mut found = Violations::default();
        let prompt = found.prompt(self.prompt);
        let negative_prompt = self.negative_prompt.unwrap_or_default();
        found.length("negative_prompt", &negative_prompt);
        let width = found.side("width", self.width, model.width);
        let height = found.side("height", self.height, model.height);
        let steps = found.whole("steps", self.steps, model.steps.into(), 1, MAX_STEPS.into()) as u32;
        let guidance = found.guidance(self.guidance, model.guidance);
        let n = found.whole("n", self.n, 1, 1, MAX_PICTURES.into()) as u32;
        let seed = match self.seed {
            Some(_) => Seed::Explicit(found.whole("seed", self.seed, 0, 0, MAX_SEED)),
            None => Seed::Drawn(fresh_seed.into()),
        };
        let compression =
            self.compression.map(|_| found.whole("output_compression", self.compression, 0, 0, 100) as u8);
        let expiry = (DEFAULT_EXPIRY.as_secs(), MAX_EXPIRY.as_secs());
        let expires_in =
            Duration::from_secs(found.whole("expires_in", self.expires_in, expiry.0, 1, expiry.1));

        let pixels = u64::from(width) * u64::from(height);
        if pixels > limits.max_pixels {
            // Name the side that was given; a picture too large by its default size cannot happen.
            let side = if self.width.is_some() { "width" } else { "height" };
            found.add(side, ViolationKind::TooManyPixels { limit: limits.max_pixels, actual: pixels });
        }
        let work = pixels * u64::from(steps) * u64::from(n);
        if work > limits.max_work {
            let parameter = if n > 1 { "n" } else { "steps" };
            found.add(parameter, ViolationKind::TooMuchWork { limit: limits.max_work, actual: work });
        }
        if !found.0.is_empty() {
            return Err(found.0);
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

/// Collects what is wrong while fields are read; a bad field reads as its default so that the rest is still checked.
#[derive(Default)]
struct Violations(Vec<Violation>);

impl Violations {
    fn add(&mut self, parameter: &str, kind: ViolationKind) {
        self.0.push(Violation::new(parameter, kind));
    }

    fn prompt(&mut self, prompt: Option<String>) -> String {
        match &prompt {
            None => self.add("prompt", ViolationKind::Missing),
            Some(text) if text.trim().is_empty() => self.add("prompt", ViolationKind::Empty),
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

    fn whole(&mut self, parameter: &str, value: Option<i64>, default: u64, min: u64, max: u64) -> u64 {
        let Some(value) = value else { return default };
        match u64::try_from(value) {
            Ok(value) if (min..=max).contains(&value) => value,
            _ => {
                let kind = ViolationKind::OutOfRange { min: min.to_string(), max: max.to_string() };
                self.add(parameter, kind);
                default
            }
        }
    }

    /// A side's upper bound is only what one row of the largest picture could be: the area is what is limited.
    fn side(&mut self, parameter: &str, value: Option<i64>, default: u32) -> u32 {
        let side = self.whole(parameter, value, default.into(), MIN_SIDE.into(), MAX_SIDE.into()) as u32;
        if !side.is_multiple_of(SIDE_UNIT) {
            self.add(parameter, ViolationKind::NotMultipleOf(SIDE_UNIT));
        }
        side
    }

    fn guidance(&mut self, value: Option<f64>, default: f64) -> f64 {
        match value {
            None => default,
            Some(value) if (0.0..=MAX_GUIDANCE).contains(&value) => value,
            Some(_) => {
                let kind = ViolationKind::OutOfRange { min: "0".into(), max: MAX_GUIDANCE.to_string() };
                self.add("guidance", kind);
                default
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> ModelCard {
        ModelCard { name: "test".into(), width: 512, height: 512, steps: 20, guidance: 7.5 }
    }

    fn check(draft: Draft) -> Result<GenerateRequest, Vec<Violation>> {
        draft.check(&model(), &RequestLimits::for_model(&model()), 7)
    }

    fn asking(prompt: &str) -> Draft {
        Draft { prompt: Some(prompt.into()), ..Draft::default() }
    }

    fn kinds(draft: Draft) -> Vec<(String, ViolationKind)> {
        let violations = check(draft).expect_err("must be refused");
        violations.into_iter().map(|violation| (violation.parameter, violation.kind)).collect()
    }

    #[test]
    fn fills_in_the_models_defaults() {
        let request = check(asking("a tiger")).expect("valid");
        assert_eq!((request.width, request.height, request.steps, request.n), (512, 512, 20, 1));
        assert_eq!(request.seed, Seed::Drawn(7));
        assert_eq!(request.expires_in, Duration::from_secs(300));
        assert_eq!(request.format, Format::Jpeg);
    }

    #[test]
    fn a_prompt_is_needed_and_bounded_in_characters() {
        assert_eq!(kinds(Draft::default()), [("prompt".into(), ViolationKind::Missing)]);
        assert_eq!(kinds(asking(" \n")), [("prompt".into(), ViolationKind::Empty)]);
        assert!(check(asking(&"虎".repeat(2_000))).is_ok());
        let too_long = ViolationKind::TooLong { limit: 2_000, actual: 2_001 };
        assert_eq!(kinds(asking(&"虎".repeat(2_001))), [("prompt".into(), too_long)]);
    }

    #[test]
    fn everything_wrong_is_told_at_once() {
        let draft = Draft {
            width: Some(100),
            height: Some(-1),
            steps: Some(151),
            guidance: Some(f64::NAN),
            seed: Some(1 << 53),
            n: Some(0),
            expires_in: Some(604_801),
            ..asking("x")
        };
        let parameters: Vec<_> = kinds(draft).into_iter().map(|(parameter, _)| parameter).collect();
        assert_eq!(parameters, ["width", "height", "steps", "guidance", "n", "seed", "expires_in"]);
    }

    #[test]
    fn area_and_work_are_bounded() {
        let draft = Draft { width: Some(776), height: Some(768), ..asking("x") };
        let too_large = ViolationKind::TooManyPixels { limit: 589_824, actual: 776 * 768 };
        assert_eq!(kinds(draft), [("width".into(), too_large)]);
        let draft = Draft { n: Some(10), steps: Some(21), ..asking("x") };
        let too_much = ViolationKind::TooMuchWork { limit: 52_428_800, actual: 512 * 512 * 210 };
        assert_eq!(kinds(draft), [("n".into(), too_much)]);
        assert!(check(Draft { width: Some(768), height: Some(768), ..asking("x") }).is_ok());
    }
}
