//! What an OpenAI client asks for: its own parameters turned into ours, and ours beside them.

use std::time::Duration;

use serde_json::Value as Json;
use tintype_core::engine::ModelCard;
use tintype_core::picture::Format;
use tintype_core::request::RequestLimits;
use tintype_core::violation::{Violation, ViolationKind};
use tintype_service::{ServiceError, Submission, WarningMessage};

use super::models::{self, ModelMatch};
use super::size;
use crate::App;
use crate::json::{self, Members};
use crate::params::{ParamSource, Params, Value, out_of_range};
use crate::problem::Problem;

/// How long links work unless asked otherwise: as long as OpenAI's do.
const LINK_LIFETIME: Duration = Duration::from_secs(3600);
/// Most pictures in the making that are sent ahead of one.
const MAX_PARTIAL_IMAGES: i64 = 3;
/// Models whose clients know of no links.
const FILE_ONLY_MODELS: [&str; 2] = ["gpt-image", "chatgpt-image"];

/// The parameters of OpenAI's own, in the order in which its documentation has them. Those that are not read below are
/// taken and change nothing here: see the API's description.
pub(crate) const PARAMETERS: [&str; 12] = [
    "model",
    "size",
    "quality",
    "response_format",
    "output_format",
    "background",
    "moderation",
    "style",
    "user",
    "safety_identifier",
    "stream",
    "partial_images",
];

/// How the pictures are to arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// As links.
    Links,
    /// As files in the answer.
    Files,
    /// As events: so many pictures in the making, then the files.
    Stream {
        /// 0 to 3.
        partial_images: u32,
    },
}

/// A request as it was read.
#[derive(Debug)]
pub(super) struct OpenAiRequest {
    params: Params,
    seen: Vec<&'static str>,
    model: Option<String>,
    /// None is the model's own.
    size: Option<(u32, u32)>,
    quality: Option<String>,
    links: Option<bool>,
    stream: bool,
    partial_images: u32,
}

/// A request that is all right.
#[derive(Debug)]
pub(super) struct CheckedRequest {
    pub(super) submission: Submission,
    /// The request in one form, however it was written.
    pub(super) canonical: Vec<u8>,
    pub(super) answer: ResponseOptions,
}

/// What the answer is to be.
#[derive(Debug)]
pub(super) struct ResponseOptions {
    pub(super) delivery: Delivery,
    /// As it was asked for.
    pub(super) quality: Option<String>,
    /// What the client should know.
    pub(super) warning: Option<WarningMessage>,
}

impl OpenAiRequest {
    pub(super) fn read(members: Members) -> Self {
        let mut this = Self {
            params: Params::new(ParamSource::OpenAi),
            seen: Vec::new(),
            model: None,
            size: None,
            quality: None,
            links: None,
            stream: false,
            partial_images: 0,
        };
        for (name, value) in members.0.into_iter().filter(|(_, value)| !value.is_null()) {
            match PARAMETERS.into_iter().find(|known| *known == name) {
                None => this.params.insert(&name, |param| json::parse_value(param, value)),
                Some(name) if this.seen.contains(&name) => {
                    this.params.reject(Violation::new(name, ViolationKind::Repeated));
                }
                Some(name) => {
                    this.seen.push(name);
                    if let Err(violation) = this.set(name, value) {
                        this.params.reject(violation);
                    }
                }
            }
        }
        this
    }

    fn set(&mut self, name: &'static str, value: Json) -> Result<(), Violation> {
        match name {
            "model" => self.model = Some(text(name, value)?),
            "size" => {
                let size = text(name, value)?;
                let read = size::read(&size);
                if read.is_none() && size != "auto" {
                    return Err(Violation::malformed(name, "auto, or WIDTHxHEIGHT in pixels"));
                }
                self.size = read;
            }
            "quality" => {
                let quality = text(name, value)?;
                one_of(name, &quality, &["auto", "low", "medium", "high", "xhigh", "max", "standard", "hd"])?;
                self.quality = Some(quality);
            }
            "response_format" => {
                let format = text(name, value)?;
                one_of(name, &format, &["url", "b64_json"])?;
                self.links = Some(format == "url");
            }
            "output_format" => {
                let format: Option<Format> = text(name, value)?.parse().ok();
                let format = format.ok_or_else(|| Violation::malformed(name, "one of png, jpeg, webp"))?;
                self.params.insert("format", |_| Ok(Value::Format(format)));
            }
            "background" => {
                let background = text(name, value)?;
                if background == "transparent" {
                    return Err(Violation::malformed(
                        name,
                        "auto or opaque: this model's pictures have no transparency",
                    ));
                }
                one_of(name, &background, &["auto", "opaque"])?;
            }
            "moderation" => one_of(name, &text(name, value)?, &["auto", "low"])?,
            "style" => one_of(name, &text(name, value)?, &["vivid", "natural"])?,
            "stream" => {
                self.stream = value.as_bool().ok_or_else(|| Violation::malformed(name, "true or false"))?;
            }
            "partial_images" => {
                let number = value.as_number().and_then(json::integer);
                let number = number.ok_or_else(|| Violation::malformed(name, "a whole number"))?;
                let most = out_of_range(name, 0, MAX_PARTIAL_IMAGES);
                self.partial_images =
                    u32::try_from(number).ok().filter(|_| number <= MAX_PARTIAL_IMAGES).ok_or(most)?;
            }
            // `user` and `safety_identifier`: whom the client's own users are is not kept.
            _ => _ = text(name, value)?,
        }
        Ok(())
    }

    /// The order, if nothing is wrong with it.
    ///
    /// # Errors
    /// [`Problem::UnknownModel`], and those of [`Params::submission`].
    pub(super) fn check(mut self, app: &App) -> Result<CheckedRequest, Problem> {
        let named = self.model.as_deref().map(|name| models::match_model(app, name)).transpose()?;
        if named == Some(ModelMatch::Unknown) {
            return Err(Problem::UnknownModel(self.model.unwrap_or_default()));
        }
        let delivery = self.delivery();
        // Who names this very model knows what it makes.
        let exact = named == Some(ModelMatch::Exact);
        let warning = self.resolve_size(app.service.model()?, &app.service.limits()?, exact);
        if !self.params.contains("format") {
            self.params.insert("format", |_| Ok(Value::Format(Format::Png)));
        }
        if delivery == Delivery::Links && !self.params.contains("expires_in") {
            self.params.insert("expires_in", |_| Ok(Value::Integer(LINK_LIFETIME.as_secs() as i64)));
        }
        let canonical = self.params.canonical("/v1/images/generations");
        let sized = self.size.is_some();
        let submission = self
            .params
            .into_submission(&app.service)
            .map_err(|error| if sized { report_as_size(error) } else { error })?;
        Ok(CheckedRequest {
            submission,
            canonical,
            answer: ResponseOptions { delivery, quality: self.quality, warning },
        })
    }

    fn delivery(&mut self) -> Delivery {
        if self.stream {
            if self.links == Some(true) {
                let expected = "b64_json or left out where `stream` is true: events carry the files";
                self.params.reject(Violation::malformed("response_format", expected));
            }
            return Delivery::Stream { partial_images: self.partial_images };
        }
        let without_links = |model: &String| FILE_ONLY_MODELS.iter().any(|start| model.starts_with(start));
        let links = self.links.unwrap_or_else(|| !self.model.as_ref().is_some_and(without_links));
        if links { Delivery::Links } else { Delivery::Files }
    }

    /// Turns the size into width and height; where the client cannot know this model's, into those that are made of it.
    fn resolve_size(
        &mut self,
        model: &ModelCard,
        limits: &RequestLimits,
        exact: bool,
    ) -> Option<WarningMessage> {
        let asked = self.size?;
        let (width, height) = if exact { asked } else { size::fit(asked, model, limits) };
        self.params.insert("width", |_| Ok(Value::Integer(width.into())));
        self.params.insert("height", |_| Ok(Value::Integer(height.into())));
        ((width, height) != asked).then(|| WarningMessage {
            code: "size_fitted".to_owned(),
            message: format!(
                "`size` {}x{} is not one that {} makes; made instead: {width}x{height}",
                asked.0, asked.1, model.name
            ),
        })
    }
}

fn text(name: &str, value: Json) -> Result<String, Violation> {
    match value {
        Json::String(text) => Ok(text),
        _ => Err(Violation::malformed(name, "a text")),
    }
}

fn one_of(name: &str, value: &str, known: &[&str]) -> Result<(), Violation> {
    if known.contains(&value) {
        return Ok(());
    }
    Err(Violation::malformed(name, format!("one of {}", known.join(", "))))
}

/// Tells by the parameter that the client gave what is wrong with the two that were made of it.
fn report_as_size(error: ServiceError) -> ServiceError {
    let ServiceError::Invalid(violations) = error else { return error };
    let told = violations.into_iter().map(|violation| match &*violation.parameter {
        "width" | "height" => Violation::new("size", violation.kind),
        _ => violation,
    });
    ServiceError::Invalid(told.collect())
}
