//! Generates images on a server.

use std::io::{self, IsTerminal};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use http::StatusCode;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value};
use tintype_core::picture::{Encoded, Format};
use tintype_core::request::Draft;
use tintype_core::secret::Secret;

use super::GeneratedImage;
use super::progress::TerminalProgress;
use crate::cli::GenerateOptions;
use crate::client::{Client, Response};
use crate::output::UsageError;

/// Interval at which the state of an unfinished job is requested.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Generates the images, with one request after the other.
///
/// # Errors
/// If the server cannot be reached or returns an error.
pub(super) fn generate(
    server: &str,
    key: Option<&Secret>,
    options: &GenerateOptions,
) -> Result<Vec<GeneratedImage>> {
    let draft = options.draft();
    let count = draft.n.unwrap_or(1);
    if count < 1 {
        return Err(UsageError(format!("`--n` is {count}; it must be at least 1")).into());
    }
    let bar = TerminalProgress::new(options.progress_display(), "waiting for the server");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let images = runtime.block_on(async {
        let server = Server { client: Client::new()?, url: server.trim_end_matches('/'), key };
        // The image is downloaded to write it to a file or to show a preview.
        let downloads = options.output.is_some() || (!options.json && io::stdout().is_terminal());
        let mut images = Vec::new();
        for index in 0..count {
            let seed = draft.seed.map(|seed| seed.saturating_add(index));
            let (facts, url) = server.generate_one(&Draft { seed, ..draft.clone() }).await?;
            let file = if downloads { Some(download(&server.client, &url).await?) } else { None };
            images.push(GeneratedImage { facts, file, url: Some(url) });
        }
        Ok(images)
    });
    bar.finish();
    images
}

/// A server and the API key for it.
struct Server<'a> {
    client: Client,
    url: &'a str,
    key: Option<&'a Secret>,
}

impl Server<'_> {
    /// Sends a GET request and returns status and body of the response, which must be 2xx with a JSON object.
    async fn get(&self, path: &str) -> Result<(StatusCode, Map<String, Value>)> {
        let response = self.client.get(&format!("{}{path}", self.url), self.key).await?;
        match serde_json::from_slice(&response.body) {
            Ok(Value::Object(facts)) if response.status.is_success() => Ok((response.status, facts)),
            Ok(Value::Object(problem)) => {
                bail!("{} returned an error: {}", self.url, detail(&problem, response.status))
            }
            _ => bail!("{} is not a tintype server: it responded {} without JSON", self.url, response.status),
        }
    }

    /// Generates one image, and returns the members of the job and the image's URL.
    async fn generate_one(&self, draft: &Draft) -> Result<(Map<String, Value>, String)> {
        let (mut status, mut facts) = self.get(&format!("/generate?{}", query(draft))).await?;
        // The server responds 202 if the job takes longer than its setting `respond_within`.
        while status == StatusCode::ACCEPTED || is_unfinished(&facts) {
            tokio::time::sleep(POLL_INTERVAL).await;
            let id = facts.get("id").and_then(Value::as_str).context("the server's response has no `id`")?;
            (status, facts) = self.get(&format!("/v1/images/{id}")).await?;
        }
        let url = facts.get("url").or_else(|| facts.get("images")?.get(0)?.get("url"));
        let Some(url) = url.and_then(Value::as_str).map(str::to_owned) else {
            match facts.get("status").and_then(Value::as_str) {
                Some(status) => bail!("{} generated no image: the job's status is {status}", self.url),
                None => bail!("{} generated no image: its response has no `url`", self.url),
            }
        };
        Ok((facts, url))
    }
}

async fn download(client: &Client, url: &str) -> Result<Encoded> {
    // The URL is signed and may point to another host, which must not get the API key.
    let Response { status, content_type, body } = client.get(url, None).await?;
    if status != StatusCode::OK {
        bail!("failed to download the image: {status} from {url}");
    }
    let format =
        Format::ALL.into_iter().find(|format| content_type.as_deref() == Some(format.content_type()));
    let format = format.with_context(|| {
        let content_type = content_type.unwrap_or_else(|| "none".to_owned());
        format!("failed to download the image: {url} has the content type {content_type}")
    })?;
    Ok(Encoded { format, bytes: body })
}

/// Whether a job has not finished, by the status in its representation.
fn is_unfinished(facts: &Map<String, Value>) -> bool {
    matches!(facts.get("status").and_then(Value::as_str), Some("queued" | "running"))
}

/// The request as a query string of the API.
fn query(draft: &Draft) -> String {
    let number = |value: Option<i64>| value.map(|value| value.to_string());
    let parameters = [
        ("prompt", draft.prompt.clone()),
        ("negative_prompt", draft.negative_prompt.clone()),
        ("width", number(draft.width)),
        ("height", number(draft.height)),
        ("steps", number(draft.steps)),
        ("guidance", draft.guidance.map(|guidance| guidance.to_string())),
        ("seed", number(draft.seed)),
        ("format", draft.format.map(|format| format.to_string())),
    ];
    let given = parameters.into_iter().filter_map(|(name, value)| {
        Some(format!("{name}={}", utf8_percent_encode(&value?, NON_ALPHANUMERIC)))
    });
    given.collect::<Vec<_>>().join("&")
}

/// The detail of a problem (RFC 9457), or its title, or the status.
fn detail(problem: &Map<String, Value>, status: StatusCode) -> String {
    let text = |name| problem.get(name).and_then(Value::as_str);
    text("detail").or_else(|| text("title")).map_or_else(|| status.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_has_the_parameters_of_the_request() {
        let draft = Draft {
            prompt: Some("a & b=c 老虎".into()),
            guidance: Some(7.5),
            seed: Some(3),
            format: Some(Format::Png),
            ..Draft::default()
        };
        let expected = "prompt=a%20%26%20b%3Dc%20%E8%80%81%E8%99%8E&guidance=7%2E5&seed=3&format=png";
        assert_eq!(query(&draft), expected);
    }
}
