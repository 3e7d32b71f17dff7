//! Makes a call of an endpoint: once, timed, and never cancelled.

use std::time::Duration;

use tintype_core::engine::{EngineError, Observer, Progress};
use tokio::time::Instant;
use tracing::Instrument;

use super::error::InvokeError;

/// Makes the call, unless the job is already abandoned. Once the request is sent, AWS charges for it, so the
/// call then runs to its end even if the job is abandoned. Returns the call's result and its duration.
///
/// # Errors
/// [`EngineError::Abandoned`] if no call was made, else the call's error.
pub(super) async fn attempt_once<T>(
    observer: &dyn Observer,
    call: impl Future<Output = Result<T, InvokeError>>,
) -> Result<(T, Duration), EngineError> {
    if observer.is_abandoned() {
        return Err(EngineError::Abandoned);
    }
    observer.progress(Progress::Started);
    let started = Instant::now();
    let result = call.instrument(tracing::trace_span!("invoke", "otel.kind" = "client")).await?;
    Ok((result, started.elapsed()))
}
