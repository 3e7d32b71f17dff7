//! The folder of the store: buckets, multipart uploads, and temporary files.
//!
//! ```text
//! store/lock                          locked while a process uses the folder
//! store/tmp/…                         incomplete files; emptied at start
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
use super::object_file::open_regular;
use super::upload_locks::UploadLocks;

/// The folder, with its buckets.
#[derive(Debug)]
pub(crate) struct Disk {
    root: PathBuf,
    buckets: RwLock<BTreeMap<String, Arc<Bucket>>>,
    pub(crate) upload_locks: UploadLocks,
    /// A locked file: the index in memory is valid only while no other process writes to the folder. The lock
    /// ends with the process.
    _lock: File,
}

/// Why the folder cannot be used.
#[derive(Debug)]
pub(crate) enum DiskOpenError {
    /// Another process uses it.
    InUse,
    Io(io::Error),
}

impl From<io::Error> for DiskOpenError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Disk {
    /// Opens the folder, creates missing subfolders, and deletes temporary files.
    pub(crate) fn open(root: PathBuf) -> Result<Self, DiskOpenError> {
        for folder in ["", "buckets", "uploads", "tmp"] {
            // Other users of the machine must not read the pictures.
            DirBuilder::new().recursive(true).mode(0o700).create(root.join(folder))?;
        }
        let lock = open_lock(&root.join("lock"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(DiskOpenError::InUse),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        clear(&root.join("tmp"))?;
        let buckets = open_buckets(&root.join("buckets"))?;
        sync_folder(&root)?;
        Ok(Self { root, buckets: RwLock::new(buckets), upload_locks: UploadLocks::default(), _lock: lock })
    }

    /// The folder for files before they are moved to their final names.
    pub(crate) fn temporary(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// The folder for the parts of multipart uploads.
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

    /// Creates a bucket. The caller must have validated the name, because it becomes a folder's.
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

    /// Deletes an empty bucket.
    pub(crate) fn delete_bucket(&self, name: &str) -> Result<(), DiskError> {
        let mut buckets = self.buckets.write().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.get(name).ok_or(DiskError::NoSuchBucket)?;
        let trash = self.trash_path();
        bucket.move_to_trash(&trash)?;
        buckets.remove(name);
        sync_folder(&self.root.join("buckets"))?;
        // The next start deletes what remains.
        let _ = fs::remove_dir_all(trash);
        Ok(())
    }

    /// Deletes a folder atomically: it is renamed before its files are deleted.
    pub(crate) fn discard(&self, folder: &Path) -> io::Result<()> {
        let trash = self.trash_path();
        fs::rename(folder, &trash)?;
        let _ = fs::remove_dir_all(trash);
        Ok(())
    }

    fn trash_path(&self) -> PathBuf {
        self.temporary().join(Uuid::new_v4().simple().to_string())
    }
}

/// Opens the lock file. A FIFO in its place is not opened for writing, because that waits for a reader.
fn open_lock(path: &Path) -> io::Result<File> {
    match open_regular(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(io::Error::new(error.kind(), format!("{}: {error}", path.display())))
        }
        _ => File::options().create(true).truncate(false).write(true).open(path),
    }
}

/// Opens every bucket in the folder. Other files, such as those of a file manager, are not buckets.
fn open_buckets(folder: &Path) -> io::Result<BTreeMap<String, Arc<Bucket>>> {
    let mut buckets = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        // A symbolic link to a folder is a bucket as well.
        if !path.is_dir() || !s3s::path::check_bucket_name(name) {
            tracing::warn!(path = %path.display(), "ignored stray file in the folder of the buckets");
            continue;
        }
        let bucket = Bucket::open(name.to_owned(), path.clone())
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
        buckets.insert(name.to_owned(), Arc::new(bucket));
    }
    Ok(buckets)
}

/// Deletes the folder's files and subfolders.
fn clear(folder: &Path) -> io::Result<()> {
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
    use crate::embedded::bucket::tests::make_fifo;
    use crate::embedded::object_file::{ObjectAttributes, ObjectWriter};

    #[tokio::test]
    async fn a_crash_leaves_no_half_object() {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = Disk::open(folder.path().join("store")).expect("open");
        let bucket = disk.create_bucket("pictures").expect("create");
        let mut writer = ObjectWriter::begin(&disk.temporary()).await.expect("begin");
        writer.write(b"whole").await.expect("write");
        let staged = writer
            .finish(ObjectAttributes { key: "k".into(), ..ObjectAttributes::default() })
            .await
            .expect("finish");
        bucket.commit(staged, &Precondition::Always).expect("commit");
        // As after a crash while writing, temporary files remain, complete or cut.
        let mut writer = ObjectWriter::begin(&disk.temporary()).await.expect("begin");
        writer.write(&[7; 1_000_000]).await.expect("write");
        std::mem::forget(writer);
        fs::write(disk.temporary().join("cut"), b"ha").expect("write");
        drop((bucket, disk));

        let disk = Disk::open(folder.path().join("store")).expect("open again");
        assert_eq!(fs::read_dir(disk.temporary()).expect("list").count(), 0);
        let objects = disk.bucket("pictures").expect("the bucket").objects_with_prefix("");
        assert_eq!(objects.len(), 1);
        assert_eq!((objects[0].0.as_str(), objects[0].1.size), ("k", 5));
    }

    #[test]
    fn stray_files_are_not_buckets() {
        let folder = tempfile::tempdir().expect("a folder");
        let buckets = folder.path().join("buckets");
        drop(Disk::open(folder.path().to_owned()).expect("open").create_bucket("pictures").expect("create"));
        fs::write(buckets.join(".DS_Store"), b"x").expect("write");
        fs::write(buckets.join("file"), b"x").expect("write");
        fs::create_dir(buckets.join("lost+found")).expect("mkdir");
        std::os::unix::fs::symlink("/nowhere", buckets.join("dangling")).expect("symlink");
        std::os::unix::fs::symlink(buckets.join("pictures"), buckets.join("linked")).expect("symlink");
        fs::write(buckets.join("pictures/.DS_Store"), b"x").expect("write");
        std::os::unix::fs::symlink("/nowhere", buckets.join("pictures/ab")).expect("symlink");
        fs::create_dir(buckets.join("pictures/cd")).expect("mkdir");
        fs::write(buckets.join("pictures/cd/.DS_Store"), b"x").expect("write");
        std::os::unix::fs::symlink("/nowhere", buckets.join("pictures/cd/dangling")).expect("symlink");
        make_fifo(&buckets.join("fifo")).expect("mkfifo");
        make_fifo(&buckets.join("pictures/fifo")).expect("mkfifo");
        make_fifo(&buckets.join("pictures/cd/fifo")).expect("mkfifo");
        make_fifo(&folder.path().join("tmp/fifo")).expect("mkfifo");
        fs::write(folder.path().join("uploads/.DS_Store"), b"x").expect("write");
        std::os::unix::fs::symlink("/nowhere", folder.path().join("tmp/dangling")).expect("symlink");
        let disk = Disk::open(folder.path().to_owned()).expect("open again");
        let names: Vec<_> = disk.buckets().iter().map(|bucket| bucket.name.clone()).collect();
        assert_eq!(names, ["linked", "pictures"]);
        assert!(disk.bucket("pictures").expect("the bucket").objects_with_prefix("").is_empty());
    }

    #[test]
    fn a_fifo_in_the_place_of_the_lock_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        make_fifo(&folder.path().join("lock")).expect("mkfifo");
        let opened = Disk::open(folder.path().to_owned());
        assert!(
            matches!(&opened, Err(DiskOpenError::Io(error)) if error.to_string().contains("not a regular file")),
            "{opened:?}"
        );
    }

    #[test]
    fn a_folder_can_be_opened_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = Disk::open(folder.path().to_owned()).expect("open");
        assert!(matches!(Disk::open(folder.path().to_owned()), Err(DiskOpenError::InUse)));
        drop(disk);
        Disk::open(folder.path().to_owned()).expect("open again");
    }

    #[test]
    fn buckets_are_created_and_deleted() {
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
