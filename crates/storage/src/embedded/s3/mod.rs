//! The S3 operations on the folder. This file lists them, and the submodules implement them.

mod buckets;
mod checksums;
mod conditions;
mod listing;
mod objects;
mod outputs;
mod transfer;
pub(super) mod uploads;

use std::sync::Arc;

use async_trait::async_trait;
use s3s::auth::SimpleAuth;
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::dto::*;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result};
use tintype_core::causes::causes;

use super::bucket::DiskError;
use super::credentials::AccessKeys;
use super::disk::Disk;
use super::hosts::Hosts;
use super::run_blocking;

/// Maximum length of a request's XML in bytes. A request to delete 1,000 keys fits.
const MAX_XML_BYTES: usize = 4 << 20;

/// The state that the operations share.
struct Api {
    disk: Arc<Disk>,
    hosts: Arc<Hosts>,
    /// The default bucket, which holds the HTTP API's objects and cannot be deleted.
    own_bucket: String,
}

/// Creates the service: the operations, with verification of signatures and bucket names in hosts.
pub(super) fn service(
    disk: Arc<Disk>,
    hosts: Arc<Hosts>,
    keys: &AccessKeys,
    own_bucket: String,
) -> S3Service {
    let mut builder = S3ServiceBuilder::new(Api { disk, hosts: Arc::clone(&hosts), own_bucket });
    // `s3s` verifies signatures with the secret.
    builder.set_auth(SimpleAuth::from_single(keys.id.clone(), keys.secret.expose()));
    builder.set_host((*hosts).clone());
    let mut config = S3Config::default();
    config.xml_max_body_size = MAX_XML_BYTES;
    config.post_object_max_file_size = 0;
    builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
    builder.build()
}

impl From<DiskError> for S3Error {
    fn from(error: DiskError) -> Self {
        let (code, message) = match error {
            DiskError::NoSuchBucket => (S3ErrorCode::NoSuchBucket, "The specified bucket does not exist."),
            DiskError::NoSuchKey => (S3ErrorCode::NoSuchKey, "The specified key does not exist."),
            DiskError::NoSuchUpload => (
                S3ErrorCode::NoSuchUpload,
                "The specified multipart upload does not exist. It may have been completed or aborted.",
            ),
            DiskError::BucketExists => {
                (S3ErrorCode::BucketAlreadyOwnedByYou, "The bucket already exists, and you own it.")
            }
            DiskError::BucketNotEmpty => {
                (S3ErrorCode::BucketNotEmpty, "The bucket is not empty. Delete its objects first.")
            }
            DiskError::PreconditionFailed => (
                S3ErrorCode::PreconditionFailed,
                "The object does not meet the condition of If-Match or If-None-Match.",
            ),
            // The cause is for the log, not for the client.
            DiskError::Io(error) => {
                tracing::error!(error = %causes(&error), "failed to access object store disk");
                (S3ErrorCode::InternalError, "The server failed to access its disk. Its log has the cause.")
            }
        };
        Self::with_message(code, message)
    }
}

/// Runs blocking disk access on another thread.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DiskError> + Send + 'static,
) -> S3Result<T> {
    Ok(run_blocking(work).await.map_err(DiskError::Io)??)
}

/// Implements one method per operation.
macro_rules! operations {
    ($($name:ident: $input:ty => $output:ty, $to:path;)*) => {
        #[async_trait]
        impl S3 for Api {
            $(async fn $name(&self, request: S3Request<$input>) -> S3Result<S3Response<$output>> {
                $to(self, request).await.map(S3Response::new)
            })*
        }
    };
}

operations! {
    list_buckets: ListBucketsInput => ListBucketsOutput, buckets::list;
    create_bucket: CreateBucketInput => CreateBucketOutput, buckets::create;
    head_bucket: HeadBucketInput => HeadBucketOutput, buckets::head;
    delete_bucket: DeleteBucketInput => DeleteBucketOutput, buckets::delete;
    get_bucket_location: GetBucketLocationInput => GetBucketLocationOutput, buckets::location;
    list_objects: ListObjectsInput => ListObjectsOutput, listing::version_1;
    list_objects_v2: ListObjectsV2Input => ListObjectsV2Output, listing::version_2;
    get_object: GetObjectInput => GetObjectOutput, objects::get;
    head_object: HeadObjectInput => HeadObjectOutput, objects::head;
    put_object: PutObjectInput => PutObjectOutput, objects::put;
    copy_object: CopyObjectInput => CopyObjectOutput, objects::copy;
    delete_object: DeleteObjectInput => DeleteObjectOutput, objects::delete;
    delete_objects: DeleteObjectsInput => DeleteObjectsOutput, objects::delete_many;
    create_multipart_upload: CreateMultipartUploadInput => CreateMultipartUploadOutput, uploads::create;
    upload_part: UploadPartInput => UploadPartOutput, uploads::part;
    upload_part_copy: UploadPartCopyInput => UploadPartCopyOutput, uploads::part_copy;
    list_parts: ListPartsInput => ListPartsOutput, uploads::list_parts;
    list_multipart_uploads: ListMultipartUploadsInput => ListMultipartUploadsOutput, uploads::list;
    complete_multipart_upload: CompleteMultipartUploadInput => CompleteMultipartUploadOutput, uploads::complete;
    abort_multipart_upload: AbortMultipartUploadInput => AbortMultipartUploadOutput, uploads::abort;
}
