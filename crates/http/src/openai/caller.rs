//! Authentication of OpenAI's clients, which always send a key.

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use tintype_service::{Caller, KeyError, ServiceError};

use crate::App;
use crate::caller::{API_KEY, Authenticated};
use crate::problem::Problem;

/// The authenticated caller of a request. A key that does not have tintype's format counts as no key, so that
/// a server without keys accepts every key of OpenAI's clients.
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
        // The request without the key is subject to the rules for anonymous requests.
        let mut without_key = parts.clone();
        without_key.headers.remove(AUTHORIZATION);
        without_key.headers.remove(API_KEY);
        match Authenticated::from_request_parts(&mut without_key, app).await {
            Ok(Authenticated(caller)) => Ok(Self(caller)),
            Err(Problem::Service(ServiceError::Unauthenticated(_))) => Err(problem),
            Err(other) => Err(other),
        }
    }
}
