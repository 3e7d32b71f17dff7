//! The S3 operations on the folder. This file lists them, and the submodules implement them.

mod access;
mod auth;
mod buckets;
mod checksums;
mod completion;
mod conditional_reads;
mod conditions;
mod defaults;
mod listing;
mod objects;
mod outputs;
mod ranges;
mod reads;
mod support;
mod transfer;
mod upload_checksum;
mod upload_listing;
pub(super) mod uploads;
mod versions;

use std::sync::Arc;

use async_trait::async_trait;
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::dto::*;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result};
use tintype_core::causes::causes;

pub(super) use self::access::mark_as_verified;
pub(super) use self::auth::unknown_access_key;
use self::conditional_reads::ConditionalReads;
pub(super) use self::conditional_reads::without_signature;
pub(super) use self::outputs::xml_text;
use super::bucket::DiskError;
use super::credentials::AccessKeys;
use super::disk::Disk;
use super::hosts::Hosts;
use super::run_blocking;

/// Maximum length of a request's XML in bytes. A request to delete 1,000 keys fits.
const MAX_XML_BYTES: usize = 4 << 20;
/// The id of the account that owns every bucket and object.
const OWNER: &str = "tintype";

/// The state that the operations share.
#[derive(Clone)]
struct Api {
    disk: Arc<Disk>,
    hosts: Arc<Hosts>,
    /// The default bucket, which holds the HTTP API's objects and cannot be deleted.
    own_bucket: String,
}

/// Creates the service: the operations, with bucket names in hosts. It verifies the signatures of all requests
/// that [`mark_as_verified`] has not marked.
pub(super) fn service(
    disk: Arc<Disk>,
    hosts: Arc<Hosts>,
    keys: &AccessKeys,
    own_bucket: String,
) -> S3Service {
    let api = Api { disk, hosts, own_bucket };
    let mut builder = builder(api.clone(), keys);
    builder.set_route(ConditionalReads { service: self::builder(api, keys).build() });
    builder.build()
}

fn builder(api: Api, keys: &AccessKeys) -> S3ServiceBuilder {
    let hosts = (*api.hosts).clone();
    let mut builder = S3ServiceBuilder::new(api);
    builder.set_auth(auth::Auth::new(keys));
    builder.set_access(access::Access);
    builder.set_host(hosts);
    let mut config = S3Config::default();
    config.xml_max_body_size = MAX_XML_BYTES;
    builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
    builder
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
        /// The names of the methods.
        #[cfg(test)]
        const METHODS: &[&str] = &[$(stringify!($name)),*];

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
    get_object: GetObjectInput => GetObjectOutput, reads::get;
    head_object: HeadObjectInput => HeadObjectOutput, reads::head;
    put_object: PutObjectInput => PutObjectOutput, objects::put;
    copy_object: CopyObjectInput => CopyObjectOutput, objects::copy;
    delete_object: DeleteObjectInput => DeleteObjectOutput, objects::delete;
    delete_objects: DeleteObjectsInput => DeleteObjectsOutput, objects::delete_many;
    create_multipart_upload: CreateMultipartUploadInput => CreateMultipartUploadOutput, uploads::create;
    upload_part: UploadPartInput => UploadPartOutput, uploads::part;
    upload_part_copy: UploadPartCopyInput => UploadPartCopyOutput, uploads::part_copy;
    list_parts: ListPartsInput => ListPartsOutput, upload_listing::list_parts;
    list_multipart_uploads: ListMultipartUploadsInput => ListMultipartUploadsOutput, upload_listing::list;
    complete_multipart_upload: CompleteMultipartUploadInput => CompleteMultipartUploadOutput, completion::complete;
    abort_multipart_upload: AbortMultipartUploadInput => AbortMultipartUploadOutput, uploads::abort;
    list_object_versions: ListObjectVersionsInput => ListObjectVersionsOutput, listing::versions;
    get_object_attributes: GetObjectAttributesInput => GetObjectAttributesOutput, reads::attributes;
    get_object_acl: GetObjectAclInput => GetObjectAclOutput, defaults::object_acl;
    get_object_tagging: GetObjectTaggingInput => GetObjectTaggingOutput, defaults::object_tagging;
    delete_object_tagging: DeleteObjectTaggingInput => DeleteObjectTaggingOutput, defaults::delete_object_tagging;
    get_bucket_acl: GetBucketAclInput => GetBucketAclOutput, defaults::bucket_acl;
    get_bucket_versioning: GetBucketVersioningInput => GetBucketVersioningOutput, defaults::versioning;
    get_bucket_accelerate_configuration: GetBucketAccelerateConfigurationInput => GetBucketAccelerateConfigurationOutput, defaults::accelerate;
    get_bucket_cors: GetBucketCorsInput => GetBucketCorsOutput, defaults::cors;
    delete_bucket_cors: DeleteBucketCorsInput => DeleteBucketCorsOutput, defaults::delete_cors;
    get_bucket_encryption: GetBucketEncryptionInput => GetBucketEncryptionOutput, defaults::encryption;
    get_bucket_lifecycle_configuration: GetBucketLifecycleConfigurationInput => GetBucketLifecycleConfigurationOutput, defaults::lifecycle;
    delete_bucket_lifecycle: DeleteBucketLifecycleInput => DeleteBucketLifecycleOutput, defaults::delete_lifecycle;
    get_bucket_logging: GetBucketLoggingInput => GetBucketLoggingOutput, defaults::logging;
    get_bucket_notification_configuration: GetBucketNotificationConfigurationInput => GetBucketNotificationConfigurationOutput, defaults::notification;
    get_object_lock_configuration: GetObjectLockConfigurationInput => GetObjectLockConfigurationOutput, defaults::object_lock;
    get_bucket_ownership_controls: GetBucketOwnershipControlsInput => GetBucketOwnershipControlsOutput, defaults::ownership_controls;
    get_bucket_policy: GetBucketPolicyInput => GetBucketPolicyOutput, defaults::policy;
    get_bucket_policy_status: GetBucketPolicyStatusInput => GetBucketPolicyStatusOutput, defaults::policy_status;
    delete_bucket_policy: DeleteBucketPolicyInput => DeleteBucketPolicyOutput, defaults::delete_policy;
    get_bucket_replication: GetBucketReplicationInput => GetBucketReplicationOutput, defaults::replication;
    get_bucket_request_payment: GetBucketRequestPaymentInput => GetBucketRequestPaymentOutput, defaults::request_payment;
    get_bucket_tagging: GetBucketTaggingInput => GetBucketTaggingOutput, defaults::tagging;
    delete_bucket_tagging: DeleteBucketTaggingInput => DeleteBucketTaggingOutput, defaults::delete_tagging;
    get_bucket_website: GetBucketWebsiteInput => GetBucketWebsiteOutput, defaults::website;
    delete_bucket_website: DeleteBucketWebsiteInput => DeleteBucketWebsiteOutput, defaults::delete_website;
}
