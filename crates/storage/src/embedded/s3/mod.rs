//! The S3 operations over the folder. This file is their list; each does its work in the file of its kind.

mod buckets;
mod checks;
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
use super::off_thread;

/// Largest XML that a request may bring: a thousand keys to delete fit.
const LARGEST_XML: usize = 4 << 20;

/// What the operations work on.
struct Api {
    disk: Arc<Disk>,
    hosts: Arc<Hosts>,
    /// The bucket that this program itself keeps its objects in.
    own_bucket: String,
}

/// Puts the service together: verification of signatures, bucket names in hosts, and the operations.
pub(super) fn service(
    disk: Arc<Disk>,
    hosts: Arc<Hosts>,
    keys: &AccessKeys,
    own_bucket: String,
) -> S3Service {
    let mut builder = S3ServiceBuilder::new(Api { disk, hosts: Arc::clone(&hosts), own_bucket });
    // The secret is what signatures are verified with.
    builder.set_auth(SimpleAuth::from_single(keys.id.clone(), keys.secret.expose()));
    builder.set_host((*hosts).clone());
    let mut config = S3Config::default();
    config.xml_max_body_size = LARGEST_XML;
    config.post_object_max_file_size = 0;
    builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
    builder.build()
}

impl From<DiskError> for S3Error {
    fn from(error: DiskError) -> Self {
        let code = match error {
            DiskError::NoSuchBucket => S3ErrorCode::NoSuchBucket,
            DiskError::NoSuchKey => S3ErrorCode::NoSuchKey,
            DiskError::NoSuchUpload => S3ErrorCode::NoSuchUpload,
            DiskError::BucketExists => S3ErrorCode::BucketAlreadyOwnedByYou,
            DiskError::BucketNotEmpty => S3ErrorCode::BucketNotEmpty,
            DiskError::Precondition => S3ErrorCode::PreconditionFailed,
            // What went wrong in here is for the log, not for the client.
            DiskError::Io(error) => {
                tracing::error!(error = %causes(&error), "the object store's disk");
                return Self::with_message(S3ErrorCode::InternalError, "the disk failed");
            }
        };
        Self::with_message(code, error.to_string())
    }
}

/// Does on another thread what blocks on the disk.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DiskError> + Send + 'static,
) -> S3Result<T> {
    Ok(off_thread(work).await.map_err(DiskError::Io)??)
}

/// One method per operation, all of the same form.
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
