//! The native `GET`: a prompt in the query, a signed link in the answer.

use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;
use time::OffsetDateTime;
use tintype_service::ledger::job::Status;
use tintype_service::{Image, LinkedPicture, WarningMessage};
use uuid::Uuid;

use crate::App;
use crate::caller::Authenticated;
use crate::csrf;
use crate::image_resource::{self, Cost};
use crate::images;
use crate::openapi::types::{Timestamp, Warning};
use crate::problem::Problem;
use crate::query;
use crate::submit::{JobOutcome, submit_and_wait};

/// The path that the root stands for too.
const PATH: &str = "/generate";
/// What a browser that was pointed at the bare address gets to read.
const ROOT_TEXT: &str = "tintype makes pictures from words.\n\n  GET /generate?prompt=cyborg_tiger\n\n\
    answers with JSON; its `url` is the picture. Parameters: prompt, negative_prompt, width, height, steps, \
    guidance, seed, format, expires_in, coalesce.\n";

/// The answer, in the order in which it is written.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Generated")]
pub(crate) struct GenerateResponse {
    /// A signed link to the picture.
    url: String,
    /// What it shows.
    prompt: String,
    /// The job: `/v1/images/{id}` has it.
    id: Uuid,
    /// Seed of its noise.
    seed: u64,
    /// Pixels per row.
    width: u32,
    /// Rows of pixels.
    height: u32,
    /// When the link stops working.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Timestamp>")]
    expires_at: Option<OffsetDateTime>,
    /// What was charged; nothing if the picture was there already.
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<Cost>,
    /// `hit` if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    cache: Option<&'static str>,
    /// What the client should know.
    #[schemars(with = "Vec<Warning>")]
    warnings: Vec<WarningMessage>,
}

/// `GET /generate?prompt=…`
pub(crate) async fn generate(State(app): State<App>, parts: Parts) -> Result<Response, Problem> {
    respond(&app, parts).await
}

/// `GET /?prompt=…`, and what else is at the root.
pub(crate) async fn root(State(app): State<App>, parts: Parts) -> Result<Response, Problem> {
    match parts.uri.query() {
        Some(query) if query::has_image_parameter(query) => respond(&app, parts).await,
        _ => Ok(ROOT_TEXT.into_response()),
    }
}

async fn respond(app: &App, mut parts: Parts) -> Result<Response, Problem> {
    if !app.get_enabled {
        return Err(Problem::GetDisabled);
    }
    csrf::reject_unintended_get(&parts.headers)?;
    let Authenticated(caller) = Authenticated::from_request_parts(&mut parts, app).await?;
    let asked = (query::parse(parts.uri.query().unwrap_or_default()), PATH);
    let JobOutcome { result, headers } = submit_and_wait(app, &caller, asked, &parts.headers, None).await?;
    let mut response = match result {
        Ok(image) => match response_body(app, image) {
            Ok(body) => Json(body).into_response(),
            Err(pending) => images::accepted(app, *pending),
        },
        Err(problem) => problem.into_response(),
    };
    response.headers_mut().extend(headers);
    Ok(response)
}

/// The picture, or the job if it has none yet.
fn response_body(app: &App, mut image: Image) -> Result<GenerateResponse, Box<Image>> {
    if image.status != Status::Succeeded || image.pictures.is_empty() {
        return Err(Box::new(image));
    }
    let picture = image.pictures.swap_remove(0);
    let LinkedPicture { seed, width, height, .. } = picture;
    Ok(GenerateResponse {
        url: image_resource::link(&app.origin, (image.id, 0), picture),
        prompt: image.request.map(|request| request.prompt).unwrap_or_default(),
        id: image.id.uuid(),
        seed,
        width,
        height,
        expires_at: image.expires_at.map(image_resource::to_second),
        cost: image.cost.map(Cost::from),
        cache: image_resource::cache(image.source),
        warnings: image.warnings,
    })
}
