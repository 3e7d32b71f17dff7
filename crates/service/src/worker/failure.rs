//! From an engine's error to a job's.

use tintype_core::engine::{EngineError, ModelError};
use tintype_ledger::job::{Failure, Reason, Said};

/// What a client is told of an engine's error.
pub(super) fn failure(error: &EngineError) -> Failure {
    match error {
        EngineError::Busy { retry_after, .. } => {
            let seconds = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
            Failure {
                reason: Reason::Busy,
                said: Some(Said { retry_after: Some(seconds), ..Said::default() }),
            }
        }
        EngineError::Model(ModelError { status, message }) => {
            // What breaks inside a model is for the log: it may name files, machines and other people's prompts.
            let message = if *status < 500 { message.clone() } else { String::new() };
            let said = Said { status: Some(*status), message, retry_after: None };
            Failure { reason: Reason::Model, said: Some(said) }
        }
        EngineError::Withheld(reason) => {
            let message = format!("it keeps the picture back ({reason})");
            Failure { reason: Reason::Model, said: Some(Said { message, ..Said::default() }) }
        }
        EngineError::OutcomeUnknown(_) => Reason::OutcomeUnknown.into(),
        EngineError::Failed(_) | EngineError::Wasted(_) | EngineError::Abandoned => Reason::Engine.into(),
    }
}
