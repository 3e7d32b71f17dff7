//! The body of `POST /v1/images/generations`: OpenAI's parameters, which become native ones, and the native
//! parameters.

use std::time::Duration;

use serde_json::Value as Json;
use tintype_core::model::ModelCard;
use tintype_core::picture::Format;
use tintype_core::request::RequestLimits;
use tintype_core::violation::{Violation, ViolationKind};
use tintype_service::{Caller, ServiceError, Submission, WarningMessage};

use super::size::{self, Size};
use crate::App;
use crate::json::{self, Members};
use crate::params::{ParamSource, Params, Value, ValueKind, excluded, out_of_range};
use crate::problem::Problem;

/// The default lifetime of links, as with OpenAI.
const LINK_LIFETIME: Duration = Duration::from_secs(3600);
/// The maximum number of partial images before an image.
const MAX_PARTIAL_IMAGES: i64 = 3;
/// Prefixes of models whose clients expect files by default.
const FILE_ONLY_MODELS: [&str; 2] = ["gpt-image", "chatgpt-image"];

/// OpenAI's own parameters, in the order of its documentation. Those without an effect here are accepted and
/// checked only.
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

/// How the response delivers the images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// As links.
    Links,
    /// As files in the body.
    Files,
    /// As server-sent events: partial images, then the files.
    Stream {
        /// The maximum number of partial images, 0 to 3.
        partial_images: u32,
    },
}

/// A parsed request.
#[derive(Debug)]
pub(super) struct OpenAiRequest {
    params: Params,
    seen: Vec<&'static str>,
    model: Option<String>,
    /// `None` is the model's default size.
    size: Option<Size>,
    quality: Option<String>,
    links: Option<bool>,
    stream: bool,
    partial_images: u32,
}

/// A valid request.
#[derive(Debug)]
pub(super) struct CheckedRequest {
    pub(super) submission: Submission,
    /// The canonical form of the parameters, see [`Params::canonical`].
    pub(super) canonical: Vec<u8>,
    pub(super) options: ResponseOptions,
}

/// What the response shall contain.
#[derive(Debug)]
pub(super) struct ResponseOptions {
    pub(super) delivery: Delivery,
    /// The quality of the request, returned unchanged.
    pub(super) quality: Option<String>,
    /// Warnings about the request.
    pub(super) warnings: Vec<WarningMessage>,
}

impl OpenAiRequest {
    pub(super) fn parse(members: Members) -> Self {
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
        this.params.warnings = members.warnings();
        for (name, value) in members.members.into_iter().filter(|(_, value)| !value.is_null()) {
            match PARAMETERS.into_iter().find(|known| *known == name) {
                None => this.params.insert(&name, |param| json::parse_value(param, value)),
                // Forms write absent values so.
                Some(_) if value == "" => {}
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
                let parsed = Size::parse(&size);
                if parsed.is_none() && size != "auto" {
                    return Err(Violation::malformed(name, "`auto` or `WIDTHxHEIGHT` in pixels"));
                }
                self.size = parsed;
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
                self.params.insert(name, |_| Ok(Some(Value::Format(format))));
            }
            "background" => {
                let background = text(name, value)?;
                if background == "transparent" {
                    return Err(Violation::malformed(
                        name,
                        "auto or opaque; the model's images have no transparency",
                    ));
                }
                one_of(name, &background, &["auto", "opaque"])?;
            }
            "moderation" => one_of(name, &text(name, value)?, &["auto", "low"])?,
            "style" => one_of(name, &text(name, value)?, &["vivid", "natural"])?,
            "stream" => {
                self.stream = value
                    .as_bool()
                    .ok_or_else(|| Violation::malformed(name, ValueKind::Boolean.expected()))?;
            }
            "partial_images" => {
                let number = json::integer(&value)
                    .ok_or_else(|| Violation::malformed(name, ValueKind::Integer.expected()))?;
                let violation = out_of_range(name, 0, MAX_PARTIAL_IMAGES);
                self.partial_images =
                    u32::try_from(number).ok().filter(|_| number <= MAX_PARTIAL_IMAGES).ok_or(violation)?;
            }
            // `user` and `safety_identifier` are not stored.
            _ => _ = text(name, value)?,
        }
        Ok(())
    }

    /// The submission, if the request is valid.
    ///
    /// # Errors
    /// The errors of [`Service::model`](tintype_service::Service::model), and those of [`Params::into_submission`].
    pub(super) fn check(mut self, app: &App, caller: &Caller) -> Result<CheckedRequest, Problem> {
        let model = app.service.model(self.model.as_deref())?;
        let name = model.card().name.clone();
        let delivery = self.delivery();
        self.reject_second_size();
        let mut warnings = std::mem::take(&mut self.params.warnings);
        // A client that names the model itself can know its sizes.
        if self.model.as_ref() != Some(&name) {
            warnings.extend(self.fit_size(model.card(), &model.limits()));
        }
        // The default model has no name here, so that retries of requests to earlier versions are recognized.
        if app.service.model(None).is_ok_and(|default| default.card().name != name) {
            self.params.insert("model", |_| Ok(Some(Value::Text(name))));
        }
        if let Some(Size { width, height }) = self.size {
            self.params.insert("width", |_| Ok(Some(Value::Integer(width.into()))));
            self.params.insert("height", |_| Ok(Some(Value::Integer(height.into()))));
        }
        if !self.params.contains("format") {
            self.params.insert("format", |_| Ok(Some(Value::Format(Format::Png))));
        }
        if delivery == Delivery::Links && !self.params.contains("expires_in") {
            self.params.insert("expires_in", |_| Ok(Some(Value::Integer(LINK_LIFETIME.as_secs() as i64))));
        }
        let canonical = self.params.canonical("/v1/images/generations");
        let has_size = self.size.is_some();
        let submission = self.params.into_submission(&app.service, caller);
        let submission = submission.map_err(|error| if has_size { report_as_size(error) } else { error })?;
        let options = ResponseOptions { delivery, quality: self.quality, warnings };
        Ok(CheckedRequest { submission, canonical, options })
    }

    /// Rejects a size together with a width or a height.
    fn reject_second_size(&mut self) {
        let sides: Vec<_> =
            ["width", "height"].into_iter().filter(|name| self.params.contains(name)).collect();
        if self.size.is_some() && !sides.is_empty() {
            self.size = None;
            self.params.reject(excluded("size", &sides.join("` or `")));
        }
    }

    fn delivery(&mut self) -> Delivery {
        if self.stream {
            if self.links == Some(true) {
                let expected = "b64_json or absent if `stream` is true, since events carry files";
                self.params.reject(Violation::malformed("response_format", expected));
            }
            return Delivery::Stream { partial_images: self.partial_images };
        }
        let expects_files = |model: &String| FILE_ONLY_MODELS.iter().any(|prefix| model.starts_with(prefix));
        let links = self.links.unwrap_or_else(|| !self.model.as_ref().is_some_and(expects_files));
        if links { Delivery::Links } else { Delivery::Files }
    }

    /// Replaces a size that the model does not support, and returns a warning about it.
    fn fit_size(&mut self, model: &ModelCard, limits: &RequestLimits) -> Option<WarningMessage> {
        let requested = self.size?;
        let fitted = size::fit(requested, model, limits);
        self.size = Some(fitted);
        (fitted != requested).then(|| WarningMessage {
            code: "size_fitted".to_owned(),
            message: format!(
                "`size` {requested} is not supported by the model {}; {fitted} was used instead",
                model.name
            ),
        })
    }
}

fn text(name: &str, value: Json) -> Result<String, Violation> {
    match value {
        Json::String(text) => Ok(text),
        _ => Err(Violation::malformed(name, ValueKind::Text.expected())),
    }
}

fn one_of(name: &str, value: &str, known: &[&str]) -> Result<(), Violation> {
    if known.contains(&value) {
        return Ok(());
    }
    Err(Violation::malformed(name, format!("one of {}", known.join(", "))))
}

/// Renames violations of `width` and `height` to the parameter `size`, from which they were derived.
fn report_as_size(error: ServiceError) -> ServiceError {
    let ServiceError::Invalid(violations) = error else { return error };
    let violations = violations.into_iter().map(|violation| match &*violation.parameter {
        "width" | "height" => Violation::new("size", violation.kind),
        _ => violation,
    });
    ServiceError::Invalid(violations.collect())
}
