//! What every call of an endpoint has in common: it is made once, timed, and never given up.

use std::time::Duration;

use tintype_core::engine::{EngineError, Observer, Progress};
use tokio::time::Instant;
use tracing::Instrument;

use super::error::InvokeError;

/// Makes the call, unless nobody waits for it any more. Once the request is out it is paid for, and what comes of it is kept
/// whoever waits. Gives that, and how long the call took.
pub(super) async fn paid<T>(
    observer: &dyn Observer,
    call: impl Future<Output = Result<T, InvokeError>>,
) -> Result<(T, Duration), EngineError> {
    if observer.is_abandoned() {
        return Err(EngineError::Abandoned);
    }
    observer.progress(Progress::Started);
    let began = Instant::now();
    let answer = call.instrument(tracing::trace_span!("invoke", "otel.kind" = "client")).await?;
    Ok((answer, began.elapsed()))
}
