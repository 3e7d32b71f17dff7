//! The [`ObjectStore`] trait: the subset of S3's operations that tintype uses.

use std::error::Error;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use time::OffsetDateTime;

use crate::causes::is_storage_full;

/// An object's key: 1 to 1,024 bytes of UTF-8. As in S3, every such text is valid, and it is not a path:
/// `a//b` and `../a` are ordinary keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

/// The text is empty or longer than 1,024 bytes; the value is its length in bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an object key must have 1 to 1,024 bytes, not {0}")]
pub struct InvalidKey(pub usize);

impl Key {
    /// Maximum length of a key in bytes, the same as S3's.
    pub const MAX_BYTES: usize = 1_024;

    /// Creates a key.
    ///
    /// # Errors
    /// [`InvalidKey`] if the text is empty or too long.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidKey> {
        let text = text.into();
        if (1..=Self::MAX_BYTES).contains(&text.len()) { Ok(Self(text)) } else { Err(InvalidKey(text.len())) }
    }

    /// The key's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The store's identifier for one version of an object's content (S3's `ETag`, quotes included).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ETag(pub String);

/// The content and media type of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewObject {
    /// Content.
    pub bytes: Bytes,
    /// Media type.
    pub content_type: String,
}

/// The precondition of a write. With preconditions a bucket serves as a database: [`Condition::Absent`]
/// claims a name, and [`Condition::Unchanged`] is a compare-and-swap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// No precondition: an existing object is overwritten.
    Always,
    /// The object must not exist (`If-None-Match: *`).
    Absent,
    /// The object must have this version (`If-Match`).
    Unchanged(ETag),
}

/// An object's metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Bytes of content.
    pub size: u64,
    /// Media type.
    pub content_type: String,
    /// Version.
    pub etag: ETag,
    /// Time of the last write, to the second.
    pub modified: OffsetDateTime,
}

/// An object, or a range of its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Metadata of the whole object, also if only a range was read.
    pub meta: ObjectMeta,
    /// The content, or the requested range of it.
    pub bytes: Bytes,
}

/// One entry of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedObject {
    /// The object's key.
    pub key: Key,
    /// Bytes of content.
    pub size: u64,
    /// Time of the last write, to the second.
    pub modified: OffsetDateTime,
}

/// A page of a listing, in the byte order of the keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The entries.
    pub objects: Vec<ListedObject>,
    /// Whether more entries follow the last one.
    pub has_more: bool,
}

/// Options of a presigned URL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PresignOptions {
    /// Lifetime of the URL, 1 s to 7 days.
    pub expires_in: Duration,
    /// The response's `Content-Disposition` header; covered by the signature.
    pub content_disposition: Option<String>,
}

/// A URL that grants access without credentials until it expires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedUrl {
    /// The URL.
    pub url: String,
    /// When it expires; this may be earlier than requested, if the credentials expire first.
    pub expires_at: OffsetDateTime,
}

/// Why an operation of the object store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The object or the bucket does not exist.
    #[error("object not found")]
    NotFound,
    /// The [`Condition`] of a write does not hold.
    #[error("the write's precondition does not hold")]
    ConditionFailed,
    /// The range begins at or after the object's end.
    #[error("range not satisfiable: it begins after the object's end")]
    RangeNotSatisfiable,
    /// The credentials are invalid, or do not permit the operation.
    #[error("access denied by the object store: {0}")]
    Denied(String),
    /// The store has no room for the object. Reads and deletions still work.
    #[error("object store full")]
    Full(#[source] Box<dyn Error + Send + Sync>),
    /// The store is unreachable, overloaded or failing; a later attempt may succeed.
    #[error("object store unavailable")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
}

impl StoreError {
    /// The error of an operation on a disk: [`Full`](Self::Full) if the disk or a quota is full, otherwise
    /// [`Unavailable`](Self::Unavailable).
    pub fn of_disk(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let source = source.into();
        if is_storage_full(&*source) { Self::Full(source) } else { Self::Unavailable(source) }
    }
}

/// Stores objects by key in one bucket, below one prefix. Every implementation passes the test suite
/// `tintype_testing::store_contract`.
#[async_trait]
pub trait ObjectStore: Send + Sync {
    /// How far the store's clock is ahead of this machine's: zero unless the store is a service with a clock of its
    /// own that differs noticeably.
    fn clock_offset(&self) -> time::Duration {
        time::Duration::ZERO
    }

    /// Reads an object, or the bytes of `range` (end-exclusive, cut at the object's end).
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::RangeNotSatisfiable`] if `range` begins at or past the end.
    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Object, StoreError>;

    /// Reads an object's metadata.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    async fn head(&self, key: &Key) -> Result<ObjectMeta, StoreError>;

    /// Writes an object if the condition holds. The write is atomic (readers see the old content or the new)
    /// and, once this returns, durable.
    ///
    /// # Errors
    /// [`StoreError::Full`], and
    /// [`StoreError::ConditionFailed`] if the condition does not hold; then nothing was written. For
    /// [`Condition::Unchanged`] and an absent object a store may return [`StoreError::NotFound`] instead.
    async fn put_if(&self, key: &Key, object: NewObject, condition: Condition) -> Result<ETag, StoreError>;

    /// Writes an object, also over an existing one.
    ///
    /// # Errors
    /// As [`put_if`](Self::put_if), except [`StoreError::ConditionFailed`].
    async fn put(&self, key: &Key, object: NewObject) -> Result<ETag, StoreError> {
        self.put_if(key, object, Condition::Always).await
    }

    /// Lists the objects whose keys begin with `prefix` and sort after `after`; at most `limit` (1 to 1,000)
    /// of them.
    ///
    /// # Errors
    /// [`StoreError::Denied`], [`StoreError::Unavailable`].
    async fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Listing, StoreError>;

    /// Deletes an object; deleting an absent object succeeds.
    ///
    /// # Errors
    /// [`StoreError::Denied`], [`StoreError::Unavailable`].
    async fn delete(&self, key: &Key) -> Result<(), StoreError>;

    /// Signs a URL for `GET` of an object. The store is not asked, so the object need not exist.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the credentials for the signature are missing.
    async fn presign(&self, key: &Key, options: &PresignOptions) -> Result<SignedUrl, StoreError>;
}
