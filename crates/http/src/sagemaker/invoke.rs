//! From an invocation to its answer, through the one door.

use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE, HeaderName};
use futures::future::try_join_all;
use tintype_core::causes::causes;
use tintype_core::picture::{Encoded, Picture};
use tintype_sagemaker::wire::{Invocation, Made, Wanted};
use tintype_service::{Caller, Service, ServiceError, Submission, decode};

use crate::problem::Problem;

/// How the work of an invocation is to be done.
#[derive(Clone, Debug, Default)]
pub(super) enum Execution {
    /// Its client waits for it.
    #[default]
    Attended,
    /// It is made whether anybody waits or not, once, under this name, and given up after so long.
    Detached { name: String, within: Duration },
}

/// The content type and the accepted types that a real-time invocation's headers say.
pub(super) fn types(headers: &HeaderMap) -> (Option<&str>, Option<&str>) {
    (header_text(headers, CONTENT_TYPE), header_text(headers, ACCEPT))
}

/// A header's value, if it is there and is text.
pub(super) fn header_text(headers: &HeaderMap, name: impl Into<HeaderName>) -> Option<&str> {
    headers.get(name.into())?.to_str().ok()
}

/// Makes the pictures that an invocation asks for, and the JSON that answers it.
///
/// # Errors
/// What is wrong with the request, or why there are no pictures.
pub(super) async fn respond(
    service: &Service,
    (content_type, accept): (Option<&str>, Option<&str>),
    body: &[u8],
    execution: Execution,
) -> Result<Vec<u8>, Problem> {
    let invocation = Invocation::read(content_type, accept, body)?;
    let pictures = pictures(service, &invocation, execution).await?;
    // Nested arrays of a large picture are megabytes of digits.
    let written = tokio::task::spawn_blocking(move || {
        let made = pictures.into_iter().map(|(file, seed)| made(&invocation, file, seed));
        let made = made.collect::<Result<Vec<_>, Problem>>()?;
        invocation.answer(&made).map_err(|error| {
            tracing::error!(error = %causes(&error), "the answer could not be written");
            Problem::Internal
        })
    });
    written.await.map_err(ServiceError::from)?
}

/// The files that were made for all of the invocation's prompts, with their seeds, in order.
async fn pictures(
    service: &Service,
    invocation: &Invocation,
    execution: Execution,
) -> Result<Vec<(Encoded, u64)>, Problem> {
    let caller = Caller::anonymous();
    let mut submissions = Vec::new();
    // Nothing is begun before everything is known to be right.
    for (index, draft) in invocation.drafts().iter().enumerate() {
        let request = service.check(draft.clone()).map_err(|error| match error {
            ServiceError::Invalid(violations) => ServiceError::Invalid(
                violations.into_iter().map(|violation| invocation.renamed(violation)).collect(),
            ),
            other => other,
        })?;
        let submission = Submission::new(request);
        submissions.push(match &execution {
            Execution::Attended => submission,
            Execution::Detached { name, within } => {
                let submission = Submission { detached: true, deadline: Some(*within), ..submission };
                submission.with_idempotency_key(format!("{name}-{index}"), name.as_bytes())
            }
        });
    }
    let mut handles = Vec::with_capacity(submissions.len());
    for submission in submissions {
        handles.push(service.submit(&caller, submission).await?);
    }
    let made = try_join_all(handles.into_iter().map(|handle| {
        let id = handle.id();
        async move { handle.pictures().await.map_err(|error| Problem::Job(id, error)) }
    }));
    let made = made.await?;
    Ok(made
        .into_iter()
        .flat_map(|(image, files)| {
            let first = image.request.map_or(0, |request| request.seed.value());
            files.into_iter().zip(first..)
        })
        .collect())
}

fn made(invocation: &Invocation, file: Encoded, seed: u64) -> Result<Made, Problem> {
    let picture = match invocation.wanted() {
        Wanted::Files => Picture::Encoded(file),
        Wanted::Pixels => Picture::Pixels(decode(&file).map_err(|error| {
            tracing::error!(error = %causes(&error), "a picture just made cannot be read");
            Problem::Internal
        })?),
    };
    Ok(Made { picture, seed })
}
