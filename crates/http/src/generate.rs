//! The native `GET`: a prompt in the query, a signed link in the answer.

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use time::OffsetDateTime;
use tintype_core::engine;
use tintype_core::request::GenerateRequest;
use tintype_service::{Finished, Service, ServiceError};
use uuid::Uuid;

use crate::App;
use crate::fence;
use crate::problem::Problem;
use crate::query::{self, Query};

/// What a browser that was pointed at the bare address gets to read.
const HINT: &str = "tintype makes pictures from words.\n\n  GET /generate?prompt=cyborg_tiger\n\n\
    answers with JSON; its `url` is the picture. Parameters: prompt, negative_prompt, width, height, steps, \
    guidance, seed, format, expires_in.\n";
/// Most characters of a cut prompt's rest that a warning repeats.
const LEFT_OUT_CHARS: usize = 60;

/// The answer, in the order in which it is written.
#[derive(Serialize)]
struct Body {
    url: String,
    prompt: String,
    id: Uuid,
    seed: u64,
    width: u32,
    height: u32,
    #[serde(with = "time::serde::rfc3339")]
    expires_at: OffsetDateTime,
    cost: Cost,
    warnings: Vec<Warning>,
}

#[derive(Serialize)]
struct Cost {
    engine_seconds: f64,
}

#[derive(Serialize)]
struct Warning {
    code: &'static str,
    message: String,
}

/// `GET /generate?prompt=…`
pub(crate) async fn generate(
    State(app): State<App>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    answer(&app, &headers, &query.unwrap_or_default()).await
}

/// `GET /?prompt=…`, and what else is at the root.
pub(crate) async fn root(
    State(app): State<App>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    match query {
        Some(query) if query::asks_for_a_picture(&query) => answer(&app, &headers, &query).await,
        _ => Ok(HINT.into_response()),
    }
}

async fn answer(app: &App, headers: &HeaderMap, query: &str) -> Result<Response, Problem> {
    if !app.get_enabled {
        return Err(Problem::GetTurnedOff);
    }
    fence::check(headers)?;
    let request = check(&app.service, Query::parse(query))?;
    let finished = app.service.generate(request).await?;
    Ok(Json(Body::from(finished)).into_response())
}

/// Everything that is wrong, whoever found it.
fn check(service: &Service, query: Query) -> Result<GenerateRequest, ServiceError> {
    match service.check(query.draft.clone()) {
        Err(ServiceError::Invalid(found)) => Err(ServiceError::Invalid(query.add(found))),
        _ if !query.violations.is_empty() => Err(ServiceError::Invalid(query.violations)),
        checked => checked,
    }
}

impl From<Finished> for Body {
    fn from(finished: Finished) -> Self {
        let request = &finished.request;
        let (mut url, mut seed) = (String::new(), request.seed.value());
        let (mut width, mut height) = (request.width, request.height);
        // There is always one.
        if let Some(image) = finished.images.into_iter().next() {
            (url, seed, width, height) = (image.url, image.seed, image.width, image.height);
        }
        Self {
            url,
            prompt: request.prompt.clone(),
            id: finished.id,
            seed,
            width,
            height,
            // Down to the second: a link must not be said to work longer than it does.
            expires_at: finished.expires_at.to_offset(time::UtcOffset::UTC).truncate_to_second(),
            // To the millisecond: what is beyond it is noise.
            cost: Cost { engine_seconds: (finished.engine_seconds * 1e3).round() / 1e3 },
            warnings: finished.warnings.iter().map(Warning::from).collect(),
        }
    }
}

impl From<&engine::Warning> for Warning {
    fn from(warning: &engine::Warning) -> Self {
        match warning {
            engine::Warning::PromptCut { parameter, limit, left_out } => {
                let mut rest: String = left_out.chars().take(LEFT_OUT_CHARS).collect();
                if rest.len() < left_out.len() {
                    rest.push('…');
                }
                let message = format!(
                    "`{parameter}` is longer than the {limit} tokens that the model reads; left out from: {rest}"
                );
                Self { code: "prompt_cut", message }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_prompt_is_told_with_the_place() {
        let cut = |left_out: &str| {
            let left_out = left_out.to_owned();
            Warning::from(&engine::Warning::PromptCut { parameter: "prompt", limit: 77, left_out })
        };
        let warning = cut("and a hat");
        assert_eq!(warning.code, "prompt_cut");
        assert_eq!(
            warning.message,
            "`prompt` is longer than the 77 tokens that the model reads; left out from: and a hat"
        );
        assert!(cut(&"虎".repeat(100)).message.ends_with(&format!(": {}…", "虎".repeat(60))));
    }
}
