//! A bucket of the embedded service as a store, without a network connection.

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
use super::index::ListQuery;
use super::object_file::{Headers, ObjectAttributes, ObjectWriter, Record};
use super::run_blocking;
use crate::signer::Signer;

/// A bucket as a store.
#[derive(Debug)]
pub(crate) struct LocalStore {
    pub(crate) disk: Arc<Disk>,
    pub(crate) bucket: Arc<Bucket>,
    pub(crate) signer: Signer,
}

impl From<DiskError> for StoreError {
    fn from(error: DiskError) -> Self {
        match error {
            DiskError::NoSuchKey | DiskError::NoSuchBucket | DiskError::NoSuchUpload => Self::NotFound,
            DiskError::PreconditionFailed => Self::ConditionFailed,
            other => Self::of_disk(other),
        }
    }
}

fn unavailable(error: io::Error) -> StoreError {
    StoreError::of_disk(error)
}

pub(crate) fn to_time(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

fn object_meta(record: &Record) -> ObjectMeta {
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
    Ok(Object { meta: object_meta(&record), bytes: Bytes::from(bytes) })
}

#[async_trait]
impl ObjectStore for LocalStore {
    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Object, StoreError> {
        let (bucket, key) = (Arc::clone(&self.bucket), key.clone());
        run_blocking(move || read(&bucket, &key, range)).await.map_err(unavailable)?
    }

    async fn head(&self, key: &Key) -> Result<ObjectMeta, StoreError> {
        let (bucket, key) = (Arc::clone(&self.bucket), key.clone());
        let found = run_blocking(move || bucket.read(key.as_str())).await.map_err(unavailable)?;
        Ok(object_meta(&found?.1))
    }

    async fn put_if(&self, key: &Key, object: NewObject, condition: Condition) -> Result<ETag, StoreError> {
        let condition = match condition {
            Condition::Always => Precondition::Always,
            Condition::Absent => Precondition::Absent,
            Condition::Unchanged(etag) => Precondition::Matches(etag.0.trim_matches('"').to_owned()),
        };
        let mut writer = ObjectWriter::begin(&self.disk.temporary()).await.map_err(unavailable)?;
        writer.write(&object.bytes).await.map_err(unavailable)?;
        let headers = Headers { content_type: Some(object.content_type), ..Headers::default() };
        let attributes =
            ObjectAttributes { key: key.as_str().to_owned(), headers, ..ObjectAttributes::default() };
        let staged = writer.finish(attributes).await.map_err(unavailable)?;
        let bucket = Arc::clone(&self.bucket);
        let committed = run_blocking(move || bucket.commit(staged, &condition)).await.map_err(unavailable)?;
        Ok(ETag(format!("\"{}\"", committed?.etag)))
    }

    async fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Listing, StoreError> {
        let query = ListQuery { prefix, delimiter: None, after: after.map(Key::as_str), limit };
        let page = self.bucket.list(query);
        let to_listed = |(key, entry): (String, super::index::Entry)| {
            let key = Key::new(key).ok()?;
            Some(ListedObject { key, size: entry.size, modified: to_time(entry.modified) })
        };
        Ok(Listing {
            objects: page.objects.into_iter().filter_map(to_listed).collect(),
            has_more: page.next.is_some(),
        })
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let (bucket, key) = (Arc::clone(&self.bucket), key.clone());
        let deleted = run_blocking(move || bucket.delete(key.as_str(), &Precondition::Always)).await;
        Ok(deleted.map_err(unavailable)??)
    }

    async fn presign(&self, key: &Key, options: &PresignOptions) -> Result<SignedUrl, StoreError> {
        self.signer.sign(key.as_str(), options).await
    }
}
