//! The embedded service's bucket as a store in this process, without a loopback.

use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use time::OffsetDateTime;
use tintype_core::store::{
    Condition, ETag, Key, ListedObject, Listing, NewObject, Object, ObjectMeta, ObjectStore, PresignOptions,
    SignedUrl, StoreError,
};

use super::bucket::{Bucket, DiskError, Precondition};
use super::disk::Disk;
use super::file::{Description, Headers, Record, Writing};
use super::index::Query;
use super::off_thread;
use crate::signer::Signer;

/// The default bucket.
#[derive(Debug)]
pub(crate) struct Direct {
    pub(crate) disk: Arc<Disk>,
    pub(crate) bucket: Arc<Bucket>,
    pub(crate) signer: Signer,
}

impl From<DiskError> for StoreError {
    fn from(error: DiskError) -> Self {
        match error {
            DiskError::NoSuchKey | DiskError::NoSuchBucket | DiskError::NoSuchUpload => Self::NotFound,
            DiskError::Precondition => Self::ConditionFailed,
            other => Self::Unavailable(other.into()),
        }
    }
}

fn unavailable(error: io::Error) -> StoreError {
    StoreError::Unavailable(error.into())
}

pub(crate) fn to_time(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

fn meta(record: &Record) -> ObjectMeta {
    ObjectMeta {
        size: record.size,
        content_type: record.headers.content_type.clone().unwrap_or_default(),
        etag: ETag(format!("\"{}\"", record.etag)),
        modified: to_time(record.modified),
    }
}

fn read(bucket: &Bucket, key: &Key, range: Option<Range<u64>>) -> Result<Object, StoreError> {
    let (mut file, record) = bucket.read(key.as_str())?;
    let range = match range {
        None => 0..record.size,
        Some(range) if range.start >= record.size => return Err(StoreError::RangeNotSatisfiable),
        Some(range) => range.start..range.end.min(record.size),
    };
    let length = range.end.saturating_sub(range.start);
    file.seek(SeekFrom::Start(range.start)).map_err(unavailable)?;
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
    file.take(length).read_to_end(&mut bytes).map_err(unavailable)?;
    Ok(Object { meta: meta(&record), bytes: Bytes::from(bytes) })
}

#[async_trait]
impl ObjectStore for Direct {
    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Object, StoreError> {
        let (bucket, key) = (Arc::clone(&self.bucket), key.clone());
        off_thread(move || read(&bucket, &key, range)).await.map_err(unavailable)?
    }

    async fn head(&self, key: &Key) -> Result<ObjectMeta, StoreError> {
        let (bucket, key) = (Arc::clone(&self.bucket), key.clone());
        let found = off_thread(move || bucket.read(key.as_str())).await.map_err(unavailable)?;
        Ok(meta(&found?.1))
    }

    async fn put_if(&self, key: &Key, object: NewObject, condition: Condition) -> Result<ETag, StoreError> {
        let condition = match condition {
            Condition::Always => Precondition::Always,
            Condition::Absent => Precondition::Absent,
            Condition::Unchanged(etag) => Precondition::Is(etag.0.trim_matches('"').to_owned()),
        };
        let mut writing = Writing::begin(&self.disk.temporary()).await.map_err(unavailable)?;
        writing.write(&object.bytes).await.map_err(unavailable)?;
        let headers = Headers { content_type: Some(object.content_type), ..Headers::default() };
        let described = Description { key: key.as_str().to_owned(), headers, ..Description::default() };
        let written = writing.finish(described).await.map_err(unavailable)?;
        let bucket = Arc::clone(&self.bucket);
        let committed = off_thread(move || bucket.commit(written, &condition)).await.map_err(unavailable)?;
        Ok(ETag(format!("\"{}\"", committed?.etag)))
    }

    async fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Listing, StoreError> {
        let query = Query { prefix, delimiter: None, after: after.map(Key::as_str), limit };
        let page = self.bucket.list(query);
        let listed = |(key, entry): (String, super::index::Entry)| {
            let key = Key::new(key).ok()?;
            Some(ListedObject { key, size: entry.size, modified: to_time(entry.modified) })
        };
        Ok(Listing {
            objects: page.objects.into_iter().filter_map(listed).collect(),
            has_more: page.next.is_some(),
        })
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let (bucket, key) = (Arc::clone(&self.bucket), key.clone());
        let deleted = off_thread(move || bucket.delete(key.as_str(), &Precondition::Always)).await;
        Ok(deleted.map_err(unavailable)??)
    }

    async fn presign(&self, key: &Key, how: &PresignOptions) -> Result<SignedUrl, StoreError> {
        self.signer.sign(key.as_str(), how).await
    }
}
