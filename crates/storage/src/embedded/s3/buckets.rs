//! Operations on buckets.

use std::sync::Arc;

use s3s::dto::*;
use s3s::{S3Request, S3Result, s3_error};

use super::{Api, blocking};

pub(super) async fn list(api: &Api, request: S3Request<ListBucketsInput>) -> S3Result<ListBucketsOutput> {
    let prefix = request.input.prefix.unwrap_or_default();
    let buckets = api.disk.buckets().into_iter().filter(|bucket| bucket.name.starts_with(&prefix));
    let buckets = buckets.map(|bucket| Bucket {
        name: Some(bucket.name.clone()),
        creation_date: Some(bucket.created.into()),
        bucket_region: None,
    });
    let owner = Owner { id: Some("tintype".into()), display_name: Some("tintype".into()) };
    Ok(ListBucketsOutput { buckets: Some(buckets.collect()), owner: Some(owner), ..Default::default() })
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
    if !s3s::path::check_bucket_name(&name) {
        return Err(s3_error!(
            InvalidBucketName,
            "{name:?} is not a valid bucket name. Use 3 to 63 lower-case letters, digits, hyphens and dots."
        ));
    }
    let (disk, location) = (Arc::clone(&api.disk), format!("/{name}"));
    blocking(move || disk.create_bucket(&name)).await?;
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
