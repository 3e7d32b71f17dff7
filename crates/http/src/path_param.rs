//! What a path names.

use axum::extract::{FromRequestParts, Path};
use axum::http::StatusCode;
use axum::http::request::Parts;

use crate::App;
use crate::problem::Problem;

/// The part of the path that says which one is meant. What is not UTF-8 is nothing's name, so it is not found, in the
/// words of whoever is spoken to there.
pub(crate) struct PathParam(pub(crate) String);

impl FromRequestParts<App> for PathParam {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        match Path::from_request_parts(parts, app).await {
            Ok(Path(named)) => Ok(Self(named)),
            Err(rejection) if rejection.status() == StatusCode::BAD_REQUEST => Err(Problem::NotFound),
            // The route has another number of such parts.
            Err(_) => Err(Problem::Internal),
        }
    }
}
