//! Reads a request, for a server.

use serde_json::Value;
use tintype_core::picture::Format;
use tintype_core::request::{Draft, MAX_PICTURES, RANDOM_SEED};
use tintype_core::violation::{Violation, ViolationKind};

use super::fields::{Fields, Strings};
use super::media::{BodyFormat, PictureEncoding};
use super::sdxl;

/// Why a request cannot be read. The ranges of its values are checked later, by [`Draft::check`].
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum InvocationError {
    /// The content type is neither JSON nor text.
    #[error("`Content-Type` must be `application/json` or `application/x-text`")]
    UnsupportedContentType,
    /// `Accept` includes no JSON.
    #[error("`Accept` must include `application/json` or `application/json;jpeg`")]
    NotAcceptable,
    /// The body is not JSON; the text is the parser's message, with the position.
    #[error("the body is not valid JSON: {0}")]
    NotJson(String),
    /// The body is JSON, but not an object.
    #[error("the body must be a JSON object with a field `prompt` or `text_prompts`")]
    NotAnObject,
    /// The body of a text request is not UTF-8.
    #[error("the body is not valid UTF-8")]
    NotUtf8,
    /// A field has an invalid value.
    #[error("{0}")]
    Field(Violation),
}

impl From<Violation> for InvocationError {
    fn from(violation: Violation) -> Self {
        Self::Field(violation)
    }
}

/// The pictures that an invocation asks for, and the form of its response.
#[derive(Clone, Debug, PartialEq)]
pub struct Invocation {
    pub(super) drafts: Vec<Draft>,
    pub(super) shape: ResponseShape,
    pub(super) encoding: PictureEncoding,
}

/// The form of the response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ResponseShape {
    /// `generated_images`, and the prompt as it was sent: one, or a list.
    Images(EchoedPrompt),
    /// `generated_image`, and the prompt.
    Image(String),
    /// `artifacts`.
    Artifacts,
}

/// The prompt or prompts that the response repeats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum EchoedPrompt {
    One(String),
    Many(Vec<String>),
}

impl Invocation {
    /// Reads a request in any of the dialects, from its headers `Content-Type` and `Accept` and its body.
    /// Unknown fields are ignored, as SageMaker's own models do. The caller limits the body's length, for
    /// example to [`MAX_BODY`](super::MAX_BODY).
    ///
    /// # Errors
    /// [`InvocationError`] if the request cannot be read. The ranges of its values are left to
    /// [`Draft::check`].
    pub fn read(
        content_type: Option<&str>,
        accept: Option<&str>,
        body: &[u8],
    ) -> Result<Self, InvocationError> {
        let encoding = PictureEncoding::from_accept(accept)?;
        match BodyFormat::from_content_type(content_type)? {
            BodyFormat::Json => Self::from_json(parse_object(body)?, encoding),
            BodyFormat::Text => Self::from_text(body, encoding),
        }
    }

    /// One unchecked request per prompt. Its format is JPEG if the response has JPEG files, else PNG, which
    /// is lossless.
    pub fn drafts(&self) -> &[Draft] {
        &self.drafts
    }

    /// The form in which [`write_response`](Self::write_response) takes the pictures.
    pub fn picture_encoding(&self) -> PictureEncoding {
        match self.shape {
            // This dialect has no pixels.
            ResponseShape::Artifacts => PictureEncoding::Files,
            ResponseShape::Images(_) | ResponseShape::Image(_) => self.encoding,
        }
    }

    /// Renames a violation that [`Draft::check`] found to the parameter's name in the request's dialect.
    pub fn rename_violation(&self, violation: Violation) -> Violation {
        let artifacts = self.shape == ResponseShape::Artifacts;
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

    fn from_json(fields: Fields, encoding: PictureEncoding) -> Result<Self, InvocationError> {
        if fields.get("text_prompts").is_some() {
            let format = if encoding == PictureEncoding::Files { Format::Jpeg } else { Format::Png };
            let draft = sdxl::read_draft(&fields, format)?;
            return Ok(Self { drafts: vec![draft], shape: ResponseShape::Artifacts, encoding });
        }
        let shared = read_shared(&fields, encoding)?;
        let negatives = fields.strings("negative_prompt")?;
        let (prompts, echo) = match fields.strings("prompt")? {
            None => (vec![None], EchoedPrompt::One(String::new())),
            Some(Strings::One(prompt)) => (vec![Some(prompt.clone())], EchoedPrompt::One(prompt)),
            Some(Strings::Many(prompts)) => {
                (prompts.iter().cloned().map(Some).collect(), EchoedPrompt::Many(prompts))
            }
        };
        check_picture_count(prompts.len(), shared.n)?;
        let negatives = pair_negative_prompts(negatives, prompts.len())?;
        let per_prompt = shared.n.unwrap_or(1);
        let drafts = prompts.into_iter().zip(negatives).zip(0..).map(|((prompt, negative_prompt), index)| {
            // The seeds of each prompt follow those of the previous one, so that equal prompts give different
            // pictures.
            let seed = shared.seed.map(|seed| seed.saturating_add(per_prompt.saturating_mul(index)));
            Draft { prompt, negative_prompt, seed, ..shared.clone() }
        });
        Ok(Self { drafts: drafts.collect(), shape: ResponseShape::Images(echo), encoding })
    }

    /// The whole body is the prompt. Some clients send JSON with the content type of text.
    fn from_text(body: &[u8], encoding: PictureEncoding) -> Result<Self, InvocationError> {
        if body.trim_ascii_start().starts_with(b"{")
            && let Ok(fields) = parse_object(body)
            && (fields.get("prompt").is_some() || fields.get("text_prompts").is_some())
        {
            return Self::from_json(fields, encoding)?.into_single();
        }
        let prompt = std::str::from_utf8(body).map_err(|_| InvocationError::NotUtf8)?.to_owned();
        let draft =
            Draft { prompt: Some(prompt.clone()), format: Some(draft_format(encoding)), ..Draft::default() };
        Ok(Self { drafts: vec![draft], shape: ResponseShape::Image(prompt), encoding })
    }

    /// Changes the response's form to `generated_image`: to a request of type `application/x-text` it has one
    /// picture.
    fn into_single(self) -> Result<Self, InvocationError> {
        let many = self.drafts.iter().any(|draft| draft.n.is_some_and(|n| n != 1));
        let shape = match self.shape {
            ResponseShape::Images(EchoedPrompt::One(_) | EchoedPrompt::Many(_)) if many => {
                let expected = "1 if the content type is `application/x-text`";
                return Err(Violation::malformed("num_images_per_prompt", expected).into());
            }
            ResponseShape::Images(EchoedPrompt::Many(_)) => {
                let expected = "one prompt if the content type is `application/x-text`";
                return Err(Violation::malformed("prompt", expected).into());
            }
            ResponseShape::Images(EchoedPrompt::One(prompt)) => ResponseShape::Image(prompt),
            other => other,
        };
        Ok(Self { shape, ..self })
    }
}

fn parse_object(body: &[u8]) -> Result<Fields, InvocationError> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(fields)) => Ok(Fields(fields)),
        Ok(_) => Err(InvocationError::NotAnObject),
        Err(error) => Err(InvocationError::NotJson(error.to_string())),
    }
}

fn draft_format(encoding: PictureEncoding) -> Format {
    match encoding {
        PictureEncoding::Files => Format::Jpeg,
        PictureEncoding::Pixels => Format::Png,
    }
}

/// Reads the parameters that all prompts of a request share.
fn read_shared(fields: &Fields, encoding: PictureEncoding) -> Result<Draft, Violation> {
    Ok(Draft {
        width: fields.integer("width")?,
        height: fields.integer("height")?,
        steps: fields.integer("num_inference_steps")?,
        // Guidance up to 1 means none. A negative value means the same, and `Draft::check` would reject it.
        guidance: fields.number("guidance_scale")?.map(|guidance| guidance.max(0.0)),
        seed: fields.integer("seed")?.filter(|seed| *seed != RANDOM_SEED),
        n: fields.integer("num_images_per_prompt")?,
        format: Some(draft_format(encoding)),
        ..Draft::default()
    })
}

/// Limits the pictures of a request with several prompts to the limit for one prompt.
fn check_picture_count(prompts: usize, n: Option<i64>) -> Result<(), Violation> {
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
        let expected = format!("such that all prompts together make at most {limit} images");
        return Err(Violation::malformed("num_images_per_prompt", expected));
    }
    Ok(())
}

/// One negative prompt for each prompt: either the same for all, or a list as long as that of the prompts.
fn pair_negative_prompts(
    negatives: Option<Strings>,
    prompts: usize,
) -> Result<Vec<Option<String>>, Violation> {
    match negatives {
        None => Ok(vec![None; prompts]),
        Some(Strings::One(negative)) => Ok(vec![Some(negative); prompts]),
        Some(Strings::Many(negatives)) if negatives.len() == prompts => {
            Ok(negatives.into_iter().map(Some).collect())
        }
        Some(Strings::Many(_)) => {
            let expected = format!("a list as long as `prompt`, which has {prompts}");
            Err(Violation::malformed("negative_prompt", expected))
        }
    }
}
