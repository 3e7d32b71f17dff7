//! An error with everything behind it, for the log.

use std::error::Error;
use std::fmt::{self, Display, Formatter};

/// Writes an error and its causes on one line: `the engine failed: no answer: connection refused`. A log of JSON would
/// otherwise have the first of them alone.
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
    fn every_cause_is_told() {
        let inner = std::io::Error::other("no route");
        let error = EngineError::Busy {
            retry_after: std::time::Duration::ZERO,
            source: Box::new(EngineError::Failed(Box::new(inner))),
        };
        assert_eq!(causes(&error).to_string(), "the engine takes no work now: the engine failed: no route");
    }
}
