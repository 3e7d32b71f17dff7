//! A store that stops answering, as for a killed process.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use tintype_core::store::{
    Condition, ETag, Key, Listing, NewObject, Object, ObjectMeta, ObjectStore, PresignOptions, SignedUrl,
    StoreError,
};
use tintype_testing::MemoryStore;

/// The shared store as one process reaches it. After `kill` it never answers, like the store of a killed
/// process.
pub(crate) struct KillableStore {
    store: Arc<MemoryStore>,
    dead: AtomicBool,
}

impl KillableStore {
    pub(crate) fn new(store: Arc<MemoryStore>) -> Self {
        Self { store, dead: AtomicBool::new(false) }
    }

    async fn inner(&self) -> &MemoryStore {
        if self.dead.load(Ordering::SeqCst) {
            std::future::pending().await
        }
        &self.store
    }

    pub(crate) fn kill(&self) {
        self.dead.store(true, Ordering::SeqCst);
    }
}

#[async_trait]
impl ObjectStore for KillableStore {
    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Object, StoreError> {
        self.inner().await.get(key, range).await
    }

    async fn head(&self, key: &Key) -> Result<ObjectMeta, StoreError> {
        self.inner().await.head(key).await
    }

    async fn put_if(&self, key: &Key, object: NewObject, condition: Condition) -> Result<ETag, StoreError> {
        self.inner().await.put_if(key, object, condition).await
    }

    async fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Listing, StoreError> {
        self.inner().await.list(prefix, after, limit).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.inner().await.delete(key).await
    }

    async fn presign(&self, key: &Key, options: &PresignOptions) -> Result<SignedUrl, StoreError> {
        self.inner().await.presign(key, options).await
    }
}
