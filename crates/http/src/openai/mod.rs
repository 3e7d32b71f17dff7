//! OpenAI's dialect: `/v1/images/generations` and `/v1/models`.
//!
//! OpenAI's clients do not support the statuses 202 and 402, so they get 503 and 429. The automatic retries
//! of an SDK, which sends their count, get the images of the first attempt.

mod aliases;
mod caller;
mod generations;
mod link;
mod models;
mod request;
mod response;
mod size;
mod stream;

use axum::Router;
use axum::http::HeaderMap;
use axum::routing::{get, post};

use crate::{App, only_methods, read_only};

pub use aliases::{Alias, InvalidAlias};
pub(crate) use models::ModelList;
pub(crate) use request::PARAMETERS;
pub(crate) use response::ResponseMetadata;

/// The paths of this dialect.
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/v1/images/generations", only_methods("POST", post(generations::generations)))
        .route("/v1/images/files/{*key}", read_only(get(link::file)))
        .route("/v1/models", read_only(get(models::list)))
        .route("/v1/models/{*id}", read_only(get(models::read)))
}

/// Whether errors of this path have OpenAI's format.
pub(crate) fn is_openai_path(path: &str) -> bool {
    match path.strip_prefix("/v1/").map(|rest| rest.split_once('/').unwrap_or((rest, ""))) {
        Some(("models", _)) => true,
        Some(("images", rest)) => matches!(rest, "generations" | "edits" | "variations"),
        _ => false,
    }
}

/// Whether the request is an SDK's automatic retry: the first attempt has the count 0.
fn is_retry(headers: &HeaderMap) -> bool {
    let count = headers.get("x-stainless-retry-count").and_then(|count| count.to_str().ok());
    count.and_then(|count| count.parse::<u32>().ok()).is_some_and(|count| count > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_a_dialect() {
        for path in ["/v1/images/generations", "/v1/images/edits", "/v1/models", "/v1/models/org/name"] {
            assert!(is_openai_path(path), "{path}");
        }
        for path in
            ["/", "/v1", "/v1/images", "/v1/images/x", "/v1/images/x/content", "/v1/keys", "/v1/pictures"]
        {
            assert!(!is_openai_path(path), "{path}");
        }
    }
}
