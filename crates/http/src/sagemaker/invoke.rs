//! The execution of an invocation: checks, submits and waits for one job per prompt.

use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE, HeaderName};
use futures::future::try_join_all;
use tintype_core::causes::causes;
use tintype_core::picture::{Encoded, Picture};
use tintype_sagemaker::wire::{
    GeneratedPicture, Invocation, InvocationError, MAX_BODY, PictureEncoding, TEXT,
};
use tintype_service::{Caller, Service, ServiceError, Submission, decode};

use crate::json::{BodyEncoding, BodyEncodingError, replace_lone_surrogates};
use crate::problem::Problem;

/// How the jobs of an invocation run.
#[derive(Clone, Debug, Default)]
pub(super) enum Execution {
    /// The client waits; the jobs stop if it disconnects.
    #[default]
    Attended,
    /// No client waits. `name` makes the jobs idempotent, and they are stopped after `max_duration`.
    Detached { name: String, max_duration: Duration },
}

/// The types of an invocation's request and response.
#[derive(Clone, Copy, Debug)]
pub(super) struct MediaTypes<'a> {
    pub(super) content_type: Option<&'a str>,
    pub(super) accept: Option<&'a str>,
}

impl<'a> MediaTypes<'a> {
    /// The types in the headers of a real-time invocation.
    pub(super) fn of(headers: &'a HeaderMap) -> Self {
        Self { content_type: header_text(headers, CONTENT_TYPE), accept: header_text(headers, ACCEPT) }
    }

    /// Whether the whole body is the prompt, not JSON.
    fn is_text(&self) -> bool {
        let essence = self.content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        [TEXT, "text/plain"].iter().any(|text| essence.eq_ignore_ascii_case(text))
    }
}

/// The body of an invocation.
#[derive(Debug)]
pub(super) struct InvocationBody<'a> {
    pub(super) types: MediaTypes<'a>,
    pub(super) encoding: BodyEncoding,
    pub(super) bytes: &'a [u8],
}

impl<'a> InvocationBody<'a> {
    /// The body of a real-time invocation with these headers.
    ///
    /// # Errors
    /// [`Problem::UnsupportedContentEncoding`].
    pub(super) fn new(headers: &'a HeaderMap, bytes: &'a [u8]) -> Result<Self, Problem> {
        Ok(Self { types: MediaTypes::of(headers), encoding: BodyEncoding::of(headers)?, bytes })
    }

    fn read(self) -> Result<Invocation, Problem> {
        let is_text = self.types.is_text();
        let mut text = self.encoding.decode(self.bytes, MAX_BODY).map_err(|problem| match problem {
            Problem::BodyEncoding(BodyEncodingError::NotUtf8 { .. }) if is_text => {
                InvocationError::NotUtf8.into()
            }
            other => other,
        })?;
        if !is_text {
            // The responses of SageMaker's models have no place for a warning about it.
            replace_lone_surrogates(&mut text);
        }
        Ok(Invocation::read(self.types.content_type, self.types.accept, &text)?)
    }
}

/// The value of a header, if it is present and visible ASCII.
pub(super) fn header_text(headers: &HeaderMap, name: impl Into<HeaderName>) -> Option<&str> {
    headers.get(name.into())?.to_str().ok()
}

/// Generates the images of an invocation and returns the JSON response.
///
/// # Errors
/// An invalid invocation, or the failure of one of its jobs.
pub(super) async fn respond(
    service: &Service,
    body: InvocationBody<'_>,
    execution: Execution,
) -> Result<Vec<u8>, Problem> {
    let invocation = body.read()?;
    let images = create_images(service, &invocation, execution).await?;
    // The nested arrays of a large image are megabytes of digits.
    let response = tokio::task::spawn_blocking(move || {
        let made = images.into_iter().map(|(file, seed)| to_wire(&invocation, file, seed));
        let made = made.collect::<Result<Vec<_>, Problem>>()?;
        invocation.write_response(&made).map_err(|error| {
            tracing::error!(error = %causes(&error), "failed to write invocation response");
            Problem::Internal
        })
    });
    response.await.map_err(ServiceError::from)?
}

/// Generates the images of all prompts, in order, and returns their files and seeds.
async fn create_images(
    service: &Service,
    invocation: &Invocation,
    execution: Execution,
) -> Result<Vec<(Encoded, u64)>, Problem> {
    let caller = Caller::anonymous();
    let mut submissions = Vec::new();
    // All prompts are checked before the first job is submitted.
    for (index, draft) in invocation.drafts().iter().enumerate() {
        let request = service.check(None, draft.clone()).map_err(|error| match error {
            ServiceError::Invalid(violations) => ServiceError::Invalid(
                violations.into_iter().map(|violation| invocation.rename_violation(violation)).collect(),
            ),
            other => other,
        })?;
        let submission = Submission::new(request);
        submissions.push(match &execution {
            Execution::Attended => submission,
            Execution::Detached { name, max_duration } => {
                let submission = Submission { detached: true, deadline: Some(*max_duration), ..submission };
                submission.with_idempotency_key(format!("{name}-{index}"), name.as_bytes())
            }
        });
    }
    let mut handles = Vec::with_capacity(submissions.len());
    for submission in submissions {
        handles.push(service.submit(&caller, submission).await?);
    }
    let jobs = try_join_all(handles.into_iter().map(|handle| {
        let id = handle.id();
        async move { handle.finished_with_files().await.map_err(|error| Problem::Job(id, error)) }
    }));
    let jobs = jobs.await?;
    Ok(jobs
        .into_iter()
        .flat_map(|(image, files)| {
            let first = image.request.map_or(0, |request| request.seed.value());
            files.into_iter().zip(first..)
        })
        .collect())
}

/// An image in the format that the invocation accepts.
fn to_wire(invocation: &Invocation, file: Encoded, seed: u64) -> Result<GeneratedPicture, Problem> {
    let picture = match invocation.picture_encoding() {
        PictureEncoding::Files => Picture::Encoded(file),
        PictureEncoding::Pixels => Picture::Pixels(decode(&file).map_err(|error| {
            tracing::error!(error = %causes(&error), "failed to decode generated image");
            Problem::Internal
        })?),
    };
    Ok(GeneratedPicture { picture, seed })
}
