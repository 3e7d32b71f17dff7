//! Object stores that fail in a chosen way, and functions that sleep.

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

use crate::Sleeper;

/// Sleeps for the requested time, on the calling thread.
pub(crate) fn real_sleep() -> Sleeper {
    Arc::new(|wait| {
        Box::pin(async move {
            std::thread::sleep(wait);
        })
    })
}

/// Sleeps for a hundredth of the requested time.
pub(crate) fn fast_sleep() -> Sleeper {
    Arc::new(|wait: Duration| {
        Box::pin(async move {
            std::thread::sleep(wait / 100);
        })
    })
}

/// When the process crashes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum CrashPoint {
    /// Before a write reaches the store.
    BeforeWrite,
    /// After a write, before its answer arrives.
    AfterWrite,
}

/// A store that fails all operations after a number of writes, as if the process had crashed.
pub(crate) struct CrashingStore {
    store: Arc<MemoryStore>,
    writes_left: AtomicI64,
    crash: CrashPoint,
}

impl CrashingStore {
    pub(crate) fn new(store: Arc<MemoryStore>, writes: i64, crash: CrashPoint) -> Self {
        Self { store, writes_left: AtomicI64::new(writes), crash }
    }

    pub(crate) fn has_crashed(&self) -> bool {
        self.writes_left.load(Ordering::SeqCst) < 0
    }

    fn begin_read(&self) -> Result<(), StoreError> {
        if self.has_crashed() { Err(crashed()) } else { Ok(()) }
    }

    /// Counts a write. Returns whether it reaches the store, and the answer that the client gets.
    fn begin_write(&self) -> (bool, Result<(), StoreError>) {
        let left = self.writes_left.fetch_sub(1, Ordering::SeqCst);
        match (left, self.crash) {
            (1.., _) => (true, Ok(())),
            (0, CrashPoint::AfterWrite) => (true, Err(crashed())),
            _ => (false, Err(crashed())),
        }
    }
}

/// A store that loses the first answer to every conditional write. The client repeats the write, as S3
/// clients do.
#[derive(Default)]
pub(crate) struct LostAnswerStore(MemoryStore);

#[async_trait]
impl ObjectStore for LostAnswerStore {
    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Object, StoreError> {
        self.0.get(key, range).await
    }

    async fn head(&self, key: &Key) -> Result<ObjectMeta, StoreError> {
        self.0.head(key).await
    }

    async fn put_if(&self, key: &Key, object: NewObject, condition: Condition) -> Result<ETag, StoreError> {
        // The answer to the first attempt is lost.
        let _ = self.0.put_if(key, object.clone(), condition.clone()).await;
        self.0.put_if(key, object, condition).await
    }

    async fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Listing, StoreError> {
        self.0.list(prefix, after, limit).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.0.delete(key).await
    }

    async fn presign(&self, key: &Key, options: &PresignOptions) -> Result<SignedUrl, StoreError> {
        self.0.presign(key, options).await
    }
}

type Hook = Box<dyn FnOnce() + Send>;

/// A store that calls a hook at the first write under a prefix, as if another process acted at that moment.
pub(crate) struct HookedStore {
    store: Arc<MemoryStore>,
    prefix: &'static str,
    /// The write is made before the hook, its answer is lost, and the client repeats it after the hook.
    answer_is_lost: bool,
    hook: Mutex<Option<Hook>>,
}

impl HookedStore {
    pub(crate) fn before_write(store: Arc<MemoryStore>, prefix: &'static str, hook: Hook) -> Self {
        Self { store, prefix, answer_is_lost: false, hook: Mutex::new(Some(hook)) }
    }

    pub(crate) fn after_write(store: Arc<MemoryStore>, prefix: &'static str, hook: Hook) -> Self {
        Self { answer_is_lost: true, ..Self::before_write(store, prefix, hook) }
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
        let has_prefix = key.as_str().starts_with(self.prefix);
        let hook = self.hook.lock().expect("no panic").take_if(|_| has_prefix);
        if let Some(hook) = hook {
            if self.answer_is_lost {
                self.store.put_if(key, object.clone(), condition.clone()).await?;
            }
            // A thread of its own, because the hook blocks on futures.
            std::thread::spawn(hook).join().expect("no panic");
        }
        self.store.put_if(key, object, condition).await
    }

    async fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Listing, StoreError> {
        self.store.list(prefix, after, limit).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.store.delete(key).await
    }

    async fn presign(&self, key: &Key, options: &PresignOptions) -> Result<SignedUrl, StoreError> {
        self.store.presign(key, options).await
    }
}

fn crashed() -> StoreError {
    StoreError::Unavailable("the process crashed".into())
}

#[async_trait]
impl ObjectStore for CrashingStore {
    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Object, StoreError> {
        self.begin_read()?;
        self.store.get(key, range).await
    }

    async fn head(&self, key: &Key) -> Result<ObjectMeta, StoreError> {
        self.begin_read()?;
        self.store.head(key).await
    }

    async fn put_if(&self, key: &Key, object: NewObject, condition: Condition) -> Result<ETag, StoreError> {
        let (reaches_store, answer) = self.begin_write();
        let written =
            if reaches_store { self.store.put_if(key, object, condition).await } else { Err(crashed()) };
        answer.and(written)
    }

    async fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Listing, StoreError> {
        self.begin_read()?;
        self.store.list(prefix, after, limit).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let (reaches_store, answer) = self.begin_write();
        if reaches_store {
            self.store.delete(key).await?;
        }
        answer
    }

    async fn presign(&self, key: &Key, options: &PresignOptions) -> Result<SignedUrl, StoreError> {
        self.store.presign(key, options).await
    }
}
