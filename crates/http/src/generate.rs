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
use crate::submit::{Submitted, submit};

/// The path that the root stands for too.
const PATH: &str = "/generate";
/// What a browser that was pointed at the bare address gets to read.
const HINT: &str = "tintype makes pictures from words.\n\n  GET /generate?prompt=cyborg_tiger\n\n\
    answers with JSON; its `url` is the picture. Parameters: prompt, negative_prompt, width, height, steps, \
    guidance, seed, format, expires_in, coalesce.\n";

/// The answer, in the order in which it is written.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Generated")]
pub(crate) struct Body {
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
    answer(&app, parts).await
}

/// `GET /?prompt=…`, and what else is at the root.
pub(crate) async fn root(State(app): State<App>, parts: Parts) -> Result<Response, Problem> {
    match parts.uri.query() {
        Some(query) if query::asks_for_a_picture(query) => answer(&app, parts).await,
        _ => Ok(HINT.into_response()),
    }
}

async fn answer(app: &App, mut parts: Parts) -> Result<Response, Problem> {
    if !app.get_enabled {
        return Err(Problem::GetTurnedOff);
    }
    csrf::deliberate(&parts.headers)?;
    let Authenticated(caller) = Authenticated::from_request_parts(&mut parts, app).await?;
    let asked = (query::asked(parts.uri.query().unwrap_or_default()), PATH);
    let Submitted { result, headers } = submit(app, &caller, asked, &parts.headers, None).await?;
    let mut response = match result {
        Ok(image) => match body(app, image) {
            Ok(body) => Json(body).into_response(),
            Err(on_its_way) => images::accepted(app, *on_its_way),
        },
        Err(problem) => problem.into_response(),
    };
    response.headers_mut().extend(headers);
    Ok(response)
}

/// The picture, or the job if it has none yet.
fn body(app: &App, mut image: Image) -> Result<Body, Box<Image>> {
    if image.status != Status::Succeeded || image.pictures.is_empty() {
        return Err(Box::new(image));
    }
    let picture = image.pictures.swap_remove(0);
    let LinkedPicture { seed, width, height, .. } = picture;
    Ok(Body {
        url: image_resource::link(&app.origin, (image.id, 0), picture),
        prompt: image.request.map(|request| request.prompt).unwrap_or_default(),
        id: image.id.uuid(),
        seed,
        width,
        height,
        expires_at: image.expires_at.map(image_resource::until),
        cost: image.cost.map(Cost::from),
        cache: image_resource::cache(image.source),
        warnings: image.warnings,
    })
}
