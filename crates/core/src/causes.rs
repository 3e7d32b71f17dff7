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
    let mut kinds = chain(error).filter_map(|error| Some(error.downcast_ref::<io::Error>()?.kind()));
    kinds.any(|kind| matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
}

/// The first error of this type in an error and its sources.
pub fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    chain(error).find_map(|error| error.downcast_ref())
}

/// The last of an error's sources, or the error itself: the cause that has no further cause.
pub fn root<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    chain(error).last().unwrap_or(error)
}

/// An error, its source, the source's source and so on.
pub fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (**error).source())
}

struct Causes<'a>(&'a (dyn Error + 'a));

impl Display for Causes<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        self.0.source().into_iter().flat_map(chain).try_for_each(|cause| write!(f, ": {cause}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::EngineError;

    #[test]
    fn errors_are_found_by_their_type() {
        let inner = std::io::Error::new(std::io::ErrorKind::NotFound, std::fmt::Error);
        let error = EngineError::NotFinite(Box::new(EngineError::Failed(Box::new(inner))));
        assert!(matches!(find::<EngineError>(&error), Some(EngineError::NotFinite(_))), "the first one");
        let found = find::<std::io::Error>(&error).map(std::io::Error::kind);
        assert_eq!(found, Some(std::io::ErrorKind::NotFound));
        assert!(find::<std::num::ParseIntError>(&error).is_none());
        assert!(root(&error).is::<std::io::Error>());
        assert!(root(&EngineError::Abandoned).is::<EngineError>());
    }

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
