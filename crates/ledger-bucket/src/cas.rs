//! Records in a bucket with compare-and-swap: each record is an object, which is written only if its version
//! has not changed since it was read.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
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

use crate::paths;
use tintype_ledger::quarantine::Quarantine;
use tintype_ledger::stored::{Members, VERSION};
use tintype_ledger::{Error, Result};

/// Waits for a duration. The caller provides it, because the ledger does not depend on an async runtime.
pub type Sleeper = Arc<dyn Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync>;

/// The maximum number of attempts to write a record that others write too: about 10 s with the back-off.
pub(crate) const MAX_ATTEMPTS: u32 = 40;
/// The upper bound of the first wait between two attempts. It doubles with each attempt.
const MIN_BACKOFF: Duration = Duration::from_millis(10);
/// The maximum wait between two attempts.
const MAX_BACKOFF: Duration = Duration::from_millis(640);
/// The maximum number of objects that are read concurrently.
const MAX_CONCURRENT_READS: usize = 16;
/// The maximum number of written records that are cached.
const MAX_CACHED_RECORDS: usize = 256;
/// When there are this many locks, unused ones are removed.
const MAX_LOCKS: usize = 1_024;

/// The content type of records.
const JSON: &str = "application/json";

/// The content of an object.
#[derive(Serialize, Deserialize)]
pub(crate) struct Envelope<T> {
    v: u32,
    /// A unique id of this write. S3's entity tag is a hash of the content, so without the id two writers of
    /// equal records could not be distinguished.
    write: Uuid,
    pub(crate) record: T,
}

impl<T> Envelope<T> {
    /// The content of a new write to this path.
    pub(crate) fn new(path: &str, record: T) -> Self {
        Self { v: paths::version(path), write: Uuid::new_v4(), record }
    }
}

/// The members that every version of an envelope has.
#[derive(Deserialize)]
pub(crate) struct EnvelopeHeader {
    v: u32,
    write: Uuid,
}

/// A record and the version of its object.
#[derive(Debug)]
pub(crate) struct Versioned<T> {
    pub record: T,
    pub etag: ETag,
}

/// The result of a change function.
pub(crate) enum Change<T, R> {
    /// Write this record, then return the value.
    Write(T, R),
    /// Write nothing, and return the value.
    Leave(R),
}

/// The result of [`CasStore::create`].
pub(crate) enum Created {
    Yes,
    /// The object exists, and was not changed.
    Exists,
}

/// A store of records in a bucket.
pub(crate) struct CasStore {
    objects: Arc<dyn ObjectStore>,
    sleep: Sleeper,
    /// One lock per record, so that the writers of one process do not compete with each other.
    locks: Mutex<HashMap<String, Weak<AsyncMutex<()>>>>,
    /// The records that this process wrote last, with the versions of their objects. A job is usually changed
    /// by one process, so its next change can be written without a read.
    cache: Mutex<HashMap<String, (Bytes, ETag)>>,
    /// Whether a write has failed since the last successful [probe](CasStore::probe).
    write_failed: AtomicBool,
    pub(crate) quarantine: Quarantine,
}

impl CasStore {
    pub(crate) fn new(objects: Arc<dyn ObjectStore>, sleep: Sleeper) -> Self {
        Self {
            objects,
            sleep,
            locks: Mutex::default(),
            cache: Mutex::default(),
            write_failed: AtomicBool::new(false),
            quarantine: Quarantine::default(),
        }
    }

    /// How far the bucket's clock is ahead of this machine's.
    pub(crate) fn clock_offset(&self) -> time::Duration {
        self.objects.clock_offset()
    }

    pub(crate) async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<Option<Versioned<T>>> {
        self.get(path).await?.map(|(object, _)| decode(path, &object)).transpose()
    }

    async fn get(&self, path: &str) -> Result<Option<(Object, EnvelopeHeader)>> {
        let Some(object) = self.object(path).await? else { return Ok(None) };
        let header = check_version(path, &object.bytes)?;
        Ok(Some((object, header.map_err(|error| Error::corrupt(path, error))?)))
    }

    async fn object(&self, path: &str) -> Result<Option<Object>> {
        match self.objects.get(&key(path)?, None).await {
            Ok(object) => Ok(Some(object)),
            Err(StoreError::NotFound) => Ok(None),
            Err(error) => Err(Error::of_store(error)),
        }
    }

    /// Reads the content of an object, which may be damaged or of a later version.
    pub(crate) async fn bytes(&self, path: &str) -> Result<Option<Bytes>> {
        Ok(self.object(path).await?.map(|object| object.bytes))
    }

    /// Writes the content of an object that must not exist.
    pub(crate) async fn create(&self, path: &str, bytes: Bytes) -> Result<Created> {
        let object = NewObject { bytes, content_type: JSON.to_owned() };
        match self.objects.put_if(&key(path)?, object, Condition::Absent).await {
            Ok(_) => Ok(Created::Yes),
            Err(StoreError::ConditionFailed) => Ok(Created::Exists),
            Err(error) => Err(Error::of_store(error)),
        }
    }

    /// Reads what is left of a damaged record, with the version of its object.
    pub(crate) async fn read_damaged(&self, path: &str) -> Result<Option<Versioned<Members>>> {
        let Some(object) = self.object(path).await? else { return Ok(None) };
        // The record is the last member of the envelope, and its end may be missing.
        let name = b"\"record\":";
        let start = object.bytes.windows(name.len()).position(|bytes| bytes == name);
        let record = start.map_or(&[][..], |start| &object.bytes[start + name.len()..]);
        Ok(Some(Versioned { record: Members::read(record), etag: object.meta.etag }))
    }

    /// Reads many records concurrently. Missing records are left out; the order is kept. Unreadable records
    /// are skipped.
    pub(crate) async fn read_all<T: DeserializeOwned + Send>(
        &self,
        paths: Vec<String>,
    ) -> Result<Vec<(String, T)>> {
        let found = self.read_each(paths).await?;
        Ok(found.into_iter().filter_map(|(path, record)| Some((path, record.ok()?))).collect())
    }

    /// Reads many records concurrently. Missing records are left out; the order is kept. The errors are those
    /// of unreadable records.
    pub(crate) async fn read_each<T: DeserializeOwned + Send>(
        &self,
        paths: Vec<String>,
    ) -> Result<Vec<(String, Result<T>)>> {
        let reads = paths.into_iter().map(|path| async move {
            let record = match self.read::<T>(&path).await {
                Ok(None) => return Ok(None),
                Ok(Some(versioned)) => Ok(versioned.record),
                Err(error) if error.is_unreadable() => Err(error),
                Err(error) => return Err(error),
            };
            match &record {
                Ok(_) if self.quarantine.is_empty() => {}
                Ok(_) => self.quarantine.remove(&paths::name(&path)),
                Err(error) => self.quarantine.report(paths::name(&path), error),
            }
            Ok(Some((path, record)))
        });
        let found: Vec<Result<Option<_>>> =
            futures::stream::iter(reads).buffered(MAX_CONCURRENT_READS).collect().await;
        found.into_iter().filter_map(Result::transpose).collect()
    }

    /// Returns the result for the record at this path; `None` if the record is unreadable.
    pub(crate) fn skip_unreadable<T>(&self, path: &str, result: Result<T>) -> Result<Option<T>> {
        self.quarantine.skip_unreadable(|| paths::name(path), result)
    }

    /// Checks that the bucket can be written, if a write has failed since the last successful check.
    pub(crate) async fn probe(&self) -> Result<()> {
        if !self.write_failed.load(Ordering::Relaxed) {
            return Ok(());
        }
        let object = NewObject { bytes: Bytes::from_static(b"{}"), content_type: JSON.to_owned() };
        self.objects.put_if(&key(paths::PROBE)?, object, Condition::Always).await.map_err(Error::of_store)?;
        self.write_failed.store(false, Ordering::Relaxed);
        self.objects.delete(&key(paths::PROBE)?).await.map_err(Error::of_store)
    }

    /// Writes a record if the condition holds; returns `None` if it does not.
    ///
    /// An S3 client repeats a write whose answer was lost. If the first attempt succeeded, the condition of
    /// the repetition fails. So if the condition fails, the object is read, and its write id decides.
    pub(crate) async fn write<T: Serialize + Sync>(
        &self,
        path: &str,
        record: &T,
        condition: Condition,
    ) -> Result<Option<ETag>> {
        Ok(self.put(path, record, condition).await?.ok())
    }

    /// Like [`write`](Self::write), but returns the existing object if the condition does not hold.
    async fn put<T: Serialize + Sync>(
        &self,
        path: &str,
        record: &T,
        condition: Condition,
    ) -> Result<std::result::Result<ETag, Option<Object>>> {
        let envelope = Envelope::new(path, record);
        let write = envelope.write;
        let bytes = serde_json::to_vec(&envelope).map_err(|error| Error::corrupt(path, error))?;
        let bytes = Bytes::from(bytes);
        let object = NewObject { bytes: bytes.clone(), content_type: JSON.to_owned() };
        let etag = match self.objects.put_if(&key(path)?, object, condition).await {
            Ok(etag) => etag,
            Err(StoreError::ConditionFailed | StoreError::NotFound) => match self.get(path).await? {
                Some((object, header)) if header.write == write => object.meta.etag,
                existing => return Ok(Err(existing.map(|(object, _)| object))),
            },
            Err(error) => {
                self.write_failed.store(true, Ordering::Relaxed);
                return Err(Error::of_store(error));
            }
        };
        self.insert_cached(path, bytes, etag.clone());
        Ok(Ok(etag))
    }

    fn insert_cached(&self, path: &str, bytes: Bytes, etag: ETag) {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= MAX_CACHED_RECORDS && !cache.contains_key(path) {
            // Removes any entry: the record is read again when it is needed.
            let any = cache.keys().next().cloned();
            any.map(|path| cache.remove(&path));
        }
        cache.insert(path.to_owned(), (bytes, etag));
    }

    /// Removes a record from the cache and returns it.
    fn take_cached<T: DeserializeOwned>(&self, path: &str) -> Option<Versioned<T>> {
        let cached = self.cache.lock().unwrap_or_else(PoisonError::into_inner).remove(path);
        let (bytes, etag) = cached?;
        let envelope: Envelope<T> = serde_json::from_slice(&bytes).ok()?;
        Some(Versioned { record: envelope.record, etag })
    }

    /// Reads a record, changes it and writes it back. Starts again if another process has written it in the
    /// meantime.
    pub(crate) async fn change<T, R>(
        &self,
        path: &str,
        mut change: impl FnMut(Option<T>) -> Change<T, R> + Send,
    ) -> Result<R>
    where
        T: Serialize + DeserializeOwned + Send + Sync,
        R: Send,
    {
        let _lock = self.lock(path).await;
        let mut known = self.take_cached(path).map(Some);
        let mut is_cached = known.is_some();
        for attempt in 0..MAX_ATTEMPTS {
            let current = match known.take() {
                Some(current) => current,
                None => self.read(path).await?,
            };
            let (record, condition) = match current {
                Some(Versioned { record, etag }) => (Some(record), Condition::Unchanged(etag)),
                None => (None, Condition::Absent),
            };
            match change(record) {
                Change::Leave(value) if !is_cached => return Ok(value),
                // The cached record may be outdated: decide again with the stored one.
                Change::Leave(_) => {}
                Change::Write(record, value) => match self.put(path, &record, condition).await? {
                    Ok(_) => return Ok(value),
                    Err(existing) if is_cached => {
                        known = Some(existing.map(|object| decode(path, &object)).transpose()?)
                    }
                    Err(_) => {}
                },
            }
            if !std::mem::take(&mut is_cached) {
                self.back_off(attempt).await?;
            }
        }
        Err(Error::Contended { record: path.to_owned() })
    }

    pub(crate) async fn remove(&self, path: &str) -> Result<()> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner).remove(path);
        self.objects.delete(&key(path)?).await.map_err(Error::of_store)
    }

    /// Lists at most `limit` paths that begin with `prefix` and sort after `after`, in order.
    pub(crate) async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<String>> {
        let mut found: Vec<String> = Vec::new();
        let mut after = after.map(key).transpose()?;
        while found.len() < limit {
            let page = (limit - found.len()).min(1_000);
            let listing = self.objects.list(prefix, after.as_ref(), page).await.map_err(Error::of_store)?;
            found.extend(listing.objects.iter().map(|listed| listed.key.as_str().to_owned()));
            after = listing.objects.into_iter().next_back().map(|listed| listed.key);
            if !listing.has_more || after.is_none() {
                break;
            }
        }
        Ok(found)
    }

    /// Takes this process's lock of a record.
    pub(crate) async fn lock(&self, path: &str) -> OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
            if locks.len() >= MAX_LOCKS {
                locks.retain(|_, lock| lock.strong_count() > 0);
            }
            match locks.get(path).and_then(Weak::upgrade) {
                Some(lock) => lock,
                None => {
                    let lock = Arc::new(AsyncMutex::new(()));
                    locks.insert(path.to_owned(), Arc::downgrade(&lock));
                    lock
                }
            }
        };
        lock.lock_owned().await
    }

    /// Waits before the next attempt: exponential back-off with full jitter, so that competing writers spread
    /// out.
    pub(crate) async fn back_off(&self, attempt: u32) -> Result<()> {
        let maximum = MIN_BACKOFF.saturating_mul(1 << attempt.min(16)).min(MAX_BACKOFF);
        let random = getrandom::u32().map_err(Error::unavailable)?;
        (self.sleep)(maximum.mul_f64(f64::from(random) / f64::from(u32::MAX))).await;
        Ok(())
    }
}

/// Reads the header of an object's content; the error of `Ok` is that of a damaged one.
///
/// # Errors
/// [`Error::NewerVersion`] if a later version of this program wrote the object.
pub(crate) fn check_version(path: &str, bytes: &[u8]) -> Result<serde_json::Result<EnvelopeHeader>> {
    let header = serde_json::from_slice::<EnvelopeHeader>(bytes);
    let found = match &header {
        Ok(header) => header.v,
        Err(_) => Members::read(bytes).version(),
    };
    if found > VERSION {
        return Err(Error::NewerVersion { record: path.to_owned(), found, supported: VERSION });
    }
    Ok(header)
}

fn decode<T: DeserializeOwned>(path: &str, object: &Object) -> Result<Versioned<T>> {
    let envelope: Envelope<T> =
        serde_json::from_slice(&object.bytes).map_err(|error| Error::corrupt(path, error))?;
    Ok(Versioned { record: envelope.record, etag: object.meta.etag.clone() })
}

fn key(path: &str) -> Result<Key> {
    // Paths consist of names of at most 64 bytes, so this succeeds.
    Key::new(path).map_err(|error| Error::corrupt(path, error))
}
