//! The JSON representation of a job.

use schemars::JsonSchema;
use serde::Serialize;
use time::{OffsetDateTime, UtcOffset};
use tintype_core::engine::Progress;
use tintype_core::picture::Format;
use tintype_ledger::id::JobId;
use tintype_ledger::job::Status;
use tintype_ledger::money::{Amount, Spend};
use tintype_service::{Caller, Image, LinkedPicture, ServedFrom, WarningMessage};
use uuid::Uuid;

use crate::App;
use crate::caller::EVENTS_TOKEN;
use crate::link_warning::check_link;
use crate::openapi::types::{FileFormat, Timestamp, Warning};
use crate::problem;

/// The path of a job.
pub(crate) fn job_path(id: impl std::fmt::Display) -> String {
    format!("/v1/images/{id}")
}

/// A job.
// The fields are in the order of the JSON members.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Image")]
pub(crate) struct ImageResource {
    /// The job's id.
    id: Uuid,
    /// The state of the job.
    #[schemars(extend("enum" = ["queued", "running", "succeeded", "failed", "canceled"]))]
    status: &'static str,
    #[serde(flatten)]
    request: Option<RequestParameters>,
    /// The model that generates or generated the images.
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    /// When the job was accepted.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "Timestamp")]
    created_at: OffsetDateTime,
    /// When the job was last started.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Timestamp>")]
    started_at: Option<OffsetDateTime>,
    /// When the job ended.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Timestamp>")]
    finished_at: Option<OffsetDateTime>,
    /// When the job is stopped if it has not ended.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Timestamp>")]
    deadline: Option<OffsetDateTime>,
    /// While the job waits: the number of jobs ahead in the queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<u64>,
    /// While the job runs: its progress.
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<Steps>,
    /// While the job has not ended: the URL of its events, for a browser's `EventSource`. It needs no API key
    /// and can be opened for an hour; each response has a new one.
    #[serde(skip_serializing_if = "Option::is_none")]
    events_url: Option<String>,
    /// The images in the order of their seeds, each with a new presigned URL; empty until the job has
    /// succeeded.
    images: Vec<ImageLink>,
    /// When the links expire.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Timestamp>")]
    expires_at: Option<OffsetDateTime>,
    /// The charged cost; 0 if another request is charged.
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<Cost>,
    /// `hit` if the images were already stored.
    #[schemars(extend("enum" = ["hit"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    cache: Option<&'static str>,
    /// Warnings about the request.
    #[schemars(with = "Vec<Warning>")]
    warnings: Vec<WarningMessage>,
    /// Why the job failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Failure>,
}

/// The parameters of the request.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Asked")]
struct RequestParameters {
    /// What the image shall show.
    prompt: String,
    /// What the image shall not show.
    #[serde(skip_serializing_if = "String::is_empty")]
    negative_prompt: String,
    /// The width in pixels.
    width: u32,
    /// The height in pixels.
    height: u32,
    /// The number of denoising steps.
    steps: u32,
    /// The guidance scale.
    guidance: f64,
    /// The seed of the first image; each further image uses the next seed.
    seed: u64,
    /// The number of images.
    n: u32,
    /// The file format.
    #[schemars(with = "FileFormat")]
    format: Format,
}

/// The progress of a running job.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Progress")]
pub(crate) struct Steps {
    /// The number of completed steps.
    step: u32,
    /// The total number of steps for all images.
    steps: u32,
}

impl Steps {
    /// `total` is the number of steps for all images of the job.
    pub(crate) fn of(progress: Progress, total: u32) -> Self {
        match progress {
            Progress::Started => Self { step: 0, steps: total },
            Progress::Step { done, of } => Self { step: done, steps: of },
            Progress::Decoding => Self { step: total, steps: total },
        }
    }
}

/// An image and its link.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Picture")]
struct ImageLink {
    /// A presigned URL to the image.
    url: String,
    /// The seed of the image.
    seed: u64,
    /// The width in pixels.
    width: u32,
    /// The height in pixels.
    height: u32,
    /// The file format.
    #[schemars(with = "FileFormat")]
    format: Format,
}

/// The charged cost of a request.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Cost {
    /// The engine time in seconds.
    engine_seconds: f64,
    #[serde(flatten)]
    money: Option<Money>,
}

/// An amount of money.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Money {
    /// The amount in units of the currency.
    amount: f64,
    /// The three-letter currency code.
    currency: String,
}

/// Why a job failed.
#[derive(Serialize, JsonSchema)]
struct Failure {
    /// The reason, for programs.
    reason: &'static str,
    /// The reason, for people.
    detail: String,
    /// The HTTP status of the remote model's error.
    #[serde(skip_serializing_if = "Option::is_none")]
    model_status: Option<u16>,
}

/// The value of the member `cache`: `hit` if the images were already stored.
pub(crate) fn cache(source: ServedFrom) -> Option<&'static str> {
    (source == ServedFrom::Stored).then_some("hit")
}

/// A time in UTC, rounded down to the second: a link must not expire before its stated time.
pub(crate) fn to_second(at: OffsetDateTime) -> OffsetDateTime {
    at.to_offset(UtcOffset::UTC).truncate_to_second()
}

/// A time in UTC, rounded down to the millisecond.
pub(crate) fn to_millisecond(at: OffsetDateTime) -> OffsetDateTime {
    at.to_offset(UtcOffset::UTC).truncate_to_millisecond()
}

impl ImageResource {
    /// The representation for this caller.
    pub(crate) fn new(app: &App, caller: &Caller, image: Image) -> Self {
        let origin = &app.origin;
        let events_url = (!image.status.is_final()).then(|| events_url(app, caller, &image));
        let total = image.request.as_ref().map_or(0, |request| request.steps * request.n);
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
        let images: Vec<_> = (0..)
            .zip(image.pictures)
            .map(|(index, picture)| ImageLink {
                seed: picture.seed,
                width: picture.width,
                height: picture.height,
                format: picture.format,
                url: link(origin, image.id, index, picture),
            })
            .collect();
        let link_warning = images.first().and_then(|image| check_link(&image.url, origin));
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
            progress: image.progress.map(|progress| Steps::of(progress, total)),
            events_url,
            images,
            expires_at: image.expires_at.map(to_second),
            cost: image.cost.map(Cost::from),
            cache: cache(image.source),
            warnings: image.warnings.into_iter().chain(link_warning).collect(),
            error,
        }
    }
}

/// The URL of a job's events, with a token if the caller has an API key.
fn events_url(app: &App, caller: &Caller, image: &Image) -> String {
    let url = format!("{}{}/events", app.origin, job_path(image.id));
    match app.service.events_token(caller, image) {
        Some(token) => format!("{url}?{EVENTS_TOKEN}={token}"),
        None => url,
    }
}

/// The link to the image with this index in its job: the presigned URL, or, if that expires earlier than
/// requested, a link to this API, which signs a new one for each request.
pub(crate) fn link(origin: &str, id: JobId, index: usize, picture: LinkedPicture) -> String {
    if picture.cut_short { format!("{origin}{}/content?index={index}", job_path(id)) } else { picture.url }
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

/// Millionths of a currency's unit as units.
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
