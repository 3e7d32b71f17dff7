//! The folder that everything is in: buckets, uploads under way, and temporary files.
//!
//! ```text
//! store/lock                          held while a process has the folder
//! store/tmp/…                         being written; emptied at start
//! store/buckets/NAME/ab/abcd…         one file per object, named by its key's SHA-256
//! store/uploads/ID/{upload,00001,…}   multipart uploads and their parts
//! ```

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use uuid::Uuid;

use super::bucket::{Bucket, DiskError, sync_folder};

/// The folder and what is known of it.
#[derive(Debug)]
pub(crate) struct Disk {
    root: PathBuf,
    buckets: RwLock<BTreeMap<String, Arc<Bucket>>>,
    /// Locked: the index in memory is right only as long as nobody else writes here. Let go of when the process ends.
    _lock: File,
}

/// Why the folder cannot be used.
#[derive(Debug)]
pub(crate) enum DiskOpenError {
    /// Another process has it.
    InUse,
    Io(io::Error),
}

impl From<io::Error> for DiskOpenError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Disk {
    /// Opens the folder, makes what is missing of it, and clears away what a crash left.
    pub(crate) fn open(root: PathBuf) -> Result<Self, DiskOpenError> {
        for folder in ["", "buckets", "uploads", "tmp"] {
            // Other users of the machine have no business with these pictures.
            DirBuilder::new().recursive(true).mode(0o700).create(root.join(folder))?;
        }
        let lock = File::options().create(true).truncate(false).write(true).open(root.join("lock"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(DiskOpenError::InUse),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        empty(&root.join("tmp"))?;
        let mut buckets = BTreeMap::new();
        for entry in fs::read_dir(root.join("buckets"))? {
            let entry = entry?;
            if let Ok(name) = entry.file_name().into_string() {
                let bucket = Bucket::open(name.clone(), entry.path())?;
                buckets.insert(name, Arc::new(bucket));
            }
        }
        sync_folder(&root)?;
        Ok(Self { root, buckets: RwLock::new(buckets), _lock: lock })
    }

    /// Where files are written before they have a name.
    pub(crate) fn temporary(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// Where multipart uploads are collected.
    pub(crate) fn uploads(&self) -> PathBuf {
        self.root.join("uploads")
    }

    /// The bucket of this name.
    pub(crate) fn bucket(&self, name: &str) -> Result<Arc<Bucket>, DiskError> {
        let buckets = self.buckets.read().unwrap_or_else(PoisonError::into_inner);
        buckets.get(name).cloned().ok_or(DiskError::NoSuchBucket)
    }

    /// All buckets in the order of their names.
    pub(crate) fn buckets(&self) -> Vec<Arc<Bucket>> {
        self.buckets.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Makes a bucket. The name must have been checked: it becomes a folder's.
    pub(crate) fn create_bucket(&self, name: &str) -> Result<Arc<Bucket>, DiskError> {
        let mut buckets = self.buckets.write().unwrap_or_else(PoisonError::into_inner);
        if buckets.contains_key(name) {
            return Err(DiskError::BucketExists);
        }
        let parent = self.root.join("buckets");
        fs::create_dir(parent.join(name))?;
        sync_folder(&parent)?;
        let bucket = Arc::new(Bucket::open(name.to_owned(), parent.join(name))?);
        buckets.insert(name.to_owned(), Arc::clone(&bucket));
        Ok(bucket)
    }

    /// Deletes a bucket that is empty.
    pub(crate) fn delete_bucket(&self, name: &str) -> Result<(), DiskError> {
        let mut buckets = self.buckets.write().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.get(name).ok_or(DiskError::NoSuchBucket)?;
        let grave = self.grave();
        bucket.bury(&grave)?;
        buckets.remove(name);
        sync_folder(&self.root.join("buckets"))?;
        // What cannot be removed now is at the next start.
        let _ = fs::remove_dir_all(grave);
        Ok(())
    }

    /// Removes a folder in one step, as far as its old name goes.
    pub(crate) fn discard(&self, folder: &Path) -> io::Result<()> {
        let grave = self.grave();
        fs::rename(folder, &grave)?;
        let _ = fs::remove_dir_all(grave);
        Ok(())
    }

    fn grave(&self) -> PathBuf {
        self.temporary().join(Uuid::new_v4().simple().to_string())
    }
}

fn empty(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?
        } else {
            fs::remove_file(entry.path())?
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::bucket::Precondition;
    use crate::embedded::file::{Description, Writing};

    #[tokio::test]
    async fn a_crash_leaves_no_half_object() {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = Disk::open(folder.path().join("store")).expect("open");
        let bucket = disk.create_bucket("pictures").expect("create");
        let mut writing = Writing::begin(&disk.temporary()).await.expect("begin");
        writing.write(b"whole").await.expect("write");
        let written =
            writing.finish(Description { key: "k".into(), ..Description::default() }).await.expect("finish");
        bucket.commit(written, &Precondition::Always).expect("commit");
        // Killed in the middle of writing: the temporary file stays as it is, whole or cut.
        let mut writing = Writing::begin(&disk.temporary()).await.expect("begin");
        writing.write(&[7; 1_000_000]).await.expect("write");
        std::mem::forget(writing);
        fs::write(disk.temporary().join("cut"), b"ha").expect("write");
        drop((bucket, disk));

        let disk = Disk::open(folder.path().join("store")).expect("open again");
        assert_eq!(fs::read_dir(disk.temporary()).expect("list").count(), 0);
        let objects = disk.bucket("pictures").expect("the bucket").all("");
        assert_eq!(objects.len(), 1);
        assert_eq!((objects[0].0.as_str(), objects[0].1.size), ("k", 5));
    }

    #[test]
    fn one_process_at_a_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = Disk::open(folder.path().to_owned()).expect("open");
        assert!(matches!(Disk::open(folder.path().to_owned()), Err(DiskOpenError::InUse)));
        drop(disk);
        Disk::open(folder.path().to_owned()).expect("open again");
    }

    #[test]
    fn buckets_come_and_go() {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = Disk::open(folder.path().to_owned()).expect("open");
        disk.create_bucket("one").expect("create");
        assert!(matches!(disk.create_bucket("one"), Err(DiskError::BucketExists)));
        disk.create_bucket("two").expect("create");
        disk.delete_bucket("one").expect("delete");
        assert!(matches!(disk.delete_bucket("one"), Err(DiskError::NoSuchBucket)));
        drop(disk);
        let disk = Disk::open(folder.path().to_owned()).expect("open again");
        assert_eq!(disk.buckets().iter().map(|bucket| bucket.name.clone()).collect::<Vec<_>>(), ["two"]);
    }
}
