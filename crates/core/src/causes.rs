//! An error with its chain of sources: as text for log messages, and the search for a cause.

use std::error::Error;
use std::fmt::{self, Display, Formatter};
use std::io;

/// Formats an error and its sources on one line, separated by colons:
/// `image generation failed: no response: connection refused`.
pub fn causes<'a>(error: &'a (dyn Error + 'a)) -> impl Display + 'a {
    Causes(error)
}

/// True if the error or one of its sources reports that a disk or a quota is full.
pub fn is_storage_full(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if matches!(kind, Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)) {
            return true;
        }
        next = error.source();
    }
    false
}

struct Causes<'a>(&'a (dyn Error + 'a));

impl Display for Causes<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut next = self.0.source();
        while let Some(cause) = next {
            write!(f, ": {cause}")?;
            next = cause.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::EngineError;

    #[test]
    fn every_source_is_written() {
        let inner = std::io::Error::other("no route");
        let error = EngineError::Busy {
            retry_after: std::time::Duration::ZERO,
            source: Box::new(EngineError::Failed(Box::new(inner))),
        };
        assert_eq!(
            causes(&error).to_string(),
            "engine busy or unreachable: image generation failed: no route"
        );
    }
}
