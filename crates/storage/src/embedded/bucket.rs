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

#[cfg(test)]
pub(in crate::embedded) mod tests;

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
                tracing::warn!(path = %shard.path().display(), "ignored stray file in bucket");
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
    ///
    /// # Errors
    /// `NoSuchKey` if the object does not exist, or if its file is damaged.
    pub(crate) fn read(&self, key: &str) -> Result<(File, Record), DiskError> {
        let path = self.folder.join(relative_path(key));
        match open_object(&path, key) {
            Err(DiskError::NoSuchKey) => {
                let _key_lock = self.lock_key(key);
                // The object may have been written meanwhile.
                open_object(&path, key).inspect_err(|error| self.forget(key, error))
            }
            other => other,
        }
    }

    /// Removes an object without a usable file from the index, so that it can be written again.
    fn forget(&self, key: &str, error: &DiskError) {
        if matches!(error, DiskError::NoSuchKey) && self.index_mut().remove(key).is_some() {
            tracing::warn!(bucket = self.name, key, "removed object without a usable file from the index");
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
        if *precondition != Precondition::Always {
            let _ = open_object(&path, &record.key).inspect_err(|error| self.forget(&record.key, error));
        }
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

/// Opens an object's file. A damaged file is the same as a missing one, because its content is lost.
fn open_object(path: &Path, key: &str) -> Result<(File, Record), DiskError> {
    match object_file::open(path) {
        Ok((file, record)) if record.key == key => Ok((file, record)),
        Ok(_) => {
            tracing::warn!(path = %path.display(), "object file has the record of another object");
            Err(DiskError::NoSuchKey)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(DiskError::NoSuchKey),
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) => {
            tracing::warn!(path = %path.display(), %error, "object file is damaged");
            Err(DiskError::NoSuchKey)
        }
        Err(error) => Err(error.into()),
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
