//! Image links on the server's own origin.
//!
//! Clients with a bearer token send it with every download, and S3 rejects a presigned URL together with an
//! `Authorization` header. A link to another origin is therefore replaced by a redirect on this origin: S3
//! still checks the signature, and the client does not send its token to the other origin.

use axum::extract::{RawQuery, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use tintype_service::LinkedPicture;

use crate::App;
use crate::path_param::PathParam;
use crate::problem::Problem;

/// The prefix of every image's object key.
const IMAGE_KEY_PREFIX: &str = "images/";

/// The link to an image on the server's own origin.
pub(super) fn through_own_origin(app: &App, picture: LinkedPicture) -> String {
    let LinkedPicture { url, key, .. } = picture;
    let is_own = url.strip_prefix(&*app.origin).is_some_and(|rest| rest.starts_with('/'));
    match (key.strip_prefix(IMAGE_KEY_PREFIX), url.split_once('?')) {
        (Some(rest), Some((_, query))) if !is_own => format!("{}/v1/images/files/{rest}?{query}", app.origin),
        _ => url,
    }
}

/// `GET /v1/images/files/{key}`: redirects to the image. The signature authorizes the download, not an API
/// key.
pub(crate) async fn file(
    State(app): State<App>,
    PathParam(rest): PathParam,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let query = query.filter(|query| query.contains("X-Amz-Signature=")).ok_or(Problem::NotFound)?;
    let address = app.service.object_url(&format!("{IMAGE_KEY_PREFIX}{rest}")).await?;
    let location = HeaderValue::try_from(format!("{address}?{query}")).map_err(|_| Problem::Internal)?;
    Ok((StatusCode::FOUND, [(LOCATION, location)]).into_response())
}
