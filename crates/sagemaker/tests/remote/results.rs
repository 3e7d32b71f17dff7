//! Results in an object store's bucket.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tintype_core::store::{
    Condition, ETag, Key, Listing, NewObject, Object, ObjectMeta, ObjectStore, PresignOptions, SignedUrl,
    StoreError,
};
use tintype_sagemaker::remote::{FetchError, FetchResult, InBucket, OpenBucket, S3Location};
use tintype_testing::MemoryStore;

fn location(text: &str) -> S3Location {
    text.parse().expect("a location")
}

async fn with_one_object() -> Arc<MemoryStore> {
    let store = Arc::new(MemoryStore::default());
    let object = NewObject { bytes: Bytes::from_static(b"result"), content_type: "application/json".into() };
    store.put(&Key::new("async/1.out").expect("a key"), object).await.expect("written");
    store
}

/// What was found, without when it was written.
fn content(found: Result<Option<Object>, FetchError>) -> Option<Bytes> {
    found.expect("read").map(|object| object.bytes)
}

#[test]
fn locations() {
    let there = location("s3://bucket/a b/c%20d/e");
    assert_eq!((there.bucket.as_str(), there.key.as_str()), ("bucket", "a b/c%20d/e"));
    assert_eq!(there.to_string(), "s3://bucket/a b/c%20d/e");
    for text in ["", "s3://", "s3://bucket", "s3://bucket/", "s3:///key", "https://bucket/key"] {
        assert!(text.parse::<S3Location>().is_err(), "{text}");
    }
}

#[tokio::test]
async fn what_is_there_what_is_not_yet_and_what_is_elsewhere() {
    let results = InBucket::new(with_one_object().await, "bucket", "");
    let there = location("s3://bucket/async/1.out");
    assert_eq!(content(results.fetch(&there, 6).await), Some(Bytes::from_static(b"result")));
    assert!(matches!(results.fetch(&there, 5).await, Err(FetchError::TooLong(6))));
    assert_eq!(results.fetch(&location("s3://bucket/async/2.out"), 6).await.expect("not yet"), None);
    let other = results.fetch(&location("s3://other/async/1.out"), 6).await;
    assert!(matches!(other, Err(FetchError::Elsewhere(_))));

    let below = InBucket::new(with_one_object().await, "bucket", "/team/");
    let found = below.fetch(&location("s3://bucket/team/async/1.out"), 6).await;
    assert_eq!(content(found), Some(Bytes::from_static(b"result")));
    for beside in ["s3://bucket/async/1.out", "s3://bucket/teams/async/1.out"] {
        assert!(matches!(below.fetch(&location(beside), 6).await, Err(FetchError::Elsewhere(_))), "{beside}");
    }
}

#[tokio::test]
async fn an_endpoint_may_have_a_bucket_of_its_own() {
    let theirs = with_one_object().await;
    let open: OpenBucket = Arc::new(move |bucket| {
        let store: Arc<dyn ObjectStore> = theirs.clone();
        (bucket == "theirs").then_some(store)
    });
    let results = InBucket::new(Arc::new(MemoryStore::default()), "ours", "team").and_others(open);
    let found = results.fetch(&location("s3://theirs/async/1.out"), 6).await;
    assert_eq!(content(found), Some(Bytes::from_static(b"result")));
    for closed in ["s3://another/async/1.out", "s3://ours/async/1.out"] {
        assert!(
            matches!(results.fetch(&location(closed), 6).await, Err(FetchError::Elsewhere(_))),
            "{closed}"
        );
    }
}

#[tokio::test]
async fn forbidden_means_not_yet_and_unavailable_does_not() {
    let there = location("s3://bucket/async/1.out");
    let fetch = |broken| {
        let results = InBucket::new(Arc::new(Unreadable { broken }), "bucket", "");
        let there = there.clone();
        async move { results.fetch(&there, 6).await }
    };
    assert_eq!(fetch(false).await.expect("not yet"), None);
    assert!(matches!(fetch(true).await, Err(FetchError::Unavailable(_))));
}

/// A bucket that may not be listed, so that S3 answers 403 for what is missing; or one that is broken.
struct Unreadable {
    broken: bool,
}

impl Unreadable {
    fn error(&self) -> StoreError {
        if self.broken { StoreError::Unavailable("broken".into()) } else { StoreError::Denied("403".into()) }
    }
}

#[async_trait]
impl ObjectStore for Unreadable {
    async fn get(&self, _: &Key, _: Option<Range<u64>>) -> Result<Object, StoreError> {
        Err(self.error())
    }

    async fn head(&self, _: &Key) -> Result<ObjectMeta, StoreError> {
        Err(self.error())
    }

    async fn put_if(&self, _: &Key, _: NewObject, _: Condition) -> Result<ETag, StoreError> {
        Err(self.error())
    }

    async fn list(&self, _: &str, _: Option<&Key>, _: usize) -> Result<Listing, StoreError> {
        Err(self.error())
    }

    async fn delete(&self, _: &Key) -> Result<(), StoreError> {
        Err(self.error())
    }

    async fn presign(&self, _: &Key, _: &PresignOptions) -> Result<SignedUrl, StoreError> {
        Err(self.error())
    }
}
