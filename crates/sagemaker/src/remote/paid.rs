//! What every call of an endpoint has in common: it is made once, timed, and never given up.

use tintype_core::engine::{EngineError, Generated, Observer, Progress};
use tintype_core::picture::Picture;
use tokio::time::Instant;
use tracing::Instrument;

use super::error::InvokeError;

/// Makes the call, unless nobody waits for it any more. Once the request is out it is paid for, and its pictures are kept
/// whoever waits.
pub(super) async fn paid(
    observer: &dyn Observer,
    call: impl Future<Output = Result<Vec<Picture>, InvokeError>>,
) -> Result<Generated, EngineError> {
    if observer.is_abandoned() {
        return Err(EngineError::Abandoned);
    }
    observer.progress(Progress::Started);
    let began = Instant::now();
    let pictures = call.instrument(tracing::trace_span!("invoke", "otel.kind" = "client")).await?;
    Ok(Generated { pictures, engine_seconds: began.elapsed().as_secs_f64(), warnings: Vec::new() })
}
