//! Operations on buckets.

use std::sync::Arc;

use s3s::dto::*;
use s3s::{S3Request, S3Result, s3_error};

use super::{Api, blocking, outputs};
use crate::embedded::REGION;
use crate::embedded::bucket::DiskError;

/// Maximum number of buckets of a page.
const MAX_BUCKETS: i32 = 10_000;

pub(super) async fn list(api: &Api, request: S3Request<ListBucketsInput>) -> S3Result<ListBucketsOutput> {
    let input = request.input;
    let max_buckets = input.max_buckets.unwrap_or(MAX_BUCKETS);
    let limit = usize::try_from(max_buckets).ok().filter(|limit| (1..=10_000).contains(limit));
    let limit = limit.ok_or_else(|| {
        s3_error!(InvalidArgument, "max-buckets is {max_buckets}; it must be between 1 and 10,000.")
    })?;
    let after = input.continuation_token.as_deref().map(outputs::read_token).transpose()?;
    let prefix = input.prefix.as_deref().unwrap_or_default();
    let is_in_region = input.bucket_region.as_deref().is_none_or(|region| region == REGION);
    let mut found = api.disk.buckets();
    found.retain(|bucket| {
        is_in_region
            && bucket.name.starts_with(prefix)
            && after.as_deref().is_none_or(|after| bucket.name.as_str() > after)
    });
    let is_truncated = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| is_truncated).map(|bucket| hex::encode(&bucket.name));
    let buckets = found.into_iter().map(|bucket| Bucket {
        name: Some(bucket.name.clone()),
        creation_date: Some(bucket.created.into()),
        bucket_region: input.max_buckets.map(|_| REGION.to_owned()),
    });
    Ok(ListBucketsOutput {
        buckets: Some(buckets.collect()),
        continuation_token: next,
        owner: Some(outputs::owner()),
        prefix: input.prefix,
    })
}

pub(super) async fn create(api: &Api, request: S3Request<CreateBucketInput>) -> S3Result<CreateBucketOutput> {
    let name = request.input.bucket;
    if api.hosts.is_reserved(&name) {
        return Err(s3_error!(
            InvalidBucketName,
            "{name:?} is a path of this server's HTTP API. Choose another bucket name."
        ));
    }
    // `s3s` has checked the name in the path. This name becomes a folder's, so it is checked here as well.
    if !s3s::path::check_bucket_name(&name) || name.contains(".-") || name.contains("-.") {
        return Err(s3_error!(
            InvalidBucketName,
            "{name:?} is not a valid bucket name. Use 3 to 63 lower-case letters, digits, hyphens and dots, and a letter or digit beside each dot."
        ));
    }
    let configuration = request.input.create_bucket_configuration;
    if configuration
        .is_some_and(|configuration| configuration.bucket.is_some() || configuration.location.is_some())
    {
        return Err(s3_error!(NotImplemented, "Directory buckets are not supported."));
    }
    let (disk, location) = (Arc::clone(&api.disk), format!("/{name}"));
    blocking(move || match disk.create_bucket(&name) {
        // In the region us-east-1, S3 accepts the request again.
        Err(DiskError::BucketExists) => Ok(()),
        created => created.map(drop),
    })
    .await?;
    Ok(CreateBucketOutput { location: Some(location) })
}

pub(super) async fn head(api: &Api, request: S3Request<HeadBucketInput>) -> S3Result<HeadBucketOutput> {
    api.disk.bucket(&request.input.bucket)?;
    Ok(HeadBucketOutput::default())
}

pub(super) async fn delete(api: &Api, request: S3Request<DeleteBucketInput>) -> S3Result<DeleteBucketOutput> {
    let name = request.input.bucket;
    if name == api.own_bucket {
        return Err(s3_error!(AccessDenied, "{name:?} is the server's own bucket, which cannot be deleted."));
    }
    let disk = Arc::clone(&api.disk);
    blocking(move || disk.delete_bucket(&name)).await?;
    Ok(DeleteBucketOutput::default())
}

pub(super) async fn location(
    api: &Api,
    request: S3Request<GetBucketLocationInput>,
) -> S3Result<GetBucketLocationOutput> {
    api.disk.bucket(&request.input.bucket)?;
    // In S3, `None` means `us-east-1`.
    Ok(GetBucketLocationOutput::default())
}
