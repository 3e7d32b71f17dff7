//! A job as JSON.

use schemars::JsonSchema;
use serde::Serialize;
use time::{OffsetDateTime, UtcOffset};
use tintype_core::engine::Progress;
use tintype_core::picture::Format;
use tintype_service::ledger::id::JobId;
use tintype_service::ledger::job::Status;
use tintype_service::ledger::money::{Amount, Spend};
use tintype_service::{Image, LinkedPicture, ServedFrom, WarningMessage};
use uuid::Uuid;

use crate::openapi::types::{FileFormat, Timestamp, Warning};
use crate::problem;

/// The path under which a job is found.
pub(crate) fn job_path(id: impl std::fmt::Display) -> String {
    format!("/v1/images/{id}")
}

/// A job, in the order in which it is written.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Image")]
pub(crate) struct ImageResource {
    /// The job.
    id: Uuid,
    /// Where it is.
    #[schemars(extend("enum" = ["queued", "running", "succeeded", "failed", "canceled"]))]
    status: &'static str,
    #[serde(flatten)]
    request: Option<RequestParameters>,
    /// The model that makes it, or has made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    /// When it was accepted.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "Timestamp")]
    created_at: OffsetDateTime,
    /// When it was last begun.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Timestamp>")]
    started_at: Option<OffsetDateTime>,
    /// When it ended.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Timestamp>")]
    finished_at: Option<OffsetDateTime>,
    /// When it is given up if it has not ended.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Timestamp>")]
    deadline: Option<OffsetDateTime>,
    /// How many jobs come before it while it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<u64>,
    /// How far it is while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<Steps>,
    /// Its pictures, in the order of their seeds, once it has succeeded; each with a fresh link.
    images: Vec<ImageLink>,
    /// When the links stop working.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Timestamp>")]
    expires_at: Option<OffsetDateTime>,
    /// What it was charged; nothing if another request pays.
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<Cost>,
    /// `hit` if the pictures were there already.
    #[schemars(extend("enum" = ["hit"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    cache: Option<&'static str>,
    /// What the client should know.
    #[schemars(with = "Vec<Warning>")]
    warnings: Vec<WarningMessage>,
    /// Why there is no picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Failure>,
}

/// What was asked for.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Asked")]
struct RequestParameters {
    /// What the picture shows.
    prompt: String,
    /// What it should not show.
    #[serde(skip_serializing_if = "String::is_empty")]
    negative_prompt: String,
    /// Pixels per row.
    width: u32,
    /// Rows of pixels.
    height: u32,
    /// Denoising steps.
    steps: u32,
    /// How closely to follow the prompt.
    guidance: f64,
    /// Seed of the first picture; each one's is one more.
    seed: u64,
    /// How many pictures.
    n: u32,
    /// Their file format.
    #[schemars(with = "FileFormat")]
    format: Format,
}

/// How far the engine has come.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Progress")]
pub(crate) struct Steps {
    /// Steps done.
    step: u32,
    /// Steps in all, over all pictures.
    steps: u32,
}

impl Steps {
    /// For a job of so many steps in all, over all its pictures.
    pub(crate) fn of(progress: Progress, all: u32) -> Self {
        match progress {
            Progress::Started => Self { step: 0, steps: all },
            Progress::Step { done, of } => Self { step: done, steps: of },
            Progress::Decoding => Self { step: all, steps: all },
        }
    }
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Picture")]
struct ImageLink {
    /// A signed link.
    url: String,
    /// Seed of its noise.
    seed: u64,
    /// Pixels per row.
    width: u32,
    /// Rows of pixels.
    height: u32,
    /// Its file format.
    #[schemars(with = "FileFormat")]
    format: Format,
}

/// What a request was charged.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Cost {
    /// Engine time.
    engine_seconds: f64,
    #[serde(flatten)]
    money: Option<Money>,
}

/// An amount in the currency's unit.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Money {
    /// In the currency's unit.
    amount: f64,
    /// Three letters.
    currency: String,
}

#[derive(Serialize, JsonSchema)]
struct Failure {
    reason: &'static str,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    model_status: Option<u16>,
}

/// Whether the pictures were there already.
pub(crate) fn cache(source: ServedFrom) -> Option<&'static str> {
    (source == ServedFrom::Stored).then_some("hit")
}

/// Down to the second: a link must not be said to work longer than it does.
pub(crate) fn to_second(at: OffsetDateTime) -> OffsetDateTime {
    at.to_offset(UtcOffset::UTC).truncate_to_second()
}

/// To the millisecond: what is beyond it is noise.
pub(crate) fn to_millisecond(at: OffsetDateTime) -> OffsetDateTime {
    at.to_offset(UtcOffset::UTC).truncate_to_millisecond()
}

impl ImageResource {
    /// `origin` is what links to this API begin with.
    pub(crate) fn new(image: Image, origin: &str) -> Self {
        let all = image.request.as_ref().map_or(0, |request| request.steps * request.n);
        let request = image.request.map(|request| RequestParameters {
            prompt: request.prompt,
            negative_prompt: request.negative_prompt,
            width: request.width,
            height: request.height,
            steps: request.steps,
            guidance: request.guidance,
            seed: request.seed.value(),
            n: request.n,
            format: request.format,
        });
        let error = match image.status {
            Status::Failed(reason) => Some(Failure {
                reason: reason.name(),
                detail: problem::failure_detail(reason, image.upstream_error.as_ref()),
                model_status: image.upstream_error.and_then(|upstream_error| upstream_error.status),
            }),
            _ => None,
        };
        Self {
            id: image.id.uuid(),
            status: image.status.name(),
            request,
            model: image.model,
            created_at: to_millisecond(image.created),
            started_at: image.started.map(to_millisecond),
            finished_at: image.finished.map(to_millisecond),
            deadline: image.deadline.map(to_millisecond),
            position: image.position,
            progress: image.progress.map(|progress| Steps::of(progress, all)),
            images: (0..)
                .zip(image.pictures)
                .map(|(at, picture)| ImageLink::new(origin, (image.id, at), picture))
                .collect(),
            expires_at: image.expires_at.map(to_second),
            cost: image.cost.map(Cost::from),
            cache: cache(image.source),
            warnings: image.warnings,
            error,
        }
    }
}

impl ImageLink {
    fn new(origin: &str, place: (JobId, usize), picture: LinkedPicture) -> Self {
        let LinkedPicture { seed, width, height, format, .. } = picture;
        Self { url: link(origin, place, picture), seed, width, height, format }
    }
}

/// The link to a picture: the signed one, or, if that ends before it was to, one to this API, which signs anew.
pub(crate) fn link(origin: &str, (id, at): (JobId, usize), picture: LinkedPicture) -> String {
    if picture.cut_short { format!("{origin}{}/content?index={at}", job_path(id)) } else { picture.url }
}

impl From<Spend> for Cost {
    fn from(spend: Spend) -> Self {
        Self { engine_seconds: seconds(spend.engine_ms), money: spend.amount.map(Money::from) }
    }
}

impl From<Amount> for Money {
    fn from(amount: Amount) -> Self {
        Self { amount: units(amount.micros), currency: amount.currency.to_string() }
    }
}

/// Milliseconds as seconds.
pub(crate) fn seconds(millis: u64) -> f64 {
    // The double nearest to a decimal of up to 15 digits is written as that decimal.
    millis as f64 / 1e3
}

/// Millionths as units.
pub(crate) fn units(micros: u64) -> f64 {
    micros as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_written_to_the_last_decimal() {
        for (text, json) in [
            ("0.0031usd", r#"{"amount":0.0031,"currency":"usd"}"#),
            ("300eur", r#"{"amount":300.0,"currency":"eur"}"#),
            ("0.100001usd", r#"{"amount":0.100001,"currency":"usd"}"#),
            ("999999999.999999usd", r#"{"amount":999999999.999999,"currency":"usd"}"#),
        ] {
            let amount: Amount = text.parse().expect("an amount");
            assert_eq!(serde_json::to_string(&Money::from(amount)).expect("plain data"), json);
        }
    }
}
