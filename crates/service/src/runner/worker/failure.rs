//! Converts an engine's error into a job's failure.

use tintype_core::engine::{EngineError, RemoteModelError};
use tintype_ledger::job::{Failure, Reason, UpstreamError};

/// The failure that clients see for an engine's error.
pub(super) fn failure(error: &EngineError) -> Failure {
    match error {
        EngineError::Busy { retry_after, .. } => {
            let seconds = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
            Failure {
                reason: Reason::Busy,
                upstream_error: Some(UpstreamError {
                    retry_after: Some(seconds),
                    ..UpstreamError::default()
                }),
            }
        }
        EngineError::Model(RemoteModelError { status, message }) => {
            // A server error is only logged: it can contain file names, host names and other users' prompts.
            let message = if *status < 500 { message.clone() } else { String::new() };
            let upstream_error = UpstreamError { status: Some(*status), message, retry_after: None };
            Failure { reason: Reason::Model, upstream_error: Some(upstream_error) }
        }
        EngineError::Withheld(reason) => {
            let message = format!("image withheld ({reason})");
            Failure {
                reason: Reason::Model,
                upstream_error: Some(UpstreamError { message, ..UpstreamError::default() }),
            }
        }
        EngineError::Unavailable { .. } => Reason::EngineUnavailable.into(),
        EngineError::OutcomeUnknown(_) => Reason::OutcomeUnknown.into(),
        EngineError::NotFinite(_) => Reason::NotFinite.into(),
        EngineError::Failed(_) | EngineError::UnusableResult(_) | EngineError::Abandoned => {
            Reason::Engine.into()
        }
    }
}
