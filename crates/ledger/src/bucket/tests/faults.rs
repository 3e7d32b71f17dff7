//! A store that dies at a chosen write, and ways to wait.

use std::ops::Range;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tintype_core::store::{
    Condition, ETag, Key, Listing, NewObject, Object, ObjectMeta, ObjectStore, PresignOptions, SignedUrl,
    StoreError,
};
use tintype_testing::MemoryStore;

use super::super::Sleeper;

/// Waits as asked, on the racer's own thread.
pub(super) fn patient() -> Sleeper {
    Arc::new(|wait| {
        Box::pin(async move {
            std::thread::sleep(wait);
        })
    })
}

/// Waits a hundredth of what is asked.
pub(super) fn quick() -> Sleeper {
    Arc::new(|wait: Duration| {
        Box::pin(async move {
            std::thread::sleep(wait / 100);
        })
    })
}

/// How the last write ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Death {
    /// It was not made.
    Before,
    /// It was made, and nobody heard of it.
    After,
}

/// A store that makes so many writes; after them nothing works any more, as for a process that died.
pub(super) struct DyingStore {
    store: Arc<MemoryStore>,
    left: AtomicI64,
    death: Death,
}

impl DyingStore {
    pub(super) fn new(store: Arc<MemoryStore>, writes: i64, death: Death) -> Self {
        Self { store, left: AtomicI64::new(writes), death }
    }

    pub(super) fn is_dead(&self) -> bool {
        self.left.load(Ordering::SeqCst) < 0
    }

    fn read(&self) -> Result<(), StoreError> {
        if self.is_dead() { Err(dead()) } else { Ok(()) }
    }

    /// True if the write is to be made; the error if it is to be answered with.
    fn write(&self) -> (bool, Result<(), StoreError>) {
        let left = self.left.fetch_sub(1, Ordering::SeqCst);
        match (left, self.death) {
            (1.., _) => (true, Ok(())),
            (0, Death::After) => (true, Err(dead())),
            _ => (false, Err(dead())),
        }
    }
}

/// A store whose first answer to every conditional write is lost, and whose client asks again as S3's do.
#[derive(Default)]
pub(super) struct DeafStore(MemoryStore);

#[async_trait]
impl ObjectStore for DeafStore {
    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Object, StoreError> {
        self.0.get(key, range).await
    }

    async fn head(&self, key: &Key) -> Result<ObjectMeta, StoreError> {
        self.0.head(key).await
    }

    async fn put_if(&self, key: &Key, object: NewObject, condition: Condition) -> Result<ETag, StoreError> {
        // What came of it the first time, nobody knows.
        let _ = self.0.put_if(key, object.clone(), condition.clone()).await;
        self.0.put_if(key, object, condition).await
    }

    async fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Listing, StoreError> {
        self.0.list(prefix, after, limit).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.0.delete(key).await
    }

    async fn presign(&self, key: &Key, how: &PresignOptions) -> Result<SignedUrl, StoreError> {
        self.0.presign(key, how).await
    }
}

/// What comes in between.
type Interlude = Box<dyn FnOnce() + Send>;

/// A store on which something happens at the first write under a prefix, as when another process is quicker.
pub(super) struct HookedStore {
    store: Arc<MemoryStore>,
    prefix: &'static str,
    /// The write is made first, and its client is told that it was not.
    unheard: bool,
    interlude: Mutex<Option<Interlude>>,
}

impl HookedStore {
    pub(super) fn before(store: Arc<MemoryStore>, prefix: &'static str, interlude: Interlude) -> Self {
        Self { store, prefix, unheard: false, interlude: Mutex::new(Some(interlude)) }
    }

    pub(super) fn unheard(store: Arc<MemoryStore>, prefix: &'static str, interlude: Interlude) -> Self {
        Self { unheard: true, ..Self::before(store, prefix, interlude) }
    }
}

#[async_trait]
impl ObjectStore for HookedStore {
    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Object, StoreError> {
        self.store.get(key, range).await
    }

    async fn head(&self, key: &Key) -> Result<ObjectMeta, StoreError> {
        self.store.head(key).await
    }

    async fn put_if(&self, key: &Key, object: NewObject, condition: Condition) -> Result<ETag, StoreError> {
        let first = key.as_str().starts_with(self.prefix);
        let interlude = self.interlude.lock().expect("nobody falls").take_if(|_| first);
        if let Some(interlude) = interlude {
            if self.unheard {
                self.store.put_if(key, object.clone(), condition.clone()).await?;
            }
            // On a thread of its own: it waits for futures too.
            std::thread::spawn(interlude).join().expect("nobody falls");
        }
        self.store.put_if(key, object, condition).await
    }

    async fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Listing, StoreError> {
        self.store.list(prefix, after, limit).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.store.delete(key).await
    }

    async fn presign(&self, key: &Key, how: &PresignOptions) -> Result<SignedUrl, StoreError> {
        self.store.presign(key, how).await
    }
}

fn dead() -> StoreError {
    StoreError::Unavailable("the process died".into())
}

#[async_trait]
impl ObjectStore for DyingStore {
    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Object, StoreError> {
        self.read()?;
        self.store.get(key, range).await
    }

    async fn head(&self, key: &Key) -> Result<ObjectMeta, StoreError> {
        self.read()?;
        self.store.head(key).await
    }

    async fn put_if(&self, key: &Key, object: NewObject, condition: Condition) -> Result<ETag, StoreError> {
        let (made, answer) = self.write();
        let written = if made { self.store.put_if(key, object, condition).await } else { Err(dead()) };
        answer.and(written)
    }

    async fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Listing, StoreError> {
        self.read()?;
        self.store.list(prefix, after, limit).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let (made, answer) = self.write();
        if made {
            self.store.delete(key).await?;
        }
        answer
    }

    async fn presign(&self, key: &Key, how: &PresignOptions) -> Result<SignedUrl, StoreError> {
        self.store.presign(key, how).await
    }
}
