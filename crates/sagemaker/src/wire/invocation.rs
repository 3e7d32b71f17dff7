//! A request as a server reads it.

use serde_json::Value;
use tintype_core::picture::Format;
use tintype_core::request::{Draft, MAX_PICTURES};
use tintype_core::violation::{Violation, ViolationKind};

use super::fields::{Fields, Texts};
use super::media::{Wanted, Written};
use super::sdxl;

/// What is wrong with a request before its values are looked at (and, for lists, with how many there are).
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum InvocationError {
    /// Neither JSON nor text.
    #[error("the content type must be application/json or application/x-text")]
    UnsupportedContentType,
    /// The client wants something that is not JSON.
    #[error("the answer can be application/json or application/json;jpeg, and neither is accepted")]
    NotAcceptable,
    /// The body is no JSON; the text says where it stops being any.
    #[error("the body is not valid JSON: {0}")]
    NotJson(String),
    /// The body is JSON, but no object.
    #[error("the body must be a JSON object with a field `prompt` or `text_prompts`")]
    NotAnObject,
    /// The prompt is not text.
    #[error("the body is not valid UTF-8")]
    NotUtf8,
    /// One field has a value that makes no sense.
    #[error("{0}")]
    Field(Violation),
}

impl From<Violation> for InvocationError {
    fn from(violation: Violation) -> Self {
        Self::Field(violation)
    }
}

/// What an invocation asks for, and what its answer looks like.
#[derive(Clone, Debug, PartialEq)]
pub struct Invocation {
    pub(super) drafts: Vec<Draft>,
    pub(super) shape: Shape,
    pub(super) wanted: Wanted,
}

/// How the answer is put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// `generated_images`, and the prompt as it was sent: one, or a list.
    Images(Echo),
    /// `generated_image`, and the prompt.
    Image(String),
    /// `artifacts`.
    Artifacts,
}

/// The prompt or prompts that an answer repeats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Echo {
    One(String),
    Many(Vec<String>),
}

impl Invocation {
    /// Reads a request in any of the dialects, from its headers `Content-Type` and `Accept` and its body. Fields that
    /// are not known are ignored, as SageMaker's own models do. The caller bounds the body's length, for example
    /// by [`MAX_BODY`](super::MAX_BODY).
    ///
    /// # Errors
    /// [`InvocationError`] for what cannot be understood; ranges are left to [`Draft::check`].
    pub fn read(
        content_type: Option<&str>,
        accept: Option<&str>,
        body: &[u8],
    ) -> Result<Self, InvocationError> {
        let wanted = Wanted::of(accept)?;
        match Written::of(content_type)? {
            Written::Json => Self::of_json(json(body)?, wanted),
            Written::Text => Self::of_text(body, wanted),
        }
    }

    /// One request per prompt, unchecked, with the format in which the answer's pictures are best made: JPEG if the
    /// client takes JPEG files, and PNG, which loses nothing, if it takes anything else.
    pub fn drafts(&self) -> &[Draft] {
        &self.drafts
    }

    /// How the pictures are to be handed to [`answer`](Self::answer).
    pub fn wanted(&self) -> Wanted {
        match self.shape {
            // This dialect has no other.
            Shape::Artifacts => Wanted::Files,
            Shape::Images(_) | Shape::Image(_) => self.wanted,
        }
    }

    /// The violation that [`Draft::check`] found, under the name that the parameter has in the request.
    pub fn renamed(&self, violation: Violation) -> Violation {
        let artifacts = self.shape == Shape::Artifacts;
        let name = match (violation.parameter.as_str(), artifacts) {
            ("steps", false) => "num_inference_steps",
            ("guidance", false) => "guidance_scale",
            ("n", false) => "num_images_per_prompt",
            ("prompt" | "negative_prompt", true) => "text_prompts",
            ("guidance", true) => "cfg_scale",
            ("n", true) => "samples",
            _ => return violation,
        };
        violation.renamed(name)
    }

    fn of_json(fields: Fields, wanted: Wanted) -> Result<Self, InvocationError> {
        if fields.get("text_prompts").is_some() {
            let format = if wanted == Wanted::Files { Format::Jpeg } else { Format::Png };
            let draft = sdxl::draft(&fields, format)?;
            return Ok(Self { drafts: vec![draft], shape: Shape::Artifacts, wanted });
        }
        let common = common(&fields, wanted)?;
        let negatives = fields.texts("negative_prompt")?;
        let (prompts, echo) = match fields.texts("prompt")? {
            None => (vec![None], Echo::One(String::new())),
            Some(Texts::One(prompt)) => (vec![Some(prompt.clone())], Echo::One(prompt)),
            Some(Texts::Many(prompts)) => (prompts.iter().cloned().map(Some).collect(), Echo::Many(prompts)),
        };
        bounded(prompts.len(), common.n)?;
        let negatives = spread(negatives, prompts.len())?;
        let pictures = common.n.unwrap_or(1);
        let drafts = prompts.into_iter().zip(negatives).zip(0..).map(|((prompt, negative_prompt), index)| {
            // Each prompt begins where the seeds of the one before end, so that equal prompts give different pictures.
            let seed = common.seed.map(|seed| seed.saturating_add(pictures.saturating_mul(index)));
            Draft { prompt, negative_prompt, seed, ..common.clone() }
        });
        Ok(Self { drafts: drafts.collect(), shape: Shape::Images(echo), wanted })
    }

    /// The whole body is the prompt; some clients send JSON under the same type.
    fn of_text(body: &[u8], wanted: Wanted) -> Result<Self, InvocationError> {
        if body.trim_ascii_start().starts_with(b"{")
            && let Ok(fields) = json(body)
            && (fields.get("prompt").is_some() || fields.get("text_prompts").is_some())
        {
            return Self::of_json(fields, wanted)?.singular();
        }
        let prompt = std::str::from_utf8(body).map_err(|_| InvocationError::NotUtf8)?.to_owned();
        let draft = Draft { prompt: Some(prompt.clone()), format: Some(format(wanted)), ..Draft::default() };
        Ok(Self { drafts: vec![draft], shape: Shape::Image(prompt), wanted })
    }

    /// The answer to a request of type `application/x-text` has room for one picture.
    fn singular(self) -> Result<Self, InvocationError> {
        let many = self.drafts.iter().any(|draft| draft.n.is_some_and(|n| n != 1));
        let shape = match self.shape {
            Shape::Images(Echo::One(_) | Echo::Many(_)) if many => {
                let expected = "1 under the content type application/x-text";
                return Err(Violation::malformed("num_images_per_prompt", expected).into());
            }
            Shape::Images(Echo::Many(_)) => {
                let expected = "one prompt under the content type application/x-text";
                return Err(Violation::malformed("prompt", expected).into());
            }
            Shape::Images(Echo::One(prompt)) => Shape::Image(prompt),
            other => other,
        };
        Ok(Self { shape, ..self })
    }
}

fn json(body: &[u8]) -> Result<Fields, InvocationError> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(fields)) => Ok(Fields(fields)),
        Ok(_) => Err(InvocationError::NotAnObject),
        Err(error) => Err(InvocationError::NotJson(error.to_string())),
    }
}

fn format(wanted: Wanted) -> Format {
    match wanted {
        Wanted::Files => Format::Jpeg,
        Wanted::Pixels => Format::Png,
    }
}

/// What all prompts of a request have in common.
fn common(fields: &Fields, wanted: Wanted) -> Result<Draft, Violation> {
    Ok(Draft {
        width: fields.whole("width")?,
        height: fields.whole("height")?,
        steps: fields.whole("num_inference_steps")?,
        // Everything up to 1 means none, also what is below 0.
        guidance: fields.number("guidance_scale")?.map(|guidance| guidance.max(0.0)),
        seed: fields.whole("seed")?,
        n: fields.whole("num_images_per_prompt")?,
        format: Some(format(wanted)),
        ..Draft::default()
    })
}

/// A request with many prompts makes no more pictures than one with a single prompt may.
fn bounded(prompts: usize, n: Option<i64>) -> Result<(), Violation> {
    let limit = i64::from(MAX_PICTURES);
    let prompts = i64::try_from(prompts).unwrap_or(i64::MAX);
    if prompts == 0 {
        return Err(Violation::new("prompt", ViolationKind::Empty));
    }
    if prompts > limit {
        return Err(Violation::malformed("prompt", format!("at most {limit} prompts")));
    }
    let pictures = prompts.saturating_mul(n.unwrap_or(1));
    if prompts > 1 && pictures > limit {
        let expected = format!("such that all prompts together make at most {limit} pictures");
        return Err(Violation::malformed("num_images_per_prompt", expected));
    }
    Ok(())
}

/// One negative prompt for each prompt: the same for all, or as many as there are prompts.
fn spread(negatives: Option<Texts>, prompts: usize) -> Result<Vec<Option<String>>, Violation> {
    match negatives {
        None => Ok(vec![None; prompts]),
        Some(Texts::One(negative)) => Ok(vec![Some(negative); prompts]),
        Some(Texts::Many(negatives)) if negatives.len() == prompts => {
            Ok(negatives.into_iter().map(Some).collect())
        }
        Some(Texts::Many(_)) => {
            let expected = format!("a list as long as that of the prompts, which is {prompts}");
            Err(Violation::malformed("negative_prompt", expected))
        }
    }
}
