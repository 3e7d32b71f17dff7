//! Handing an order in, for every call that makes pictures.

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

/// What came of an order.
pub(crate) struct JobOutcome {
    /// The job, with its pictures or on its way.
    pub(crate) result: Result<Image, Problem>,
    /// What the answer says beside that, good or bad.
    pub(crate) headers: HeaderMap,
}

/// An order that was let in.
pub(crate) struct AcceptedJob {
    /// The place among those who wait for it.
    pub(crate) handle: JobHandle,
    /// What the answer says beside what comes of it.
    pub(crate) headers: HeaderMap,
}

/// Checks what was asked for under this path, hands it in, and waits: as long as it takes, but no longer than `max_wait`
/// or the operator's time budget.
///
/// # Errors
/// Why it was not let in. What becomes of it afterwards is in the result.
pub(crate) async fn submit_and_wait(
    app: &App,
    caller: &Caller,
    (asked, path): (Params, &str),
    headers: &HeaderMap,
    max_wait: Option<Duration>,
) -> Result<JobOutcome, Problem> {
    let canonical = asked.canonical(path);
    let submission = trace_span!("parse").in_scope(|| asked.into_submission(&app.service))?;
    let expires_in = submission.request.expires_in;
    let max_wait = max_wait.into_iter().chain(app.time_budget).min();
    // Nobody is to wait: then it does not take the place of a client who does.
    let submission = Submission { detached: max_wait == Some(Duration::ZERO), ..submission };
    let AcceptedJob { handle, headers } = submit(app, caller, (submission, &canonical), headers).await?;
    let id = handle.id();
    let result = match wait_until_final(&handle, max_wait).await {
        Ok(true) => handle.finished().await,
        Ok(false) => current_image(app, caller, handle, expires_in).await,
        Err(error) => Err(error),
    };
    Ok(JobOutcome { result: result.map_err(|error| Problem::Job(id, error)), headers })
}

/// Hands an order in, once only if the headers have an idempotency key; `canonical` is what was sent, in one form.
///
/// # Errors
/// Why it was not let in.
pub(crate) async fn submit(
    app: &App,
    caller: &Caller,
    (submission, canonical): (Submission, &[u8]),
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

/// Waits for the job's end, no longer than `max_wait`. If it has not come by then, the client will come back for it: from then
/// on the pictures are made whoever waits.
///
/// # Errors
/// [`ServiceError::Ledger`] if that could not be written down.
pub(crate) async fn wait_until_final(
    handle: &JobHandle,
    max_wait: Option<Duration>,
) -> Result<bool, ServiceError> {
    let Some(max_wait) = max_wait else { return Ok(true) };
    let mut states = handle.states();
    if timeout(max_wait, states.wait_for(JobState::is_final)).await.is_err() {
        handle.detach().await?;
    }
    // It may have ended just now.
    Ok(states.borrow().is_final())
}

/// Where a job is that has not ended a moment ago.
async fn current_image(
    app: &App,
    caller: &Caller,
    handle: JobHandle,
    expires_in: Duration,
) -> Result<Image, ServiceError> {
    let image = app.service.image(caller, handle.id(), expires_in).await?;
    if image.status.is_final() { handle.finished().await } else { Ok(image) }
}
