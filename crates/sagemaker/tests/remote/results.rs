//! [`BucketResults`] over an in-memory store.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tintype_core::store::{
    Condition, ETag, Key, Listing, NewObject, Object, ObjectMeta, ObjectStore, PresignOptions, SignedUrl,
    StoreError,
};
use tintype_sagemaker::remote::{BucketResults, FetchError, FetchResult, OpenBucket, S3Location};
use tintype_testing::MemoryStore;

fn location(text: &str) -> S3Location {
    text.parse().expect("a location")
}

async fn store_with_one_object() -> Arc<MemoryStore> {
    let store = Arc::new(MemoryStore::default());
    let object = NewObject { bytes: Bytes::from_static(b"result"), content_type: "application/json".into() };
    store.put(&Key::new("async/1.out").expect("a key"), object).await.expect("written");
    store
}

/// The object's content, if it exists.
fn content(found: Result<Option<Object>, FetchError>) -> Option<Bytes> {
    found.expect("read").map(|object| object.bytes)
}

#[test]
fn locations() {
    let existing = location("s3://bucket/a b/c%20d/e");
    assert_eq!((existing.bucket.as_str(), existing.key.as_str()), ("bucket", "a b/c%20d/e"));
    assert_eq!(existing.to_string(), "s3://bucket/a b/c%20d/e");
    for text in ["", "s3://", "s3://bucket", "s3://bucket/", "s3:///key", "https://bucket/key"] {
        assert!(text.parse::<S3Location>().is_err(), "{text}");
    }
}

#[tokio::test]
async fn existing_missing_and_outside_results() {
    let results = BucketResults::new(store_with_one_object().await, "bucket", "");
    let existing = location("s3://bucket/async/1.out");
    assert_eq!(content(results.fetch(&existing, 6).await), Some(Bytes::from_static(b"result")));
    assert!(matches!(results.fetch(&existing, 5).await, Err(FetchError::TooLarge(6))));
    assert_eq!(results.fetch(&location("s3://bucket/async/2.out"), 6).await.expect("not yet"), None);
    let other = results.fetch(&location("s3://other/async/1.out"), 6).await;
    assert!(matches!(other, Err(FetchError::OutsideBucket(_))));

    let below = BucketResults::new(store_with_one_object().await, "bucket", "/team/");
    let found = below.fetch(&location("s3://bucket/team/async/1.out"), 6).await;
    assert_eq!(content(found), Some(Bytes::from_static(b"result")));
    for beside in ["s3://bucket/async/1.out", "s3://bucket/teams/async/1.out"] {
        assert!(
            matches!(below.fetch(&location(beside), 6).await, Err(FetchError::OutsideBucket(_))),
            "{beside}"
        );
    }
}

#[tokio::test]
async fn results_in_another_bucket() {
    let theirs = store_with_one_object().await;
    let open: OpenBucket = Arc::new(move |bucket| {
        let store: Arc<dyn ObjectStore> = theirs.clone();
        (bucket == "theirs").then_some(store)
    });
    let results =
        BucketResults::new(Arc::new(MemoryStore::default()), "ours", "team").with_other_buckets(open);
    let found = results.fetch(&location("s3://theirs/async/1.out"), 6).await;
    assert_eq!(content(found), Some(Bytes::from_static(b"result")));
    for closed in ["s3://another/async/1.out", "s3://ours/async/1.out"] {
        assert!(
            matches!(results.fetch(&location(closed), 6).await, Err(FetchError::OutsideBucket(_))),
            "{closed}"
        );
    }
}

#[tokio::test]
async fn denied_means_missing_and_unavailable_is_an_error() {
    let existing = location("s3://bucket/async/1.out");
    let fetch = |unavailable| {
        let results = BucketResults::new(Arc::new(Unreadable { unavailable }), "bucket", "");
        let existing = existing.clone();
        async move { results.fetch(&existing, 6).await }
    };
    assert_eq!(fetch(false).await.expect("not yet"), None);
    assert!(matches!(fetch(true).await, Err(FetchError::Unavailable(_))));
}

/// A bucket without permission to list, where S3 answers 403 for a missing object; or an unavailable bucket.
struct Unreadable {
    unavailable: bool,
}

impl Unreadable {
    fn error(&self) -> StoreError {
        if self.unavailable {
            StoreError::Unavailable("unavailable".into())
        } else {
            StoreError::Denied("403".into())
        }
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
