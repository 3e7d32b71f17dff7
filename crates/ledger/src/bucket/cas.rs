//! Records in a bucket: each one an object, read with its version and written only if that has not changed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::lock::{Mutex as AsyncMutex, OwnedMutexGuard};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tintype_core::store::{Condition, ETag, Key, NewObject, Object, ObjectStore, StoreError};
use uuid::Uuid;

use crate::error::{Error, Result};

/// Waits for so long: the one thing that the ledger needs of whatever runs it.
pub type Sleeper = Arc<dyn Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync>;

/// The version of every record's form.
const VERSION: u32 = 1;
/// How often a write is tried against others. With the waits below that is about ten seconds.
pub(super) const TRIES: u32 = 40;
/// The first wait, and the longest.
const WAIT: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(640));
/// How many objects are read at the same time.
const READERS: usize = 16;
/// How many records are remembered as they were written.
const MEMORY: usize = 256;

/// What is in an object.
#[derive(Serialize, Deserialize)]
struct Envelope<T> {
    v: u32,
    /// Tells this writing from every other. S3's entity tag is a hash of the content, so without it two writers of the
    /// same content could not be told apart.
    write: Uuid,
    record: T,
}

/// What every version of an envelope has.
#[derive(Deserialize)]
struct Head {
    v: u32,
    write: Uuid,
}

/// A record and the version in which it was seen.
#[derive(Debug)]
pub(super) struct Seen<T> {
    pub record: T,
    pub etag: ETag,
}

/// What to do with a record that was read.
pub(super) enum Change<T, R> {
    /// Write it and answer.
    Write(T, R),
    /// Leave it as it is and answer.
    Leave(R),
}

/// Records in a bucket.
pub(super) struct Cells {
    store: Arc<dyn ObjectStore>,
    sleep: Sleeper,
    /// One process does not race with itself: its writers of one record wait in line.
    lines: Mutex<HashMap<String, Weak<AsyncMutex<()>>>>,
    /// What this process wrote last, and the version it became. As a rule nobody else changes a job that is being worked on
    /// here, so the next change can be written without reading first.
    written: Mutex<HashMap<String, (Bytes, ETag)>>,
}

impl Cells {
    pub(super) fn new(store: Arc<dyn ObjectStore>, sleep: Sleeper) -> Self {
        Self { store, sleep, lines: Mutex::default(), written: Mutex::default() }
    }

    pub(super) async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<Option<Seen<T>>> {
        self.get(path).await?.map(|(object, _)| seen_in(path, &object)).transpose()
    }

    async fn get(&self, path: &str) -> Result<Option<(Object, Head)>> {
        let object = match self.store.get(&key(path)?, None).await {
            Ok(object) => object,
            Err(StoreError::NotFound) => return Ok(None),
            Err(error) => return Err(Error::unavailable(error)),
        };
        let head: Head =
            serde_json::from_slice(&object.bytes).map_err(|error| Error::corrupt(path, error))?;
        if head.v > VERSION {
            return Err(Error::NewerVersion { record: path.to_owned(), found: head.v, supported: VERSION });
        }
        Ok(Some((object, head)))
    }

    /// Reads many records at a time; those that are not there are left out, the order is kept.
    pub(super) async fn read_all<T: DeserializeOwned + Send>(
        &self,
        paths: Vec<String>,
    ) -> Result<Vec<(String, T)>> {
        let reads = paths.into_iter().map(|path| async move {
            let seen = self.read::<T>(&path).await?;
            Ok(seen.map(|seen| (path, seen.record)))
        });
        let found: Vec<Result<Option<_>>> = futures::stream::iter(reads).buffered(READERS).collect().await;
        found.into_iter().filter_map(Result::transpose).collect()
    }

    /// Writes a record if the condition holds; `None` if it does not.
    ///
    /// A client of S3 repeats a write whose answer it did not hear, and is then told that the condition does not hold:
    /// it was the write itself that changed the object. So what is there is looked at once more.
    pub(super) async fn write<T: Serialize + Sync>(
        &self,
        path: &str,
        record: &T,
        condition: Condition,
    ) -> Result<Option<ETag>> {
        Ok(self.put(path, record, condition).await?.ok())
    }

    /// The same; if the condition does not hold, what is there instead.
    async fn put<T: Serialize + Sync>(
        &self,
        path: &str,
        record: &T,
        condition: Condition,
    ) -> Result<std::result::Result<ETag, Option<Object>>> {
        let write = Uuid::new_v4();
        let bytes = serde_json::to_vec(&Envelope { v: VERSION, write, record })
            .map_err(|error| Error::corrupt(path, error))?;
        let bytes = Bytes::from(bytes);
        let object = NewObject { bytes: bytes.clone(), content_type: "application/json".to_owned() };
        let etag = match self.store.put_if(&key(path)?, object, condition).await {
            Ok(etag) => etag,
            Err(StoreError::ConditionFailed | StoreError::NotFound) => match self.get(path).await? {
                Some((object, head)) if head.write == write => object.meta.etag,
                there => return Ok(Err(there.map(|(object, _)| object))),
            },
            Err(error) => return Err(Error::unavailable(error)),
        };
        self.remember(path, bytes, etag.clone());
        Ok(Ok(etag))
    }

    fn remember(&self, path: &str, bytes: Bytes, etag: ETag) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if written.len() >= MEMORY && !written.contains_key(path) {
            // Any of them: whoever is forgotten is read again.
            let any = written.keys().next().cloned();
            any.map(|path| written.remove(&path));
        }
        written.insert(path.to_owned(), (bytes, etag));
    }

    /// The record as this process wrote it last, if it remembers that; then it forgets it.
    fn recall<T: DeserializeOwned>(&self, path: &str) -> Option<Seen<T>> {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner).remove(path);
        let (bytes, etag) = written?;
        let envelope: Envelope<T> = serde_json::from_slice(&bytes).ok()?;
        Some(Seen { record: envelope.record, etag })
    }

    /// Reads a record, changes it and writes it back, again and again until nobody came in between.
    pub(super) async fn change<T, R>(
        &self,
        path: &str,
        mut change: impl FnMut(Option<T>) -> Change<T, R> + Send,
    ) -> Result<R>
    where
        T: Serialize + DeserializeOwned + Send + Sync,
        R: Send,
    {
        let _line = self.line(path).await;
        let mut known = self.recall(path).map(Some);
        let mut remembered = known.is_some();
        for attempt in 0..TRIES {
            let seen = match known.take() {
                Some(seen) => seen,
                None => self.read(path).await?,
            };
            let (record, condition) = match seen {
                Some(Seen { record, etag }) => (Some(record), Condition::Unchanged(etag)),
                None => (None, Condition::Absent),
            };
            match change(record) {
                Change::Leave(answer) if !remembered => return Ok(answer),
                // What is remembered may be old.
                Change::Leave(_) => {}
                Change::Write(record, answer) => match self.put(path, &record, condition).await? {
                    Ok(_) => return Ok(answer),
                    Err(there) if remembered => {
                        known = Some(there.map(|there| seen_in(path, &there)).transpose()?)
                    }
                    Err(_) => {}
                },
            }
            if !std::mem::take(&mut remembered) {
                self.wait(attempt).await?;
            }
        }
        Err(Error::Contended { record: path.to_owned() })
    }

    pub(super) async fn remove(&self, path: &str) -> Result<()> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).remove(path);
        self.store.delete(&key(path)?).await.map_err(Error::unavailable)
    }

    /// Every path that begins with `prefix` and comes after `after`, at most `limit`, in order.
    pub(super) async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<String>> {
        let mut found: Vec<String> = Vec::new();
        let mut after = after.map(key).transpose()?;
        while found.len() < limit {
            let page = (limit - found.len()).min(1_000);
            let listing = self.store.list(prefix, after.as_ref(), page).await.map_err(Error::unavailable)?;
            found.extend(listing.objects.iter().map(|listed| listed.key.as_str().to_owned()));
            after = listing.objects.into_iter().next_back().map(|listed| listed.key);
            if !listing.has_more || after.is_none() {
                break;
            }
        }
        Ok(found)
    }

    /// A place in this process's line for a record; kept until it is dropped.
    pub(super) async fn line(&self, path: &str) -> OwnedMutexGuard<()> {
        let line = {
            let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
            if lines.len() >= 1_024 {
                lines.retain(|_, line| line.strong_count() > 0);
            }
            match lines.get(path).and_then(Weak::upgrade) {
                Some(line) => line,
                None => {
                    let line = Arc::new(AsyncMutex::new(()));
                    lines.insert(path.to_owned(), Arc::downgrade(&line));
                    line
                }
            }
        };
        line.lock_owned().await
    }

    /// Waits before the next attempt: doubling, up to a limit, and any part of that by chance, so that those who met
    /// once do not meet again.
    pub(super) async fn wait(&self, attempt: u32) -> Result<()> {
        let longest = WAIT.0.saturating_mul(1 << attempt.min(16)).min(WAIT.1);
        let chance = getrandom::u32().map_err(Error::unavailable)?;
        (self.sleep)(longest.mul_f64(f64::from(chance) / f64::from(u32::MAX))).await;
        Ok(())
    }
}

fn seen_in<T: DeserializeOwned>(path: &str, object: &Object) -> Result<Seen<T>> {
    let envelope: Envelope<T> =
        serde_json::from_slice(&object.bytes).map_err(|error| Error::corrupt(path, error))?;
    Ok(Seen { record: envelope.record, etag: object.meta.etag.clone() })
}

fn key(path: &str) -> Result<Key> {
    // Paths are made of names of at most 64 bytes.
    Key::new(path).map_err(|error| Error::corrupt(path, error))
}
