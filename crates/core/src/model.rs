//! What a model accepts, as data.

use serde::{Deserialize, Serialize};

use crate::request::GenerateRequest;

/// A model's name, default parameters and limits. It is known before the model's weights are loaded, and in
/// processes that do not run the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelCard {
    /// The name in API responses, for example `emoji` or `stabilityai/stable-diffusion-2-1-base`.
    pub name: String,
    /// Training width in pixels, the default width of an image.
    pub width: u32,
    /// Training height in pixels, the default height of an image.
    pub height: u32,
    /// Width and height must be multiples of this number of pixels.
    pub size_multiple: u32,
    /// Default number of denoising steps.
    pub steps: u32,
    /// What the model's sampler determines about steps.
    pub sampling: Sampling,
    /// Default guidance scale.
    pub guidance: f64,
    /// Maximum guidance scale.
    pub max_guidance: f64,
    /// How the model uses the guidance scale.
    pub guidance_kind: GuidanceKind,
    /// Maximum number of prompt tokens, start and end token included; `None` if unknown.
    pub token_limit: Option<u32>,
    /// Memory that a request needs beyond the model's weights.
    pub memory: MemoryNeed,
}

/// The properties of a model's sampler that requests are checked by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sampling {
    /// Maximum number of denoising steps.
    pub max_steps: u32,
    /// How often the model is evaluated per denoising step, by which work is counted.
    pub evaluations: Evaluations,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { max_steps: 150, evaluations: Evaluations::default() }
    }
}

/// How often a sampler evaluates the model. Almost all time goes into these evaluations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Evaluations {
    /// Once per step.
    #[default]
    OncePerStep,
    /// Twice per step, but once in the last step (Heun's method).
    TwicePerStep,
}

impl Evaluations {
    /// The number of evaluations in this many steps.
    pub fn in_steps(self, steps: u32) -> u32 {
        match self {
            Self::OncePerStep => steps,
            Self::TwicePerStep => steps.saturating_mul(2).saturating_sub(1),
        }
    }
}

/// How a model uses the guidance scale.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuidanceKind {
    /// Classifier-free guidance: a scale above 1 needs two passes of the denoiser per step, one of them with the
    /// negative prompt.
    #[default]
    ClassifierFree,
    /// The scale is an input of the denoiser (guidance distillation): one pass per step. A negative prompt has
    /// no effect.
    Distilled,
}

/// The memory that a request needs beyond the model's weights. It grows linearly with the number of pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryNeed {
    /// Bytes for an image of any size.
    pub fixed: u64,
    /// Bytes per pixel of one image while it is generated.
    pub per_pixel: u64,
    /// Bytes per pixel of every finished image of the request.
    pub per_finished_pixel: u64,
    /// The model rounds width and height up to multiples of this number of pixels; 0 counts as 1.
    pub grid: u32,
}

/// The limits of Stable Diffusion, without a name. For the other members of a card that states some of them.
impl Default for ModelCard {
    fn default() -> Self {
        Self {
            name: String::new(),
            width: 512,
            height: 512,
            // The downsampling factor of Stable Diffusion's autoencoder.
            size_multiple: 8,
            steps: 50,
            sampling: Sampling::default(),
            guidance: 7.5,
            max_guidance: 30.0,
            guidance_kind: GuidanceKind::ClassifierFree,
            token_limit: None,
            memory: MemoryNeed::default(),
        }
    }
}

impl ModelCard {
    /// Passes of the denoiser per step at this guidance scale.
    pub fn passes(&self, guidance: f64) -> u32 {
        match self.guidance_kind {
            GuidanceKind::ClassifierFree if guidance > 1.0 => 2,
            GuidanceKind::ClassifierFree | GuidanceKind::Distilled => 1,
        }
    }

    /// An estimate of the work of a request, in pixels × passes of the denoiser. Decoding an image counts as one
    /// pass.
    pub fn work(&self, request: &GenerateRequest) -> f64 {
        let pixels = f64::from(request.width) * f64::from(request.height);
        let evaluations = self.sampling.evaluations.in_steps(request.steps);
        pixels * f64::from(evaluations * self.passes(request.guidance) + 1) * f64::from(request.n)
    }

    /// An estimate of the memory that a request needs beyond the model's weights, in bytes.
    pub fn memory_needed(&self, request: &GenerateRequest) -> u64 {
        let MemoryNeed { fixed, per_pixel, per_finished_pixel, grid } = self.memory;
        let rounded = |side: u32| u64::from(side.next_multiple_of(grid.max(1)));
        let generated = rounded(request.width).saturating_mul(rounded(request.height));
        let finished = u64::from(request.width) * u64::from(request.height) * u64::from(request.n);
        fixed
            .saturating_add(generated.saturating_mul(per_pixel))
            .saturating_add(finished.saturating_mul(per_finished_pixel))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Draft, RequestLimits};

    fn request(card: &ModelCard, draft: Draft) -> GenerateRequest {
        let draft = Draft { prompt: Some("x".into()), ..draft };
        draft.check(card, &RequestLimits::for_model(card), 0).expect("valid")
    }

    #[test]
    fn guidance_doubles_the_work_of_a_step_only_without_distillation() {
        let card = ModelCard { steps: 10, guidance: 1.0, ..ModelCard::default() };
        let plain = request(&card, Draft::default());
        let guided = request(&card, Draft { guidance: Some(5.0), ..Draft::default() });
        assert_eq!(card.work(&guided) / card.work(&plain), 21.0 / 11.0);
        let distilled = ModelCard { guidance_kind: GuidanceKind::Distilled, ..card };
        assert_eq!(distilled.work(&guided), distilled.work(&plain));
    }

    #[test]
    fn memory_grows_with_the_rounded_size_and_the_number_of_images() {
        let memory = MemoryNeed { fixed: 1_000, per_pixel: 10, per_finished_pixel: 3, grid: 32 };
        let card = ModelCard { memory, ..ModelCard::default() };
        let draft = Draft { width: Some(72), height: Some(64), n: Some(2), ..Draft::default() };
        assert_eq!(card.memory_needed(&request(&card, draft)), 1_000 + 96 * 64 * 10 + 72 * 64 * 2 * 3);
    }

    #[test]
    fn evaluations_are_counted_in_steps() {
        assert_eq!([1, 2, 20].map(|steps| Evaluations::OncePerStep.in_steps(steps)), [1, 2, 20]);
        assert_eq!([1, 2, 20].map(|steps| Evaluations::TwicePerStep.in_steps(steps)), [1, 3, 39]);
        assert_eq!(Evaluations::TwicePerStep.in_steps(0), 0);
    }
}
