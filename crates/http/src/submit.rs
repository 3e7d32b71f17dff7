//! The submission of jobs, for every call that generates images.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue};
use tintype_service::{Caller, Image, JobHandle, JobState, ServedFrom, ServiceError, Submission};
use tokio::time::timeout;
use tracing::trace_span;

use crate::App;
use crate::idempotency::{self, REPLAYED};
use crate::params::Params;
use crate::problem::Problem;
use crate::ratelimit;

/// A request for images.
pub(crate) struct GenerationRequest<'a> {
    /// The path of the call; requests to different paths never share an idempotency key.
    pub(crate) path: &'static str,
    pub(crate) params: Params,
    pub(crate) headers: &'a HeaderMap,
    /// The longest wait for the images; unlimited if absent.
    pub(crate) max_wait: Option<Duration>,
}

/// The result of an accepted job.
pub(crate) struct JobOutcome {
    /// The job, with its images or still in progress.
    pub(crate) result: Result<Image, Problem>,
    /// Headers of the response, whether the job succeeded or failed.
    pub(crate) headers: HeaderMap,
}

/// A job that the service accepted.
pub(crate) struct AcceptedJob {
    pub(crate) handle: JobHandle,
    /// Headers of the response, whether the job succeeds or fails.
    pub(crate) headers: HeaderMap,
}

/// Checks and submits a request, and waits for the job: at most `max_wait` and at most the operator's time
/// budget.
///
/// # Errors
/// Why the request was not accepted. The failure of an accepted job is in [`JobOutcome::result`].
pub(crate) async fn submit_and_wait(
    app: &App,
    caller: &Caller,
    request: GenerationRequest<'_>,
) -> Result<JobOutcome, Problem> {
    let GenerationRequest { path, mut params, headers, max_wait } = request;
    let warnings = std::mem::take(&mut params.warnings);
    let canonical = params.canonical(path);
    let submission = trace_span!("parse").in_scope(|| params.into_submission(&app.service, caller))?;
    let expires_in = submission.request.expires_in;
    let max_wait = max_wait.into_iter().chain(app.time_budget).min();
    // A job without a waiting client does not take the queue place of one with a client.
    let submission = Submission { detached: max_wait == Some(Duration::ZERO), ..submission };
    let AcceptedJob { handle, headers } = submit(app, caller, submission, &canonical, headers).await?;
    let id = handle.id();
    let result = match wait_until_final(&handle, max_wait).await {
        Ok(true) => handle.finished().await,
        Ok(false) => current_image(app, caller, handle, expires_in).await,
        Err(error) => Err(error),
    };
    let result = match result {
        Ok(mut image) => {
            image.warnings.extend(warnings);
            Ok(image)
        }
        Err(error) => Err(Problem::Job(id, error)),
    };
    Ok(JobOutcome { result, headers })
}

/// Submits a job, with the idempotency key of the headers if they have one. `canonical` identifies the
/// request: it is the same for every notation of the same parameters.
///
/// # Errors
/// Why the request was not accepted.
pub(crate) async fn submit(
    app: &App,
    caller: &Caller,
    submission: Submission,
    canonical: &[u8],
    headers: &HeaderMap,
) -> Result<AcceptedJob, Problem> {
    let submission = match idempotency::key(headers)? {
        Some(key) => submission.with_idempotency_key(key, canonical),
        None => submission,
    };
    let handle = app.service.submit(caller, submission).await?;
    let mut headers = ratelimit::headers(handle.quotas());
    if handle.source() == ServedFrom::Replayed {
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(AcceptedJob { handle, headers })
}

/// Waits for the end of a job, at most `max_wait`, and returns whether it has ended. A job that has not is
/// detached: the images are then created without a waiting client.
///
/// # Errors
/// [`ServiceError::Ledger`] if the job could not be detached.
pub(crate) async fn wait_until_final(
    handle: &JobHandle,
    max_wait: Option<Duration>,
) -> Result<bool, ServiceError> {
    let Some(max_wait) = max_wait else { return Ok(true) };
    let mut states = handle.states();
    if timeout(max_wait, states.wait_for(JobState::is_final)).await.is_err() {
        handle.detach().await?;
    }
    // The job may have ended in the meantime.
    Ok(states.borrow().is_final())
}

/// The current state of a job that had not ended a moment ago.
async fn current_image(
    app: &App,
    caller: &Caller,
    handle: JobHandle,
    expires_in: Duration,
) -> Result<Image, ServiceError> {
    let image = app.service.image(caller, handle.id(), expires_in).await?;
    if image.status.is_final() { handle.finished().await } else { Ok(image) }
}
