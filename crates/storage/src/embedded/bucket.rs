//! One bucket: a folder of objects, and the index of their keys in memory.
//!
//! A key is never a path: an object's file is named by the key's SHA-256, so that every key S3 allows fits, none leads out of
//! the folder, and two that differ only in case are two. The files are the truth; the index is made of them at start.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use super::file::{self, Record, Written};
use super::index::{Entry, Index, Page, Query, page};

/// How many keys may be changing at once; a power of two.
const STRIPES: usize = 64;

/// On what condition an object may be replaced or deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Precondition {
    Always,
    /// There is none.
    Absent,
    /// There is one.
    Present,
    /// There is one, and this is its ETag, without quotes.
    Is(String),
}

/// Why something could not be done in the folder.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DiskError {
    #[error("no such bucket")]
    NoSuchBucket,
    #[error("no such object")]
    NoSuchKey,
    #[error("no such upload")]
    NoSuchUpload,
    #[error("the bucket exists")]
    BucketExists,
    #[error("the bucket is not empty")]
    BucketNotEmpty,
    #[error("the precondition does not hold")]
    Precondition,
    #[error("disk: {0}")]
    Io(#[from] io::Error),
}

/// One bucket.
#[derive(Debug)]
pub(crate) struct Bucket {
    pub(crate) name: String,
    pub(crate) created: OffsetDateTime,
    folder: PathBuf,
    index: RwLock<Index>,
    /// True once the bucket is deleted. Writers hold it for reading, so that none writes into a bucket that is going.
    gone: RwLock<bool>,
    /// A writer holds the stripe of its key from looking at the condition to having written.
    stripes: [Mutex<()>; STRIPES],
}

impl Bucket {
    /// Opens the bucket's folder and reads every object's record.
    pub(crate) fn open(name: String, folder: PathBuf) -> io::Result<Self> {
        let metadata = fs::metadata(&folder)?;
        let created = metadata.created().or_else(|_| metadata.modified())?.into();
        let mut index = Index::new();
        for fan in fs::read_dir(&folder)? {
            let fan = fan?;
            if !fan.file_type()?.is_dir() {
                continue;
            }
            for object in fs::read_dir(fan.path())? {
                let path = object?.path();
                match file::open(&path) {
                    Ok((_, record)) if path.ends_with(relative(&record.key)) => {
                        index.insert(record.key.clone(), entry(&record));
                    }
                    Ok(_) => {
                        tracing::warn!(path = %path.display(), "passed over an object that is not where its key belongs")
                    }
                    Err(error) => {
                        tracing::warn!(path = %path.display(), %error, "passed over a damaged object")
                    }
                }
            }
        }
        Ok(Self {
            name,
            created,
            folder,
            index: RwLock::new(index),
            gone: RwLock::new(false),
            stripes: [const { Mutex::new(()) }; STRIPES],
        })
    }

    /// Opens an object for reading: its file, at the first byte of its content, and its record.
    pub(crate) fn read(&self, key: &str) -> Result<(File, Record), DiskError> {
        match file::open(&self.folder.join(relative(key))) {
            Ok(found) => Ok(found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(DiskError::NoSuchKey),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives a written object its name, if the condition holds; when this returns, it survives a crash.
    pub(crate) fn commit(&self, written: Written, condition: &Precondition) -> Result<Record, DiskError> {
        let gone = self.gone.read().unwrap_or_else(PoisonError::into_inner);
        if *gone {
            return Err(DiskError::NoSuchBucket);
        }
        let Written { temp, record } = written;
        let path = self.folder.join(relative(&record.key));
        let _only_writer = self.stripe(&record.key);
        self.check(&record.key, condition)?;
        let fan = path.parent().unwrap_or(&self.folder);
        if !fan.is_dir() {
            fs::create_dir_all(fan)?;
            sync_folder(&self.folder)?;
        }
        temp.rename(&path)?;
        self.index_mut().insert(record.key.clone(), entry(&record));
        sync_folder(fan)?;
        Ok(record)
    }

    /// Deletes an object if the condition holds; one that is not there is not an error.
    pub(crate) fn delete(&self, key: &str, condition: &Precondition) -> Result<(), DiskError> {
        let path = self.folder.join(relative(key));
        let _only_writer = self.stripe(key);
        self.check(key, condition)?;
        match fs::remove_file(&path) {
            Ok(()) => {
                self.index_mut().remove(key);
                sync_folder(path.parent().unwrap_or(&self.folder))?;
            }
            // There never was one, or somebody removed the file by hand.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.index_mut().remove(key);
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// One page of the listing.
    pub(crate) fn list(&self, query: Query<'_>) -> Page {
        page(&self.index.read().unwrap_or_else(PoisonError::into_inner), query)
    }

    /// Every object whose key begins with `prefix`.
    pub(crate) fn all(&self, prefix: &str) -> Vec<(String, Entry)> {
        self.list(Query { prefix, limit: usize::MAX, ..Query::default() }).objects
    }

    /// Closes the bucket for good if it is empty, and moves its folder to `grave`.
    pub(crate) fn bury(&self, grave: &Path) -> Result<(), DiskError> {
        let mut gone = self.gone.write().unwrap_or_else(PoisonError::into_inner);
        if *gone {
            return Err(DiskError::NoSuchBucket);
        }
        if !self.index.read().unwrap_or_else(PoisonError::into_inner).is_empty() {
            return Err(DiskError::BucketNotEmpty);
        }
        fs::rename(&self.folder, grave)?;
        *gone = true;
        Ok(())
    }

    fn check(&self, key: &str, condition: &Precondition) -> Result<(), DiskError> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        match (condition, index.get(key)) {
            (Precondition::Always, _) | (Precondition::Absent, None) | (Precondition::Present, Some(_)) => {
                Ok(())
            }
            (Precondition::Is(etag), Some(entry)) if *etag == entry.etag => Ok(()),
            (Precondition::Is(_) | Precondition::Present, None) => Err(DiskError::NoSuchKey),
            _ => Err(DiskError::Precondition),
        }
    }

    fn index_mut(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<String, Entry>> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn stripe(&self, key: &str) -> MutexGuard<'_, ()> {
        let number = usize::from(Sha256::digest(key)[0]) % STRIPES;
        self.stripes[number].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The object's path in its bucket's folder.
fn relative(key: &str) -> PathBuf {
    let name = hex::encode(Sha256::digest(key));
    Path::new(&name[..2]).join(&name)
}

fn entry(record: &Record) -> Entry {
    Entry { size: record.size, etag: record.etag.clone(), modified: record.modified }
}

/// Waits until the names in a folder are on the disk.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::embedded::file::{Description, Writing};

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

        async fn written(&self, key: &str, content: &str) -> Written {
            let mut writing = Writing::begin(&self.root.path().join("tmp")).await.expect("begin");
            writing.write(content.as_bytes()).await.expect("write");
            writing.finish(Description { key: key.into(), ..Description::default() }).await.expect("finish")
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
            bucket.commit(folder.written(key, key).await, &Precondition::Always).expect("commit");
        }
        let mut around: Vec<_> = fs::read_dir(folder.root.path())
            .expect("list")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        around.sort();
        assert_eq!(around, ["bucket", "tmp"]);
        drop(bucket);
        let bucket = folder.bucket();
        assert_eq!(bucket.all("").len(), keys.len());
        for key in keys {
            let (mut file, record) = bucket.read(key).expect("read");
            let mut content = vec![0; record.size as usize];
            io::Read::read_exact(&mut file, &mut content).expect("content");
            assert_eq!((record.key.as_str(), content.as_slice()), (key, key.as_bytes()));
        }
    }

    #[tokio::test]
    async fn damage_is_passed_over_at_start() {
        let folder = Folder::new();
        let bucket = folder.bucket();
        for key in ["good", "cut", "moved"] {
            bucket.commit(folder.written(key, "content").await, &Precondition::Always).expect("commit");
        }
        let path = |key: &str| folder.root.path().join("bucket").join(relative(key));
        let whole = fs::read(path("cut")).expect("read");
        fs::write(path("cut"), &whole[..whole.len() / 2]).expect("cut");
        fs::copy(path("good"), path("moved")).expect("copy");
        let bucket = folder.bucket();
        let keys: Vec<_> = bucket.all("").into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["good"]);
        assert!(matches!(bucket.read("cut"), Err(DiskError::Io(_))));
        // It can be written again.
        bucket.commit(folder.written("cut", "new").await, &Precondition::Absent).expect("commit");
        assert_eq!(bucket.read("cut").expect("read").1.size, 3);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn of_a_hundred_claims_one_wins() {
        let folder = Arc::new(Folder::new());
        let bucket = Arc::new(folder.bucket());
        let claims: Vec<_> = (0..100)
            .map(|number| {
                let (folder, bucket) = (Arc::clone(&folder), Arc::clone(&bucket));
                tokio::spawn(async move {
                    let written = folder.written("claim", &number.to_string()).await;
                    tokio::task::spawn_blocking(move || bucket.commit(written, &Precondition::Absent)).await
                })
            })
            .collect();
        let mut won = Vec::new();
        for claim in claims {
            match claim.await.expect("joined").expect("joined") {
                Ok(record) => won.push(record),
                Err(error) => assert!(matches!(error, DiskError::Precondition), "{error}"),
            }
        }
        assert_eq!(won.len(), 1);
        assert_eq!(bucket.read("claim").expect("read").1, won[0]);
        assert_eq!(fs::read_dir(folder.root.path().join("tmp")).expect("list").count(), 0);
    }

    #[tokio::test]
    async fn conditions() {
        let folder = Folder::new();
        let bucket = folder.bucket();
        let commit = async |content: &str, condition: Precondition| {
            bucket.commit(folder.written("k", content).await, &condition).map(|record| record.etag)
        };
        assert!(matches!(commit("0", Precondition::Present).await, Err(DiskError::NoSuchKey)));
        let first = commit("1", Precondition::Absent).await.expect("absent");
        let second = commit("2", Precondition::Is(first.clone())).await.expect("unchanged");
        assert!(matches!(commit("3", Precondition::Is(first.clone())).await, Err(DiskError::Precondition)));
        assert!(matches!(bucket.delete("k", &Precondition::Is(first)), Err(DiskError::Precondition)));
        bucket.delete("k", &Precondition::Is(second)).expect("delete");
        bucket.delete("k", &Precondition::Always).expect("again");
        assert!(matches!(bucket.read("k"), Err(DiskError::NoSuchKey)));
    }
}
