//! OpenAI's dialect: `/v1/images/generations` and `/v1/models`.
//!
//! OpenAI's clients do not support the statuses 202 and 402, so they get 503 and 429. The automatic retries
//! of an SDK, which sends their count, get the images of the first attempt.

mod caller;
mod generations;
mod link;
mod models;
mod request;
mod response;
mod size;
mod stream;

use axum::Router;
use axum::http::header::USER_AGENT;
use axum::http::{HeaderMap, HeaderValue};
use axum::routing::{get, post};

use crate::{App, only_methods, read_only};

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

/// The first segments of OpenAI's paths that this server does not have.
const OTHER_PATHS: [&str; 14] = [
    "assistants",
    "audio",
    "batches",
    "chat",
    "completions",
    "embeddings",
    "files",
    "fine_tuning",
    "moderations",
    "realtime",
    "responses",
    "threads",
    "uploads",
    "vector_stores",
];

/// Whether errors of this path have OpenAI's format: all paths of OpenAI's API, also those that this server
/// does not have, and also without their version.
pub(crate) fn is_openai_path(path: &str) -> bool {
    match without_version(path).as_slice() {
        ["models", ..] | ["images", "generations" | "edits" | "variations"] => true,
        [first, ..] => OTHER_PATHS.contains(first),
        [] => false,
    }
}

/// Whether the client is one of OpenAI's SDKs or a library for them.
pub(crate) fn is_openai_client(headers: &HeaderMap) -> bool {
    let agent = headers.get(USER_AGENT).map(HeaderValue::as_bytes).unwrap_or_default().to_ascii_lowercase();
    headers.keys().any(|name| name.as_str().starts_with("x-stainless-"))
        || agent.windows(6).any(|part| part == b"openai")
}

/// The segments of a path without those before the name of a resource: `api`, a version, and the prefixes of
/// Azure, `openai` and `openai/deployments/NAME`.
pub(crate) fn without_version(path: &str) -> Vec<&str> {
    let is_version = |segment: &str| {
        let digits = segment.strip_prefix(['v', 'V']).unwrap_or_default();
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    let mut segments: Vec<_> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    loop {
        let prefix = match segments.as_slice() {
            ["openai", "deployments", _, ..] => 3,
            ["api" | "openai", ..] => 1,
            [first, ..] if is_version(first) => 1,
            _ => return segments,
        };
        segments.drain(..prefix);
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
        for path in [
            "/v1/images/generations",
            "/v1/images/edits",
            "/v1/models",
            "/v1/models/org/name",
            "/v1/chat/completions",
            "/v1/responses",
            "/images/generations",
            "/openai/deployments/x/images/generations",
            "/openai/v1/chat/completions",
            "/models",
        ] {
            assert!(is_openai_path(path), "{path}");
        }
        for path in
            ["/", "/v1", "/v1/images", "/v1/images/x", "/v1/images/files/x", "/v1/keys", "/v1/pictures"]
        {
            assert!(!is_openai_path(path), "{path}");
        }
    }

    #[test]
    fn clients_are_recognized_by_their_headers() {
        let is_client = |name: &'static str, value: &'static str| {
            is_openai_client(&HeaderMap::from_iter([(
                name.parse().expect("a name"),
                HeaderValue::from_static(value),
            )]))
        };
        for (name, value) in [
            ("x-stainless-lang", "python"),
            ("user-agent", "OpenAI/Python 2.8.1"),
            ("user-agent", "AsyncAzureOpenAI/Python 2.8.1"),
            ("user-agent", "ai/5.0 ai-sdk/openai/2.0"),
        ] {
            assert!(is_client(name, value), "{name}: {value}");
        }
        assert!(!is_client("user-agent", "curl/8.5.0") && !is_client("accept", "openai"));
    }
}
