//! `/v1/images`: jobs and their images.

use std::time::Duration;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::header::{LOCATION, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{AppendHeaders, IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;
use tintype_core::request::{DEFAULT_EXPIRY, MAX_EXPIRY};
use tintype_core::violation::Violation;
use tintype_ledger::id::JobId;
use tintype_ledger::job::Status;
use tintype_service::{Caller, Image, MAX_PAGE, ServiceError};

use crate::App;
use crate::caller::Authenticated;
use crate::image_resource::{ImageResource, job_path};
use crate::json::Members;
use crate::path_param::PathParam;
use crate::prefer::{PREFERENCE_APPLIED, Preferences};
use crate::problem::{JOB_POLL_AFTER_S, Problem};
use crate::query;
use crate::submit::{GenerationRequest, JobOutcome, submit_and_wait};

const PATH: &str = "/v1/images";
/// The default number of jobs on a page.
const DEFAULT_PAGE_SIZE: usize = 20;

/// A page of the job list.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ImagePage")]
pub(crate) struct ImagePage {
    /// The jobs, newest first.
    data: Vec<ImageResource>,
    /// The `cursor` of the next page; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// `POST /v1/images`
pub(crate) async fn create(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    headers: HeaderMap,
    body: Members,
) -> Result<Response, Problem> {
    let preferences = Preferences::of(&headers);
    let max_wait = preferences.max_wait();
    let request = GenerationRequest { path: PATH, params: body.into_params(), headers: &headers, max_wait };
    let JobOutcome { result, headers } = submit_and_wait(&app, &caller, request).await?;
    let (mut response, is_pending) = match result {
        Ok(image) if image.status == Status::Succeeded => (created(&app, &caller, image), false),
        Ok(image) => (accepted(&app, &caller, image), true),
        Err(problem) => (problem.into_response(), false),
    };
    response.headers_mut().extend(headers);
    if let Some(applied) = preferences.applied(is_pending) {
        let value = HeaderValue::try_from(applied).expect("visible ASCII");
        response.headers_mut().insert(PREFERENCE_APPLIED, value);
    }
    Ok(response)
}

/// The response `201 Created` with a job that has its images.
fn created(app: &App, caller: &Caller, image: Image) -> Response {
    let location = [(LOCATION, job_path(image.id))];
    (StatusCode::CREATED, location, Json(ImageResource::new(app, caller, image))).into_response()
}

/// The response `202 Accepted` with a job that has not ended.
pub(crate) fn accepted(app: &App, caller: &Caller, image: Image) -> Response {
    let headers = [(LOCATION, job_path(image.id)), (RETRY_AFTER, JOB_POLL_AFTER_S.to_string())];
    (StatusCode::ACCEPTED, headers, Json(ImageResource::new(app, caller, image))).into_response()
}

/// `GET /v1/images/{id}`
pub(crate) async fn read(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathParam(id): PathParam,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let values = query::parse_known(&query.unwrap_or_default(), &["expires_in"])?;
    let expires_in = match values.get("expires_in") {
        Some(text) => parse_expiry(text).map_err(|violation| vec![violation])?,
        None => DEFAULT_EXPIRY,
    };
    let image = app.service.image(&caller, parse_job_id(&id)?, expires_in).await?;
    let retry_after = (!image.status.is_final()).then(|| [(RETRY_AFTER, JOB_POLL_AFTER_S.to_string())]);
    Ok((retry_after.map(AppendHeaders), Json(ImageResource::new(&app, &caller, image))).into_response())
}

/// `GET /v1/images`
pub(crate) async fn list(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let values = query::parse_known(&query.unwrap_or_default(), &["limit", "cursor"])?;
    let mut violations = Vec::new();
    let limit = values
        .get("limit")
        .map(|text| query::integer_in_range("limit", text, 1..=MAX_PAGE as i64))
        .transpose();
    let limit = limit.unwrap_or_else(|violation| {
        violations.push(violation);
        None
    });
    let cursor: Option<JobId> = values.get("cursor").and_then(|text| {
        let cursor = text.parse();
        if cursor.is_err() {
            violations.push(Violation::malformed("cursor", "the `next_cursor` of an earlier page"));
        }
        cursor.ok()
    });
    if !violations.is_empty() {
        return Err(violations.into());
    }
    let limit = limit.map_or(DEFAULT_PAGE_SIZE, |limit| limit as usize);
    let page = app.service.images(&caller, cursor, limit).await?;
    let data = page.images.into_iter().map(|image| ImageResource::new(&app, &caller, image)).collect();
    Ok(Json(ImagePage { data, next_cursor: page.next.map(|id| id.to_string()) }).into_response())
}

/// `GET /v1/images/{id}/content`
pub(crate) async fn content(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathParam(id): PathParam,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let id = parse_job_id(&id)?;
    let values = query::parse_known(&query.unwrap_or_default(), &["index"])?;
    let index =
        values.get("index").map(|text| query::integer_in_range("index", text, 0..=i64::MAX)).transpose();
    let index = index.map_err(|violation| vec![violation])?.unwrap_or(0);
    let url = match app.service.picture(&caller, id, usize::try_from(index).unwrap_or(usize::MAX)).await {
        Err(ServiceError::NoPictures) => {
            let image = app.service.image(&caller, id, DEFAULT_EXPIRY).await?;
            return Err(if image.status.is_final() {
                Problem::Job(id, ServiceError::NoPictures)
            } else {
                Problem::ImagesPending(id)
            });
        }
        url => url?,
    };
    // Fails only if the operator's public URL has characters that a header must not have.
    let location = HeaderValue::try_from(url).map_err(|_| Problem::Internal)?;
    Ok((StatusCode::FOUND, [(LOCATION, location)]).into_response())
}

/// `POST /v1/images/{id}/cancel`
pub(crate) async fn cancel(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathParam(id): PathParam,
) -> Result<Response, Problem> {
    let image = app.service.cancel(&caller, parse_job_id(&id)?).await?;
    Ok(Json(ImageResource::new(&app, &caller, image)).into_response())
}

/// `DELETE /v1/images/{id}`
pub(crate) async fn delete(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathParam(id): PathParam,
) -> Result<StatusCode, Problem> {
    app.service.delete(&caller, parse_job_id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Parses the job id of a path.
///
/// # Errors
/// [`ServiceError::NotFound`] for a text that is not an id.
pub(crate) fn parse_job_id(id: &str) -> Result<JobId, Problem> {
    id.parse().map_err(|_| ServiceError::NotFound("image").into())
}

fn parse_expiry(text: &str) -> Result<Duration, Violation> {
    let seconds = query::integer_in_range("expires_in", text, 1..=MAX_EXPIRY.as_secs() as i64)?;
    Ok(Duration::from_secs(seconds as u64))
}
