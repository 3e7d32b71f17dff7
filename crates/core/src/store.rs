//! The seam behind which objects are kept: what of S3 tintype needs, and no more.

use std::error::Error;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use time::OffsetDateTime;

/// An object's key: 1 to 1,024 bytes of UTF-8, anything that S3 allows. It is a name, never a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

/// The text is no key: empty, or longer than 1,024 bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key has 1 to 1,024 bytes; this one has {0}")]
pub struct InvalidKey(pub usize);

impl Key {
    /// Longest key in bytes, as S3 has it.
    pub const MAX_BYTES: usize = 1_024;

    /// Checks the length.
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

/// The version of an object's content, as the store names it (S3's `ETag`, with its quotes).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ETag(pub String);

/// An object to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewObject {
    /// Its content.
    pub bytes: Bytes,
    /// Its media type.
    pub content_type: String,
}

/// On what condition a write may happen. This is what lets a bucket be a database: a claim is
/// [`Condition::Absent`], a counter is [`Condition::Unchanged`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Write whatever is there.
    Always,
    /// Only if there is no such object (`If-None-Match: *`).
    Absent,
    /// Only if the object still has this version (`If-Match`).
    Unchanged(ETag),
}

/// What is known of an object without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Bytes of content.
    pub size: u64,
    /// Media type.
    pub content_type: String,
    /// Version.
    pub etag: ETag,
    /// When it was written, to the second.
    pub modified: OffsetDateTime,
}

/// An object, or the part of it that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Of the whole object, whatever part was read.
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
    /// When it was written, to the second.
    pub modified: OffsetDateTime,
}

/// A page of a listing, in the byte order of the keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The entries.
    pub objects: Vec<ListedObject>,
    /// There are more after the last of them.
    pub more: bool,
}

/// How a link is to be signed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PresignOptions {
    /// How long it is to work, 1 s to 7 days.
    pub expires_in: Duration,
    /// The `Content-Disposition` that the answer shall carry; part of what is signed.
    pub content_disposition: Option<String>,
}

/// A link that works without credentials until it expires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedUrl {
    /// The link.
    pub url: String,
    /// When it stops working.
    pub expires_at: OffsetDateTime,
}

/// Why an object could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No such object (or no such bucket).
    #[error("no such object")]
    NotFound,
    /// The condition of a conditional write does not hold.
    #[error("the object is not in the state that the condition names")]
    ConditionFailed,
    /// The range begins past the object's end.
    #[error("the range lies outside the object")]
    RangeNotSatisfiable,
    /// The credentials do not allow it.
    #[error("the store refused: {0}")]
    Denied(String),
    /// Not reached, overloaded, out of space, or broken; worth another try.
    #[error("the store is not available: {0}")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
}

/// Keeps objects under keys in one bucket, under one prefix. The contract that every implementation is held to is
/// the suite in `testing::store_contract`.
#[async_trait]
pub trait ObjectStore: Send + Sync {
    /// Reads an object, or the bytes of `range` (end-exclusive, cut at the object's end).
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::RangeNotSatisfiable`] if `range` begins at or past the end.
    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Object, StoreError>;

    /// Reads what is known of an object without its content.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    async fn head(&self, key: &Key) -> Result<ObjectMeta, StoreError>;

    /// Writes an object if the condition holds; readers see the old content or the new, never a part of it, and once
    /// this returns the new content survives a crash.
    ///
    /// # Errors
    /// [`StoreError::ConditionFailed`] if it does not hold; then nothing was written.
    async fn put_if(&self, key: &Key, object: NewObject, condition: Condition) -> Result<ETag, StoreError>;

    /// Writes an object whatever was there.
    ///
    /// # Errors
    /// As [`put_if`](Self::put_if), except for the condition.
    async fn put(&self, key: &Key, object: NewObject) -> Result<ETag, StoreError> {
        self.put_if(key, object, Condition::Always).await
    }

    /// Lists keys that begin with `prefix` and come after `after`, at most `limit` (1 to 1,000) of them.
    ///
    /// # Errors
    /// When the store is not available or refuses.
    async fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Listing, StoreError>;

    /// Deletes an object; one that is not there is not an error.
    ///
    /// # Errors
    /// When the store is not available or refuses.
    async fn delete(&self, key: &Key) -> Result<(), StoreError>;

    /// Signs a link for `GET` of this object. No request is made: the object need not be there.
    ///
    /// # Errors
    /// When there are no credentials to sign with.
    async fn presign(&self, key: &Key, how: &PresignOptions) -> Result<SignedUrl, StoreError>;
}
