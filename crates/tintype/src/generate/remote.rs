//! Generates images on a server.

use std::borrow::Cow;
use std::cell::RefCell;
use std::io::{self, IsTerminal};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use axum::body::Bytes;
use http::StatusCode;
use http::uri::Authority;
use serde_json::{Map, Value, json};
use tintype_core::engine::{Observer, Progress};
use tintype_core::picture::{Encoded, Format};
use tintype_core::request::{Draft, MAX_PICTURES};
use tintype_core::secret::Secret;
use tokio::time::timeout;

use super::progress::TerminalProgress;
use super::{GeneratedImage, Interrupted};
use crate::cli::GenerateOptions;
use crate::client::{Client, IdempotentBody, Response};
use crate::output::UsageError;

/// Interval at which the state of an unfinished job is requested.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Maximum time for canceling the job after Ctrl-C.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);
/// Attempts to submit a job. Repeated attempts have the same idempotency key, so they create one job.
const ATTEMPTS: u32 = 3;

/// Generates the images, in one job, or in several if a job cannot have so many images.
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
    let url = with_scheme(server.trim_end_matches('/'));
    let model = options.server_model.as_deref();
    let server = Server { client: Client::new()?, url: &url, key, model, submission: RefCell::default() };
    let generate = async {
        // The image is downloaded to write it to a file or to show a preview.
        let downloads = options.output.is_some() || (!options.json && io::stdout().is_terminal());
        let (mut images, mut done) = (Vec::new(), 0);
        while done < count {
            let n = (count - done).min(MAX_PICTURES.into());
            let seed = draft.seed.map(|seed| seed.saturating_add(done));
            let job = server.run(&Draft { seed, n: Some(n), ..draft.clone() }, &bar).await?;
            for facts in server.images(job)? {
                let url = facts.get("url").and_then(Value::as_str).unwrap_or_default().to_owned();
                let file = if downloads { Some(download(&server.client, &url).await?) } else { None };
                images.push(GeneratedImage { facts, file, url: Some(url) });
            }
            done += n;
        }
        Ok(images)
    };
    let images = runtime.block_on(async {
        tokio::select! {
            images = generate => images,
            _ = tokio::signal::ctrl_c() => {
                bar.finish();
                Err(server.cancel().await.into())
            }
        }
    });
    bar.finish();
    images
}

/// Adds `http://` to an address of this machine that has no scheme, such as `localhost:8080`.
fn with_scheme(server: &str) -> Cow<'_, str> {
    let authority = server.split('/').next().unwrap_or_default().parse::<Authority>();
    let is_local = authority.is_ok_and(|authority| {
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    });
    if is_local && !server.contains("://") { format!("http://{server}").into() } else { server.into() }
}

/// A server and the API key for it.
struct Server<'a> {
    client: Client,
    url: &'a str,
    key: Option<&'a Secret>,
    /// The name of the model; the server's default without one.
    model: Option<&'a str>,
    /// The last submission, to cancel its job.
    submission: RefCell<Option<Submission>>,
}

/// A job that was submitted.
#[derive(Clone)]
struct Submission {
    body: Rc<IdempotentBody>,
    /// The job's id, once the server has responded.
    id: Option<String>,
}

impl Server<'_> {
    /// The JSON object in a response, which must be 2xx.
    fn object(&self, response: &Response) -> Result<Map<String, Value>> {
        match serde_json::from_slice(&response.body) {
            Ok(Value::Object(members)) if response.status.is_success() => Ok(members),
            Ok(Value::Object(problem)) => {
                bail!("{} returned an error: {}", self.url, detail(&problem, response.status))
            }
            _ => bail!("{} is not a tintype server: it responded {} without JSON", self.url, response.status),
        }
    }

    /// Runs a job and returns its representation.
    async fn run(&self, draft: &Draft, progress: &impl Observer) -> Result<Map<String, Value>> {
        let mut job = self.submit(draft).await?;
        while is_unfinished(&job) {
            let id = job.get("id").and_then(Value::as_str).context("the server's response has no `id`")?;
            if let Some(submission) = &mut *self.submission.borrow_mut() {
                submission.id = Some(id.to_owned());
            }
            tokio::time::sleep(POLL_INTERVAL).await;
            job = self.object(&self.client.get(&format!("{}/v1/images/{id}", self.url), self.key).await?)?;
            if let Some((done, of)) = steps(&job) {
                progress.progress(Progress::Step { done, of });
            }
        }
        // There is nothing to cancel.
        self.submission.take();
        Ok(job)
    }

    /// Cancels the job of the last submission, and returns the error of the command.
    async fn cancel(&self) -> Interrupted {
        let Some(submission) = self.submission.take() else { return Interrupted("interrupted".to_owned()) };
        let canceled = timeout(CANCEL_TIMEOUT, self.cancel_submission(submission)).await;
        Interrupted(match canceled {
            Ok(Ok(id)) => format!("interrupted; the job {id} was canceled"),
            Ok(Err(error)) => format!("interrupted; the job could not be canceled: {error:#}"),
            Err(_) => "interrupted; the job could not be canceled: no response from the server".to_owned(),
        })
    }

    async fn cancel_submission(&self, Submission { body, id }: Submission) -> Result<String> {
        let id = match id {
            Some(id) => id,
            None => {
                // The server may have accepted the job. The same request returns its id.
                let url = format!("{}/v1/images", self.url);
                let job = self.object(&self.client.post(&url, self.key, &body).await?)?;
                job.get("id").and_then(Value::as_str).context("the server's response has no `id`")?.to_owned()
            }
        };
        let url = format!("{}/v1/images/{id}/cancel", self.url);
        self.object(&self.client.post_empty(&url, self.key).await?)?;
        Ok(id)
    }

    /// Submits a job. Repeats the request if the connection breaks.
    async fn submit(&self, draft: &Draft) -> Result<Map<String, Value>> {
        let url = format!("{}/v1/images", self.url);
        let idempotency_key = format!("tintype-{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
        let body = IdempotentBody { idempotency_key, json: Bytes::from(body(draft, self.model).to_string()) };
        let body = Rc::new(body);
        self.submission.replace(Some(Submission { body: body.clone(), id: None }));
        for _ in 1..ATTEMPTS {
            if let Ok(response) = self.client.post(&url, self.key, &body).await {
                return self.object(&response);
            }
        }
        self.object(&self.client.post(&url, self.key, &body).await?)
    }

    /// The members of each image, together with those of its job.
    fn images(&self, mut job: Map<String, Value>) -> Result<Vec<Map<String, Value>>> {
        let images = job.remove("images");
        let images = images.as_ref().and_then(Value::as_array).filter(|images| !images.is_empty());
        let Some(images) = images else {
            let reason = job.get("error").and_then(|error| error.get("detail")).and_then(Value::as_str);
            match (reason, job.get("status").and_then(Value::as_str)) {
                (Some(reason), _) => bail!("{} generated no image: {reason}", self.url),
                (None, Some(status)) => {
                    bail!("{} generated no image: the job's status is {status}", self.url)
                }
                (None, None) => bail!("{} generated no image: its response has no `status`", self.url),
            }
        };
        let one = |image: &Value| {
            let mut members = job.clone();
            members.extend(image.as_object().cloned().unwrap_or_default());
            if !members.contains_key("url") {
                bail!("{} returned an image without `url`", self.url);
            }
            Ok(members)
        };
        images.iter().map(one).collect()
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
fn is_unfinished(job: &Map<String, Value>) -> bool {
    matches!(job.get("status").and_then(Value::as_str), Some("queued" | "running"))
}

/// The completed steps of a running job, and all its steps.
fn steps(job: &Map<String, Value>) -> Option<(u32, u32)> {
    let progress = job.get("progress")?;
    let number = |name: &str| progress.get(name)?.as_u64()?.try_into().ok();
    Some((number("step")?, number("steps")?))
}

/// The request as the JSON body of `POST /v1/images`.
fn body(draft: &Draft, model: Option<&str>) -> Value {
    let members = [
        ("prompt", json!(draft.prompt)),
        ("negative_prompt", json!(draft.negative_prompt)),
        ("width", json!(draft.width)),
        ("height", json!(draft.height)),
        ("steps", json!(draft.steps)),
        ("guidance", json!(draft.guidance)),
        ("seed", json!(draft.seed)),
        ("n", json!(draft.n)),
        ("format", json!(draft.format.map(|format| format.to_string()))),
        ("model", json!(model)),
    ];
    let given = members.into_iter().filter(|(_, value)| !value.is_null());
    Value::Object(given.map(|(name, value)| (name.to_owned(), value)).collect())
}

/// The text of a problem (RFC 9457): the invalid parameters if it lists them, or its detail, or its title, or
/// the status.
fn detail(problem: &Map<String, Value>, status: StatusCode) -> String {
    let invalid = problem.get("errors").and_then(Value::as_array).into_iter().flatten().filter_map(|error| {
        let text = |name| error.get(name).and_then(Value::as_str);
        Some(format!("`{}` {}", text("parameter")?, text("detail")?))
    });
    let invalid: Vec<_> = invalid.collect();
    if !invalid.is_empty() {
        return invalid.join("; ");
    }
    let text = |name| problem.get(name).and_then(Value::as_str);
    text("detail").or_else(|| text("title")).map_or_else(|| status.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_has_the_given_parameters() {
        let draft = Draft {
            prompt: Some("a & b 老虎".into()),
            guidance: Some(7.5),
            seed: Some(3),
            n: Some(2),
            format: Some(Format::Png),
            ..Draft::default()
        };
        let mut expected =
            json!({"prompt": "a & b 老虎", "guidance": 7.5, "seed": 3, "n": 2, "format": "png"});
        assert_eq!(body(&draft, None), expected);
        expected["model"] = "fast".into();
        assert_eq!(body(&draft, Some("fast")), expected);
    }

    #[test]
    fn only_an_address_of_this_machine_needs_no_scheme() {
        for (server, expected) in [
            ("localhost:8080", "http://localhost:8080"),
            ("127.0.0.1:8080/base", "http://127.0.0.1:8080/base"),
            ("[::1]:8080", "http://[::1]:8080"),
            ("https://localhost:8080", "https://localhost:8080"),
            ("example.com", "example.com"),
            ("localhost.example.com:80", "localhost.example.com:80"),
            ("10.0.0.1:8080", "10.0.0.1:8080"),
            ("", ""),
        ] {
            assert_eq!(with_scheme(server), expected);
        }
    }

    #[test]
    fn an_error_names_all_invalid_parameters() {
        let problem = json!({
            "detail": "2 invalid parameters; see `errors`.",
            "errors": [
                {"parameter": "steps", "detail": "must be at most 150"},
                {"parameter": "seed", "detail": "must be at least 0"},
            ],
        });
        let shown =
            |problem: &Value| detail(problem.as_object().expect("an object"), StatusCode::BAD_REQUEST);
        assert_eq!(shown(&problem), "`steps` must be at most 150; `seed` must be at least 0");
        assert_eq!(shown(&json!({"title": "Invalid request"})), "Invalid request");
        assert_eq!(shown(&json!({})), "400 Bad Request");
    }
}
