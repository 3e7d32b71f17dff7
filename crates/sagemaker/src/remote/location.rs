//! Where an asynchronous endpoint leaves its results, and how they are fetched.

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
    /// Its bucket.
    pub bucket: String,
    /// Its key, not encoded.
    pub key: String,
}

/// The text is no location in S3.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not of the form s3://bucket/key")]
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

/// Why a result cannot be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The endpoint writes to where we do not read: its configuration is wrong, or ours.
    #[error("{0} is not in the bucket that results are read from")]
    Elsewhere(S3Location),
    /// The store is not available now; worth another look.
    #[error("the store is not available")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
    /// Longer than may be read, in bytes.
    #[error("the result is {0} bytes long, more than may be read")]
    TooLong(u64),
}

/// Reads what asynchronous endpoints write.
#[async_trait]
pub trait FetchResult: Send + Sync {
    /// The object, if its content has at most `limit` bytes; `None` while there is no such object. Where listing is not
    /// permitted S3 answers 403 for an object that is missing, so that is "not there yet" as well.
    ///
    /// # Errors
    /// [`FetchError`].
    async fn fetch(&self, location: &S3Location, limit: u64) -> Result<Option<Object>, FetchError>;
}

/// Opens the store in another bucket, by the bucket's name; `None` if it is no name.
pub type OpenBucket = Arc<dyn Fn(&str) -> Option<Arc<dyn ObjectStore>> + Send + Sync>;

/// Results in the bucket, and below the prefix, of an [`ObjectStore`].
#[derive(Clone)]
pub struct InBucket {
    store: Arc<dyn ObjectStore>,
    bucket: String,
    prefix: String,
    others: Option<OpenBucket>,
}

impl InBucket {
    /// Reads through `store`, which keeps its objects in `bucket` under `prefix` (without slashes at either end; empty for
    /// none).
    pub fn new(store: Arc<dyn ObjectStore>, bucket: &str, prefix: &str) -> Self {
        Self { store, bucket: bucket.to_owned(), prefix: prefix.trim_matches('/').to_owned(), others: None }
    }

    /// Reads also what an endpoint leaves in a bucket of its own.
    #[must_use]
    pub fn and_others(mut self, open: OpenBucket) -> Self {
        self.others = Some(open);
        self
    }

    /// The store that has the object, and the key by which it knows it.
    fn find(&self, location: &S3Location) -> Option<(Arc<dyn ObjectStore>, Key)> {
        if location.bucket != self.bucket {
            let other = self.others.as_ref()?(&location.bucket)?;
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
impl FetchResult for InBucket {
    async fn fetch(&self, location: &S3Location, limit: u64) -> Result<Option<Object>, FetchError> {
        let (store, key) = self.find(location).ok_or_else(|| FetchError::Elsewhere(location.clone()))?;
        let size = match store.head(&key).await {
            Ok(meta) => meta.size,
            Err(StoreError::NotFound | StoreError::Denied(_)) => return Ok(None),
            Err(error) => return Err(FetchError::Unavailable(Box::new(error))),
        };
        if size > limit {
            return Err(FetchError::TooLong(size));
        }
        match store.get(&key, None).await {
            Ok(object) => Ok(Some(object)),
            Err(StoreError::NotFound | StoreError::Denied(_)) => Ok(None),
            Err(error) => Err(FetchError::Unavailable(Box::new(error))),
        }
    }
}
