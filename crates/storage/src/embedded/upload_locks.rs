//! Locks of multipart uploads, so that a part does not change while its upload is being completed.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::RwLock;

/// The lock of one upload. A request that stores a part holds it for reading, and a request that ends the
/// upload holds it for writing.
pub(crate) type UploadLock = Arc<RwLock<()>>;

/// The locks in use, by the folder of the upload.
#[derive(Debug, Default)]
pub(crate) struct UploadLocks(Mutex<HashMap<PathBuf, Weak<RwLock<()>>>>);

impl UploadLocks {
    /// The lock of the upload in this folder.
    pub(crate) fn of(&self, folder: &Path) -> UploadLock {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = locks.get(folder).and_then(Weak::upgrade) {
            return lock;
        }
        locks.retain(|_, lock| lock.strong_count() > 0);
        let lock = UploadLock::default();
        locks.insert(folder.to_owned(), Arc::downgrade(&lock));
        lock
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_for_the_same_upload_share_a_lock() {
        let locks = UploadLocks::default();
        let (a, b) = (locks.of(Path::new("a")), locks.of(Path::new("b")));
        assert!(Arc::ptr_eq(&a, &locks.of(Path::new("a"))) && !Arc::ptr_eq(&a, &b));
        drop((a, b));
        locks.of(Path::new("c"));
        assert_eq!(locks.0.lock().expect("no panic").len(), 1);
    }
}
