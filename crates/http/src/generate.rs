//! `GET /generate` and `GET /`: a prompt in the query, a presigned URL in the response.

use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;
use time::OffsetDateTime;
use tintype_ledger::job::Status;
use tintype_service::{Image, LinkedPicture, WarningMessage};
use uuid::Uuid;

use crate::App;
use crate::caller::Authenticated;
use crate::csrf;
use crate::image_resource::{self, Cost};
use crate::images;
use crate::link_warning::check_link;
use crate::openapi::types::{Timestamp, Warning};
use crate::problem::Problem;
use crate::query;
use crate::submit::{GenerationRequest, JobOutcome, submit_and_wait};

/// The canonical path, also for `GET /?prompt=…`.
const PATH: &str = "/generate";
/// The response to `GET /` without parameters.
const ROOT_TEXT: &str = "tintype generates images from text.\n\n  GET /generate?prompt=cyborg_tiger\n\n\
    The response is JSON; its `url` links to the image. Parameters: prompt, negative_prompt, width, height, \
    steps, guidance, seed, format, expires_in, coalesce, model. API reference: GET /docs\n";

/// The generated image.
// The fields are in the order of the JSON members.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Generated")]
pub(crate) struct GenerateResponse {
    /// A presigned URL to the image.
    url: String,
    /// The prompt of the request.
    prompt: String,
    /// The job's id, for `GET /v1/images/{id}`.
    id: Uuid,
    /// The seed of the image.
    seed: u64,
    /// The width in pixels.
    width: u32,
    /// The height in pixels.
    height: u32,
    /// When the link expires.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Timestamp>")]
    expires_at: Option<OffsetDateTime>,
    /// The charged cost; 0 if the image was already stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<Cost>,
    /// `hit` if the image was already stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    cache: Option<&'static str>,
    /// Warnings about the request.
    #[schemars(with = "Vec<Warning>")]
    warnings: Vec<WarningMessage>,
}

/// `GET /generate?prompt=…`
pub(crate) async fn generate(State(app): State<App>, parts: Parts) -> Result<Response, Problem> {
    respond(&app, parts).await
}

/// `GET /`: an image if the query has parameters of one, and a short text otherwise.
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
    csrf::reject_unintended_get(&parts.headers, &app.cors)?;
    let Authenticated(caller) = Authenticated::from_request_parts(&mut parts, app).await?;
    let params = query::parse(parts.uri.query().unwrap_or_default());
    let request = GenerationRequest { path: PATH, params, headers: &parts.headers, max_wait: None };
    let JobOutcome { result, headers } = submit_and_wait(app, &caller, request).await?;
    let mut response = match result {
        Ok(image) => match response_body(app, image) {
            Ok(body) => Json(body).into_response(),
            Err(pending) => images::accepted(app, &caller, *pending),
        },
        Err(problem) => problem.into_response(),
    };
    response.headers_mut().extend(headers);
    Ok(response)
}

/// The response body, or the job itself if it has no image yet.
fn response_body(app: &App, mut image: Image) -> Result<GenerateResponse, Box<Image>> {
    if image.status != Status::Succeeded || image.pictures.is_empty() {
        return Err(Box::new(image));
    }
    let picture = image.pictures.swap_remove(0);
    let LinkedPicture { seed, width, height, .. } = picture;
    let url = image_resource::link(&app.origin, image.id, 0, picture);
    let link_warning = check_link(&url, &app.origin);
    Ok(GenerateResponse {
        url,
        prompt: image.request.map(|request| request.prompt).unwrap_or_default(),
        id: image.id.uuid(),
        seed,
        width,
        height,
        expires_at: image.expires_at.map(image_resource::to_second),
        cost: image.cost.map(Cost::from),
        cache: image_resource::cache(image.source),
        warnings: image.warnings.into_iter().chain(link_warning).collect(),
    })
}
