//! The parameter of a path.

use axum::extract::{FromRequestParts, Path};
use axum::http::StatusCode;
use axum::http::request::Parts;

use crate::App;
use crate::problem::Problem;

/// The parameter of the route. A value that is not UTF-8 is answered with 404 in the dialect of the path.
pub(crate) struct PathParam(pub(crate) String);

impl FromRequestParts<App> for PathParam {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        match Path::from_request_parts(parts, app).await {
            Ok(Path(value)) => Ok(Self(value)),
            Err(rejection) if rejection.status() == StatusCode::BAD_REQUEST => Err(Problem::NotFound),
            // The route has another number of parameters.
            Err(_) => Err(Problem::Internal),
        }
    }
}
