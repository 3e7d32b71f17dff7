//! A bucket: a folder of objects, and an index of their keys in memory.
//!
//! An object's file is named by its key's SHA-256, never by the key. So every key that S3 allows is possible,
//! no key leads out of the folder, and keys that differ only in case are distinct. The index is built from
//! the files at the start.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use super::index::{Entry, Index, ListQuery, Page, page};
use super::object_file::{self, Record, StagedObject};

/// Number of locks for keys; a power of two.
const STRIPES: usize = 64;

/// The condition for replacing or deleting an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Precondition {
    Always,
    /// The object does not exist.
    Absent,
    /// The object exists.
    Present,
    /// The object exists and has this ETag, without quotes.
    Matches(String),
}

/// Why an operation on the folder failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DiskError {
    #[error("the bucket does not exist")]
    NoSuchBucket,
    #[error("the object does not exist")]
    NoSuchKey,
    #[error("the upload does not exist")]
    NoSuchUpload,
    #[error("the bucket already exists")]
    BucketExists,
    #[error("the bucket is not empty")]
    BucketNotEmpty,
    #[error("the precondition does not hold")]
    PreconditionFailed,
    #[error("failed to access the disk")]
    Io(#[from] io::Error),
}

/// A bucket.
#[derive(Debug)]
pub(crate) struct Bucket {
    pub(crate) name: String,
    pub(crate) created: OffsetDateTime,
    folder: PathBuf,
    index: RwLock<Index>,
    /// True once the bucket is deleted. Writers hold the read lock, so that none writes into a bucket during
    /// its deletion.
    deleted: RwLock<bool>,
    /// A writer holds its key's lock from the check of the precondition until the object is written.
    stripes: [Mutex<()>; STRIPES],
}

impl Bucket {
    /// Opens the bucket's folder and reads every object's record.
    pub(crate) fn open(name: String, folder: PathBuf) -> io::Result<Self> {
        let metadata = fs::metadata(&folder)?;
        let created = metadata.created().or_else(|_| metadata.modified())?.into();
        let mut index = Index::new();
        for shard in fs::read_dir(&folder)? {
            let shard = shard?;
            if !shard.file_type()?.is_dir() {
                continue;
            }
            for object in fs::read_dir(shard.path())? {
                let path = object?.path();
                match object_file::open(&path) {
                    Ok((_, record)) if path.ends_with(relative_path(&record.key)) => {
                        index.insert(record.key.clone(), entry(&record));
                    }
                    Ok(_) => {
                        tracing::warn!(path = %path.display(), "skipped misplaced object file")
                    }
                    Err(error) => {
                        tracing::warn!(path = %path.display(), %error, "skipped damaged object file")
                    }
                }
            }
        }
        Ok(Self {
            name,
            created,
            folder,
            index: RwLock::new(index),
            deleted: RwLock::new(false),
            stripes: [const { Mutex::new(()) }; STRIPES],
        })
    }

    /// Opens an object for reading: its file, positioned at the first byte of its content, and its record.
    pub(crate) fn read(&self, key: &str) -> Result<(File, Record), DiskError> {
        match object_file::open(&self.folder.join(relative_path(key))) {
            Ok(found) => Ok(found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(DiskError::NoSuchKey),
            Err(error) => Err(error.into()),
        }
    }

    /// Moves a staged object to its final name, if the precondition holds. The object then survives a crash.
    pub(crate) fn commit(
        &self,
        staged: StagedObject,
        precondition: &Precondition,
    ) -> Result<Record, DiskError> {
        let deleted = self.deleted.read().unwrap_or_else(PoisonError::into_inner);
        if *deleted {
            return Err(DiskError::NoSuchBucket);
        }
        let StagedObject { temp, record } = staged;
        let path = self.folder.join(relative_path(&record.key));
        let _key_lock = self.lock_key(&record.key);
        self.check_precondition(&record.key, precondition)?;
        let shard = path.parent().unwrap_or(&self.folder);
        if !shard.is_dir() {
            fs::create_dir_all(shard)?;
            sync_folder(&self.folder)?;
        }
        temp.rename(&path)?;
        self.index_mut().insert(record.key.clone(), entry(&record));
        sync_folder(shard)?;
        Ok(record)
    }

    /// Deletes an object if the precondition holds. A missing object is not an error.
    pub(crate) fn delete(&self, key: &str, precondition: &Precondition) -> Result<(), DiskError> {
        let path = self.folder.join(relative_path(key));
        let _key_lock = self.lock_key(key);
        self.check_precondition(key, precondition)?;
        match fs::remove_file(&path) {
            Ok(()) => {
                self.index_mut().remove(key);
                sync_folder(path.parent().unwrap_or(&self.folder))?;
            }
            // The object does not exist, or its file was deleted by hand.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.index_mut().remove(key);
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// One page of the listing.
    pub(crate) fn list(&self, query: ListQuery<'_>) -> Page {
        page(&self.index.read().unwrap_or_else(PoisonError::into_inner), query)
    }

    /// Every object whose key begins with `prefix`.
    pub(crate) fn objects_with_prefix(&self, prefix: &str) -> Vec<(String, Entry)> {
        self.list(ListQuery { prefix, limit: usize::MAX, ..ListQuery::default() }).objects
    }

    /// Marks the bucket as deleted, if it is empty, and moves its folder to the path `trash`.
    pub(crate) fn move_to_trash(&self, trash: &Path) -> Result<(), DiskError> {
        let mut deleted = self.deleted.write().unwrap_or_else(PoisonError::into_inner);
        if *deleted {
            return Err(DiskError::NoSuchBucket);
        }
        if !self.index.read().unwrap_or_else(PoisonError::into_inner).is_empty() {
            return Err(DiskError::BucketNotEmpty);
        }
        fs::rename(&self.folder, trash)?;
        *deleted = true;
        Ok(())
    }

    fn check_precondition(&self, key: &str, precondition: &Precondition) -> Result<(), DiskError> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        match (precondition, index.get(key)) {
            (Precondition::Always, _) | (Precondition::Absent, None) | (Precondition::Present, Some(_)) => {
                Ok(())
            }
            (Precondition::Matches(etag), Some(entry)) if *etag == entry.etag => Ok(()),
            (Precondition::Matches(_) | Precondition::Present, None) => Err(DiskError::NoSuchKey),
            _ => Err(DiskError::PreconditionFailed),
        }
    }

    fn index_mut(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<String, Entry>> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_key(&self, key: &str) -> MutexGuard<'_, ()> {
        let number = usize::from(Sha256::digest(key)[0]) % STRIPES;
        self.stripes[number].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The path of the object's file in its bucket's folder.
fn relative_path(key: &str) -> PathBuf {
    let name = hex::encode(Sha256::digest(key));
    Path::new(&name[..2]).join(&name)
}

fn entry(record: &Record) -> Entry {
    Entry { size: record.size, etag: record.etag.clone(), modified: record.modified }
}

/// Waits until the folder's entries are on the disk.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::embedded::object_file::{ObjectAttributes, ObjectWriter};

    struct Folder {
        root: tempfile::TempDir,
    }

    impl Folder {
        fn new() -> Self {
            let root = tempfile::tempdir().expect("a folder");
            fs::create_dir(root.path().join("bucket")).expect("mkdir");
            fs::create_dir(root.path().join("tmp")).expect("mkdir");
            Self { root }
        }

        fn bucket(&self) -> Bucket {
            Bucket::open("bucket".into(), self.root.path().join("bucket")).expect("open")
        }

        async fn staged(&self, key: &str, content: &str) -> StagedObject {
            let mut writer = ObjectWriter::begin(&self.root.path().join("tmp")).await.expect("begin");
            writer.write(content.as_bytes()).await.expect("write");
            writer
                .finish(ObjectAttributes { key: key.into(), ..ObjectAttributes::default() })
                .await
                .expect("finish")
        }
    }

    #[tokio::test]
    async fn no_key_leaves_the_bucket_and_all_are_found_again() {
        let folder = Folder::new();
        let bucket = folder.bucket();
        let long = "虎".repeat(341);
        let keys = [
            "../x",
            "../../../x",
            "/",
            "//",
            ".",
            "..",
            "a",
            "A",
            "a/",
            "a//b",
            "\u{1}\n",
            "C:\\x",
            long.as_str(),
        ];
        for key in keys {
            bucket.commit(folder.staged(key, key).await, &Precondition::Always).expect("commit");
        }
        let mut around: Vec<_> = fs::read_dir(folder.root.path())
            .expect("list")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        around.sort();
        assert_eq!(around, ["bucket", "tmp"]);
        drop(bucket);
        let bucket = folder.bucket();
        assert_eq!(bucket.objects_with_prefix("").len(), keys.len());
        for key in keys {
            let (mut file, record) = bucket.read(key).expect("read");
            let mut content = vec![0; record.size as usize];
            io::Read::read_exact(&mut file, &mut content).expect("content");
            assert_eq!((record.key.as_str(), content.as_slice()), (key, key.as_bytes()));
        }
    }

    #[tokio::test]
    async fn damaged_objects_are_skipped_at_start() {
        let folder = Folder::new();
        let bucket = folder.bucket();
        for key in ["good", "cut", "moved"] {
            bucket.commit(folder.staged(key, "content").await, &Precondition::Always).expect("commit");
        }
        let path = |key: &str| folder.root.path().join("bucket").join(relative_path(key));
        let whole = fs::read(path("cut")).expect("read");
        fs::write(path("cut"), &whole[..whole.len() / 2]).expect("cut");
        fs::copy(path("good"), path("moved")).expect("copy");
        let bucket = folder.bucket();
        let keys: Vec<_> = bucket.objects_with_prefix("").into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["good"]);
        assert!(matches!(bucket.read("cut"), Err(DiskError::Io(_))));
        // The damaged object can be replaced.
        bucket.commit(folder.staged("cut", "new").await, &Precondition::Absent).expect("commit");
        assert_eq!(bucket.read("cut").expect("read").1.size, 3);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn one_of_a_hundred_conditional_writes_succeeds() {
        let folder = Arc::new(Folder::new());
        let bucket = Arc::new(folder.bucket());
        let writes: Vec<_> = (0..100)
            .map(|number| {
                let (folder, bucket) = (Arc::clone(&folder), Arc::clone(&bucket));
                tokio::spawn(async move {
                    let staged = folder.staged("contended", &number.to_string()).await;
                    tokio::task::spawn_blocking(move || bucket.commit(staged, &Precondition::Absent)).await
                })
            })
            .collect();
        let mut succeeded = Vec::new();
        for write in writes {
            match write.await.expect("joined").expect("joined") {
                Ok(record) => succeeded.push(record),
                Err(error) => assert!(matches!(error, DiskError::PreconditionFailed), "{error}"),
            }
        }
        assert_eq!(succeeded.len(), 1);
        assert_eq!(bucket.read("contended").expect("read").1, succeeded[0]);
        assert_eq!(fs::read_dir(folder.root.path().join("tmp")).expect("list").count(), 0);
    }

    #[tokio::test]
    async fn conditions() {
        let folder = Folder::new();
        let bucket = folder.bucket();
        let commit = async |content: &str, precondition: Precondition| {
            bucket.commit(folder.staged("k", content).await, &precondition).map(|record| record.etag)
        };
        assert!(matches!(commit("0", Precondition::Present).await, Err(DiskError::NoSuchKey)));
        let first = commit("1", Precondition::Absent).await.expect("absent");
        let second = commit("2", Precondition::Matches(first.clone())).await.expect("unchanged");
        assert!(matches!(
            commit("3", Precondition::Matches(first.clone())).await,
            Err(DiskError::PreconditionFailed)
        ));
        assert!(matches!(
            bucket.delete("k", &Precondition::Matches(first)),
            Err(DiskError::PreconditionFailed)
        ));
        bucket.delete("k", &Precondition::Matches(second)).expect("delete");
        bucket.delete("k", &Precondition::Always).expect("again");
        assert!(matches!(bucket.read("k"), Err(DiskError::NoSuchKey)));
    }
}
