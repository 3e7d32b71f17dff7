//! An object store in memory.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use time::OffsetDateTime;

use tintype_core::store::{
    Condition, ETag, Key, ListedObject, Listing, NewObject, Object, ObjectMeta, ObjectStore, PresignOptions,
    SignedUrl, StoreError,
};

/// An object store in memory. Its presigned URLs begin with `memory:` and cannot be fetched.
#[derive(Debug, Default)]
pub struct MemoryStore {
    objects: Mutex<BTreeMap<Key, Object>>,
    writes: Mutex<u64>,
    full: AtomicBool,
    panics: AtomicBool,
    max_url_lifetime: Mutex<Option<Duration>>,
    clock_offset_seconds: AtomicI64,
}

impl MemoryStore {
    /// Makes every later write fail, as on a full disk.
    pub fn fill_up(&self) {
        self.full.store(true, Ordering::SeqCst);
    }

    /// Makes later writes succeed again.
    pub fn make_room(&self) {
        self.full.store(false, Ordering::SeqCst);
    }

    /// Makes every later call that presigns a URL panic.
    pub fn panic_at_links(&self) {
        self.panics.store(true, Ordering::SeqCst);
    }

    /// Limits the lifetime of every later presigned URL, as credentials that expire do.
    pub fn limit_url_lifetime(&self, max: Duration) {
        *self.max_url_lifetime.lock().unwrap_or_else(PoisonError::into_inner) = Some(max);
    }

    /// Sets how far the store's clock is ahead of this machine's.
    pub fn set_clock_offset(&self, seconds: i64) {
        self.clock_offset_seconds.store(seconds, Ordering::Relaxed);
    }

    fn objects(&self) -> MutexGuard<'_, BTreeMap<Key, Object>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new version identifier, unique in this store.
    fn next_etag(&self) -> ETag {
        let mut writes = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        *writes += 1;
        ETag(format!("\"{writes}\""))
    }
}

#[async_trait]
impl ObjectStore for MemoryStore {
    fn clock_offset(&self) -> time::Duration {
        time::Duration::seconds(self.clock_offset_seconds.load(Ordering::Relaxed))
    }

    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Object, StoreError> {
        let Object { meta, bytes } = self.objects().get(key).cloned().ok_or(StoreError::NotFound)?;
        let bytes = match range {
            None => bytes,
            Some(range) if range.start >= meta.size => return Err(StoreError::RangeNotSatisfiable),
            Some(range) => bytes.slice(range.start as usize..range.end.min(meta.size) as usize),
        };
        Ok(Object { meta, bytes })
    }

    async fn head(&self, key: &Key) -> Result<ObjectMeta, StoreError> {
        self.objects().get(key).map(|object| object.meta.clone()).ok_or(StoreError::NotFound)
    }

    async fn put_if(&self, key: &Key, object: NewObject, condition: Condition) -> Result<ETag, StoreError> {
        if self.full.load(Ordering::SeqCst) {
            return Err(StoreError::Full("a secret cause".into()));
        }
        let etag = self.next_etag();
        let mut objects = self.objects();
        let current = objects.get(key).map(|object| &object.meta.etag);
        match (&condition, current) {
            (Condition::Always, _) | (Condition::Absent, None) => {}
            (Condition::Unchanged(expected), Some(current)) if expected == current => {}
            (Condition::Unchanged(_), None) => return Err(StoreError::NotFound),
            _ => return Err(StoreError::ConditionFailed),
        }
        let modified = OffsetDateTime::now_utc().replace_nanosecond(0).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let size = object.bytes.len() as u64;
        let meta = ObjectMeta { size, content_type: object.content_type, etag: etag.clone(), modified };
        objects.insert(key.clone(), Object { meta, bytes: object.bytes });
        Ok(etag)
    }

    async fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Listing, StoreError> {
        let objects = self.objects();
        let mut matching = objects
            .iter()
            .filter(|(key, _)| key.as_str().starts_with(prefix) && after.is_none_or(|after| *key > after))
            .map(|(key, object)| ListedObject {
                key: key.clone(),
                size: object.meta.size,
                modified: object.meta.modified,
            });
        let objects = matching.by_ref().take(limit).collect();
        Ok(Listing { objects, has_more: matching.next().is_some() })
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.objects().remove(key);
        Ok(())
    }

    async fn presign(&self, key: &Key, options: &PresignOptions) -> Result<SignedUrl, StoreError> {
        assert!(!self.panics.load(Ordering::SeqCst), "a secret cause");
        let max = *self.max_url_lifetime.lock().unwrap_or_else(PoisonError::into_inner);
        let lifetime = max.map_or(options.expires_in, |max| options.expires_in.min(max));
        let url = format!("memory:{key}?expires_in={}", lifetime.as_secs());
        Ok(SignedUrl { url, expires_at: OffsetDateTime::now_utc() + lifetime })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn fulfils_the_contract() {
        crate::store_contract(&MemoryStore::default()).await;
    }
}
