//! Formats an error with its chain of sources, for log messages.

use std::error::Error;
use std::fmt::{self, Display, Formatter};

/// Formats an error and its sources on one line, separated by colons:
/// `image generation failed: no response: connection refused`.
pub fn causes<'a>(error: &'a (dyn Error + 'a)) -> impl Display + 'a {
    Causes(error)
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
