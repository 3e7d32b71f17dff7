//! A picture made by a server.

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
use super::progress::Bar;
use crate::cli::GenerateOptions;
use crate::client::{Client, Response};
use crate::output::UsageError;

/// How often a job is looked at that takes long.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Has the pictures made, one request after the other.
///
/// # Errors
/// When the server cannot be reached, or refuses.
pub(super) fn make(
    server: &str,
    key: Option<&Secret>,
    options: &GenerateOptions,
) -> Result<Vec<GeneratedImage>> {
    let draft = options.draft();
    let pictures = draft.n.unwrap_or(1);
    if pictures < 1 {
        return Err(UsageError("`--n` must be at least 1".to_owned()).into());
    }
    // The bytes are needed to be written, or to be looked at.
    let fetch = options.output.is_some() || (!options.json && io::stdout().is_terminal());
    let bar = Bar::new(!options.json, "waiting for the server");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let made = runtime.block_on(async {
        let server = Server { client: Client::new()?, url: server.trim_end_matches('/'), key };
        let mut made = Vec::new();
        for index in 0..pictures {
            let seed = draft.seed.map(|seed| seed.saturating_add(index));
            made.push(server.one(&Draft { seed, ..draft.clone() }, fetch).await?);
        }
        Ok(made)
    });
    bar.finish();
    made
}

/// A server, and what it lets us in by.
struct Server<'a> {
    client: Client,
    url: &'a str,
    key: Option<&'a Secret>,
}

impl Server<'_> {
    /// A 2xx answer's status and object.
    async fn ask(&self, path: &str) -> Result<(StatusCode, Map<String, Value>)> {
        let answer = self.client.get(&format!("{}{path}", self.url), self.key).await?;
        match serde_json::from_slice(&answer.body) {
            Ok(Value::Object(facts)) if answer.status.is_success() => Ok((answer.status, facts)),
            Ok(Value::Object(problem)) => bail!("{} refused: {}", self.url, reason(&problem, answer.status)),
            _ => bail!("{} answered {} with something that is not tintype's", self.url, answer.status),
        }
    }

    async fn one(&self, draft: &Draft, fetch: bool) -> Result<GeneratedImage> {
        let (mut status, mut facts) = self.ask(&format!("/generate?{}", query(draft))).await?;
        // It takes longer than the server waits with its answer.
        while status == StatusCode::ACCEPTED || is_unfinished(&facts) {
            tokio::time::sleep(POLL_INTERVAL).await;
            let id = facts.get("id").and_then(Value::as_str).context("the answer has no id")?;
            (status, facts) = self.ask(&format!("/v1/images/{id}")).await?;
        }
        let link = facts.get("url").or_else(|| facts.get("images")?.get(0)?.get("url"));
        let Some(link) = link.and_then(Value::as_str).map(str::to_owned) else {
            let status = facts.get("status").and_then(Value::as_str).unwrap_or("without a link");
            bail!("{} made no picture: the job is {status}", self.url);
        };
        let file = if fetch { Some(picture(&self.client, &link).await?) } else { None };
        Ok(GeneratedImage { facts, file, url: Some(link) })
    }
}

async fn picture(client: &Client, link: &str) -> Result<Encoded> {
    // The link is signed, and may lead to somebody else: no key for them.
    let Response { status, content_type, body } = client.get(link, None).await?;
    if status != StatusCode::OK {
        bail!("the picture could not be fetched: {status} from {link}");
    }
    let format =
        Format::ALL.into_iter().find(|format| content_type.as_deref() == Some(format.content_type()));
    let format = format.with_context(|| format!("{link} is no picture but {content_type:?}"))?;
    Ok(Encoded { format, bytes: body })
}

/// A job that has not ended, in the words of its resource.
fn is_unfinished(facts: &Map<String, Value>) -> bool {
    matches!(facts.get("status").and_then(Value::as_str), Some("queued" | "running"))
}

/// What was asked for, as the API's query.
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

/// The sentence in a problem (RFC 9457), or at least the status.
fn reason(problem: &Map<String, Value>, status: StatusCode) -> String {
    let text = |name| problem.get(name).and_then(Value::as_str);
    text("detail").or_else(|| text("title")).map_or_else(|| status.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_holds_what_was_given() {
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
