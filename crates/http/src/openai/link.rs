//! Links on our own origin.
//!
//! Clients that hold a bearer token send it along when they fetch a picture, and S3 refuses a signed link that comes with one.
//! So a link that leads elsewhere is led through here: its signature stays as it is, S3 checks it, and no client takes its token
//! along to another origin.

use axum::extract::{RawQuery, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use tintype_service::LinkedPicture;

use crate::App;
use crate::path_param::PathParam;
use crate::problem::Problem;

/// What every picture's key begins with.
const IMAGE_KEY_PREFIX: &str = "images/";

/// The link to a picture, on our own origin.
pub(super) fn through_own_origin(app: &App, picture: LinkedPicture) -> String {
    let LinkedPicture { url, key, .. } = picture;
    let is_own = url.strip_prefix(&*app.origin).is_some_and(|rest| rest.starts_with('/'));
    match (key.strip_prefix(IMAGE_KEY_PREFIX), url.split_once('?')) {
        (Some(rest), Some((_, query))) if !is_own => format!("{}/v1/images/files/{rest}?{query}", app.origin),
        _ => url,
    }
}

/// `GET /v1/images/files/{key}`: to where the picture is. Who asks does not matter, the signature does.
pub(crate) async fn file(
    State(app): State<App>,
    PathParam(rest): PathParam,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let query = query.filter(|query| query.contains("X-Amz-Signature=")).ok_or(Problem::NotFound)?;
    let address = app.service.address(&format!("{IMAGE_KEY_PREFIX}{rest}")).await?;
    let location = HeaderValue::try_from(format!("{address}?{query}")).map_err(|_| Problem::Internal)?;
    Ok((StatusCode::FOUND, [(LOCATION, location)]).into_response())
}
