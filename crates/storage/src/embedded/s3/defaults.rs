//! Features that every bucket has in its default state: reads of their configuration have the answer of a
//! bucket of S3 without a configuration, and there is nothing to delete.

use s3s::dto::*;
use s3s::{S3Error, S3ErrorCode, S3Request, S3Result};

use super::{Api, blocking, outputs, versions};

/// The only grant of every bucket and object: full control for the owner.
fn grants() -> Vec<Grant> {
    let grantee = Grantee {
        display_name: Some(super::OWNER.to_owned()),
        email_address: None,
        id: Some(super::OWNER.to_owned()),
        type_: Type::from_static(Type::CANONICAL_USER),
        uri: None,
    };
    vec![Grant {
        grantee: Some(grantee),
        permission: Some(Permission::from_static(Permission::FULL_CONTROL)),
    }]
}

/// Checks that the object exists.
async fn check_object(api: &Api, bucket: &str, key: String, version_id: Option<&str>) -> S3Result<()> {
    versions::check(version_id)?;
    let bucket = api.disk.bucket(bucket)?;
    blocking(move || bucket.read(&key).map(|_| ())).await
}

pub(super) async fn bucket_acl(
    api: &Api,
    request: S3Request<GetBucketAclInput>,
) -> S3Result<GetBucketAclOutput> {
    api.disk.bucket(&request.input.bucket)?;
    Ok(GetBucketAclOutput { grants: Some(grants()), owner: Some(outputs::owner()) })
}

pub(super) async fn object_acl(
    api: &Api,
    request: S3Request<GetObjectAclInput>,
) -> S3Result<GetObjectAclOutput> {
    let input = request.input;
    check_object(api, &input.bucket, input.key, input.version_id.as_deref()).await?;
    Ok(GetObjectAclOutput { grants: Some(grants()), owner: Some(outputs::owner()), request_charged: None })
}

pub(super) async fn object_tagging(
    api: &Api,
    request: S3Request<GetObjectTaggingInput>,
) -> S3Result<GetObjectTaggingOutput> {
    let input = request.input;
    check_object(api, &input.bucket, input.key, input.version_id.as_deref()).await?;
    Ok(GetObjectTaggingOutput { tag_set: Vec::new(), version_id: None })
}

pub(super) async fn delete_object_tagging(
    api: &Api,
    request: S3Request<DeleteObjectTaggingInput>,
) -> S3Result<DeleteObjectTaggingOutput> {
    let input = request.input;
    check_object(api, &input.bucket, input.key, input.version_id.as_deref()).await?;
    Ok(DeleteObjectTaggingOutput::default())
}

/// Defines functions that return the output of a bucket without a configuration.
macro_rules! empty_outputs {
    ($($name:ident: $input:ty => $output:expr, $type:ty;)*) => {
        $(pub(super) async fn $name(api: &Api, request: S3Request<$input>) -> S3Result<$type> {
            api.disk.bucket(&request.input.bucket)?;
            Ok($output)
        })*
    };
}

empty_outputs! {
    versioning: GetBucketVersioningInput => Default::default(), GetBucketVersioningOutput;
    accelerate: GetBucketAccelerateConfigurationInput => Default::default(), GetBucketAccelerateConfigurationOutput;
    logging: GetBucketLoggingInput => Default::default(), GetBucketLoggingOutput;
    notification: GetBucketNotificationConfigurationInput => Default::default(), GetBucketNotificationConfigurationOutput;
    policy_status: GetBucketPolicyStatusInput => GetBucketPolicyStatusOutput {
        policy_status: Some(PolicyStatus { is_public: Some(false) }),
    }, GetBucketPolicyStatusOutput;
    request_payment: GetBucketRequestPaymentInput => GetBucketRequestPaymentOutput {
        payer: Some(Payer::from_static(Payer::BUCKET_OWNER)),
    }, GetBucketRequestPaymentOutput;
    delete_cors: DeleteBucketCorsInput => Default::default(), DeleteBucketCorsOutput;
    delete_lifecycle: DeleteBucketLifecycleInput => Default::default(), DeleteBucketLifecycleOutput;
    delete_policy: DeleteBucketPolicyInput => Default::default(), DeleteBucketPolicyOutput;
    delete_tagging: DeleteBucketTaggingInput => Default::default(), DeleteBucketTaggingOutput;
    delete_website: DeleteBucketWebsiteInput => Default::default(), DeleteBucketWebsiteOutput;
}

/// Defines functions that return the error of a bucket without a configuration.
macro_rules! missing {
    ($($name:ident: $input:ty => $output:ty, $code:expr, $what:literal;)*) => {
        $(pub(super) async fn $name(api: &Api, request: S3Request<$input>) -> S3Result<$output> {
            api.disk.bucket(&request.input.bucket)?;
            Err(S3Error::with_message($code, concat!("The bucket has no ", $what, ".")))
        })*
    };
}

missing! {
    cors: GetBucketCorsInput => GetBucketCorsOutput,
        S3ErrorCode::NoSuchCORSConfiguration, "CORS configuration";
    encryption: GetBucketEncryptionInput => GetBucketEncryptionOutput,
        S3ErrorCode::ServerSideEncryptionConfigurationNotFoundError, "encryption configuration";
    lifecycle: GetBucketLifecycleConfigurationInput => GetBucketLifecycleConfigurationOutput,
        S3ErrorCode::NoSuchLifecycleConfiguration, "lifecycle configuration";
    object_lock: GetObjectLockConfigurationInput => GetObjectLockConfigurationOutput,
        S3ErrorCode::ObjectLockConfigurationNotFoundError, "object lock configuration";
    ownership_controls: GetBucketOwnershipControlsInput => GetBucketOwnershipControlsOutput,
        S3ErrorCode::OwnershipControlsNotFoundError, "ownership controls";
    policy: GetBucketPolicyInput => GetBucketPolicyOutput,
        S3ErrorCode::NoSuchBucketPolicy, "policy";
    replication: GetBucketReplicationInput => GetBucketReplicationOutput,
        S3ErrorCode::ReplicationConfigurationNotFoundError, "replication configuration";
    tagging: GetBucketTaggingInput => GetBucketTaggingOutput,
        S3ErrorCode::NoSuchTagSet, "tags";
    website: GetBucketWebsiteInput => GetBucketWebsiteOutput,
        S3ErrorCode::NoSuchWebsiteConfiguration, "website configuration";
}
