//! Locations of an asynchronous endpoint's results, and how they are read.

use std::error::Error;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tintype_core::store::{Key, Object, ObjectStore, StoreError};

/// An object in S3, written `s3://bucket/key`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct S3Location {
    /// The bucket.
    pub bucket: String,
    /// The key, not percent-encoded.
    pub key: String,
}

/// The text is not a location in S3.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid S3 location {0:?}: it must have the form s3://bucket/key")]
pub struct InvalidLocation(pub String);

impl FromStr for S3Location {
    type Err = InvalidLocation;

    fn from_str(text: &str) -> Result<Self, InvalidLocation> {
        let parts = text.strip_prefix("s3://").and_then(|rest| rest.split_once('/'));
        match parts {
            Some((bucket, key)) if !bucket.is_empty() && !key.is_empty() => {
                Ok(Self { bucket: bucket.to_owned(), key: key.to_owned() })
            }
            _ => Err(InvalidLocation(text.to_owned())),
        }
    }
}

impl TryFrom<String> for S3Location {
    type Error = InvalidLocation;

    fn try_from(text: String) -> Result<Self, InvalidLocation> {
        text.parse()
    }
}

impl From<S3Location> for String {
    fn from(location: S3Location) -> Self {
        location.to_string()
    }
}

impl fmt::Display for S3Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.key)
    }
}

/// Why a result cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The endpoint writes to a bucket or prefix that this store does not read: the endpoint's configuration
    /// is wrong, or the store's.
    #[error("{0} is outside the bucket and prefix that results are read from")]
    OutsideBucket(S3Location),
    /// The store is temporarily unavailable.
    #[error("the store is unavailable")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
    /// The result has this many bytes, more than the limit.
    #[error("the result is too large ({0} bytes)")]
    TooLarge(u64),
}

/// Reads the results of asynchronous endpoints.
#[async_trait]
pub trait FetchResult: Send + Sync {
    /// Reads the object; `None` while it does not exist. S3 answers 403 for a missing object to a client that
    /// may not list the bucket, so 403 counts as missing.
    ///
    /// # Errors
    /// [`FetchError`] if the location is outside the readable buckets, the store is unavailable, or the
    /// object has more than `limit` bytes.
    async fn fetch(&self, location: &S3Location, limit: u64) -> Result<Option<Object>, FetchError>;
}

/// Opens another bucket as a store, by its name; `None` if the name is invalid.
pub type OpenBucket = Arc<dyn Fn(&str) -> Option<Arc<dyn ObjectStore>> + Send + Sync>;

/// Reads results from an [`ObjectStore`], which is one bucket and prefix.
#[derive(Clone)]
pub struct BucketResults {
    store: Arc<dyn ObjectStore>,
    bucket: String,
    prefix: String,
    open_other: Option<OpenBucket>,
}

impl BucketResults {
    /// Reads through `store`, whose objects are in `bucket` under `prefix` (empty for none).
    pub fn new(store: Arc<dyn ObjectStore>, bucket: &str, prefix: &str) -> Self {
        Self {
            store,
            bucket: bucket.to_owned(),
            prefix: prefix.trim_matches('/').to_owned(),
            open_other: None,
        }
    }

    /// Also reads results in other buckets, which `open` opens.
    #[must_use]
    pub fn with_other_buckets(mut self, open: OpenBucket) -> Self {
        self.open_other = Some(open);
        self
    }

    /// The object's store, and its key in that store.
    fn resolve(&self, location: &S3Location) -> Option<(Arc<dyn ObjectStore>, Key)> {
        if location.bucket != self.bucket {
            let other = self.open_other.as_ref()?(&location.bucket)?;
            return Some((other, Key::new(location.key.as_str()).ok()?));
        }
        let key = if self.prefix.is_empty() {
            location.key.as_str()
        } else {
            location.key.strip_prefix(&self.prefix)?.strip_prefix('/')?
        };
        Some((self.store.clone(), Key::new(key).ok()?))
    }
}

#[async_trait]
impl FetchResult for BucketResults {
    async fn fetch(&self, location: &S3Location, limit: u64) -> Result<Option<Object>, FetchError> {
        let (store, key) =
            self.resolve(location).ok_or_else(|| FetchError::OutsideBucket(location.clone()))?;
        let size = match store.head(&key).await {
            Ok(meta) => meta.size,
            Err(StoreError::NotFound | StoreError::Denied(_)) => return Ok(None),
            Err(error) => return Err(FetchError::Unavailable(Box::new(error))),
        };
        if size > limit {
            return Err(FetchError::TooLarge(size));
        }
        match store.get(&key, None).await {
            Ok(object) => Ok(Some(object)),
            Err(StoreError::NotFound | StoreError::Denied(_)) => Ok(None),
            Err(error) => Err(FetchError::Unavailable(Box::new(error))),
        }
    }
}
