//! Who asks by a client that cannot be without a key.

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use tintype_service::{Caller, KeyError, ServiceError};

use crate::App;
use crate::caller::{API_KEY, Authenticated};
use crate::problem::Problem;

/// Somebody who was let in. OpenAI's clients always send some key: one that is not written like ours counts for none, so that
/// where no key is needed any will do.
pub(super) struct OpenAiCaller(pub(super) Caller);

impl FromRequestParts<App> for OpenAiCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let problem = match Authenticated::from_request_parts(parts, app).await {
            Ok(Authenticated(caller)) => return Ok(Self(caller)),
            Err(problem) => problem,
        };
        if !matches!(problem, Problem::Service(ServiceError::Unauthenticated(KeyError::Malformed))) {
            return Err(problem);
        }
        // Without the key it is held to what holds for everybody who has none.
        let mut bare = parts.clone();
        bare.headers.remove(AUTHORIZATION);
        bare.headers.remove(API_KEY);
        match Authenticated::from_request_parts(&mut bare, app).await {
            Ok(Authenticated(caller)) => Ok(Self(caller)),
            Err(Problem::Service(ServiceError::Unauthenticated(_))) => Err(problem),
            Err(other) => Err(other),
        }
    }
}
