//! Operations on objects.

use std::fs::File;
use std::sync::Arc;

use http::header::{IF_MATCH, IF_NONE_MATCH};
use s3s::dto::{self, *};
use s3s::{S3Request, S3Result, s3_error};

use super::checksums::{Algorithm, ChecksumVerifier};
use super::conditions::{ReadConditions, condition_header, precondition};
use super::outputs::{self, set_object_checksums, take_checksums, take_object_headers};
use super::reads::open;
use super::{Api, blocking, transfer, versions};
use crate::embedded::bucket::{Bucket, DiskError, Precondition};
use crate::embedded::object_file::{ObjectAttributes, ObjectWriter, Record};

/// Maximum number of keys in a request to delete.
const MAX_DELETED_KEYS: usize = 1_000;

/// Finishes an object's file, and moves it to its final name.
pub(super) async fn commit(
    api: &Api,
    bucket: &str,
    writer: ObjectWriter,
    attributes: ObjectAttributes,
    condition: Precondition,
) -> S3Result<Record> {
    let bucket = api.disk.bucket(bucket)?;
    let staged = writer.finish(attributes).await.map_err(DiskError::Io)?;
    blocking(move || bucket.commit(staged, &condition)).await
}

pub(super) async fn put(api: &Api, request: S3Request<PutObjectInput>) -> S3Result<PutObjectOutput> {
    let mut input = request.input;
    api.disk.bucket(&input.bucket)?;
    let condition = precondition(input.if_match.take(), input.if_none_match.take())?;
    let expected = take_checksums!(input);
    let verifier =
        ChecksumVerifier::new(input.content_md5.take(), expected, &request.headers, request.trailing_headers);
    let mut writer = transfer::begin(&api.disk).await?;
    let checksums = transfer::receive(&mut writer, input.body.take(), input.content_length, verifier).await?;
    let headers = take_object_headers!(input);
    let attributes = ObjectAttributes { key: input.key, headers, checksums, ..ObjectAttributes::default() };
    let record = commit(api, &input.bucket, writer, attributes, condition).await?;
    let mut output = PutObjectOutput { e_tag: Some(outputs::etag(&record.etag)), ..Default::default() };
    set_object_checksums!(output, &record.checksums);
    Ok(output)
}

/// Opens the source of a copy.
pub(super) async fn open_source(api: &Api, source: CopySource) -> S3Result<(File, Record)> {
    match source {
        CopySource::Bucket { bucket, key, version_id } => {
            versions::check(version_id.as_deref())?;
            open(api, &bucket, key.into()).await
        }
        _ => Err(s3_error!(
            NotImplemented,
            "The copy source must have the form /BUCKET/KEY. Access points are not supported."
        )),
    }
}

pub(super) async fn copy(api: &Api, request: S3Request<CopyObjectInput>) -> S3Result<CopyObjectOutput> {
    let mut input = request.input;
    api.disk.bucket(&input.bucket)?;
    let condition = precondition(
        condition_header(&request.headers, IF_MATCH)?,
        condition_header(&request.headers, IF_NONE_MATCH)?,
    )?;
    let replaces_headers =
        input.metadata_directive.as_ref().is_some_and(|value| value.as_str() == MetadataDirective::REPLACE);
    let onto_itself = matches!(&input.copy_source, CopySource::Bucket { bucket, key, .. }
        if **bucket == *input.bucket && **key == *input.key);
    if onto_itself && !replaces_headers {
        return Err(s3_error!(
            InvalidRequest,
            "An object can be copied onto itself only with x-amz-metadata-directive: REPLACE."
        ));
    }
    let (file, source) = open_source(api, input.copy_source.clone()).await?;
    let conditions = ReadConditions::of_source(
        (input.copy_source_if_match.take(), input.copy_source_if_none_match.take()),
        (input.copy_source_if_modified_since.take(), input.copy_source_if_unmodified_since.take()),
    );
    conditions.check_source(&source)?;
    let mut writer = transfer::begin(&api.disk).await?;
    let mut verifier = ChecksumVerifier::default();
    let requested = input.checksum_algorithm.as_ref().and_then(|name| Algorithm::parse(name.as_str()));
    // The copy is not in parts. It has its own checksum, of the source's algorithm.
    let of_source = Algorithm::ALL.into_iter().filter(|known| source.checksums.contains_key(known.header()));
    requested
        .map_or_else(|| of_source.collect(), |algorithm| vec![algorithm])
        .into_iter()
        .for_each(|algorithm| verifier.compute(algorithm));
    transfer::append(&mut writer, file, 0..source.size, &mut verifier).await?;
    let checksums = verifier.finish(writer.md5())?;
    let headers = if replaces_headers { take_object_headers!(input) } else { source.headers };
    let attributes = ObjectAttributes { key: input.key, headers, checksums, ..ObjectAttributes::default() };
    let record = commit(api, &input.bucket, writer, attributes, condition).await?;
    let mut result = CopyObjectResult {
        e_tag: Some(outputs::etag(&record.etag)),
        last_modified: Some(outputs::timestamp(record.modified)),
        ..Default::default()
    };
    set_object_checksums!(result, &record.checksums);
    Ok(CopyObjectOutput { copy_object_result: Some(result), ..Default::default() })
}

/// Deletes an object if the condition holds. As in S3, it holds for a missing object.
fn delete_if(bucket: &Bucket, key: &str, condition: &Precondition) -> Result<(), DiskError> {
    match bucket.delete(key, condition) {
        Err(DiskError::NoSuchKey) => Ok(()),
        other => other,
    }
}

pub(super) async fn delete(api: &Api, request: S3Request<DeleteObjectInput>) -> S3Result<DeleteObjectOutput> {
    let input = request.input;
    let bucket = api.disk.bucket(&input.bucket)?;
    versions::check(input.version_id.as_deref())?;
    let condition = precondition(input.if_match, None)?;
    blocking(move || delete_if(&bucket, &input.key, &condition)).await?;
    Ok(DeleteObjectOutput::default())
}

/// Deletes an object that a request to delete several objects lists.
async fn delete_listed(bucket: &Arc<Bucket>, object: ObjectIdentifier) -> S3Result<()> {
    versions::check(object.version_id.as_deref())?;
    for (name, is_set) in
        [("LastModifiedTime", object.last_modified_time.is_some()), ("Size", object.size.is_some())]
    {
        if is_set {
            return Err(s3_error!(NotImplemented, "The condition {name} is not supported. Use ETag."));
        }
    }
    let condition =
        object.e_tag.map_or(Precondition::Always, |etag| Precondition::Matches(etag.into_value()));
    let bucket = Arc::clone(bucket);
    blocking(move || delete_if(&bucket, &object.key, &condition)).await
}

pub(super) async fn delete_many(
    api: &Api,
    request: S3Request<DeleteObjectsInput>,
) -> S3Result<DeleteObjectsOutput> {
    let Delete { objects, quiet } = request.input.delete;
    if objects.len() > MAX_DELETED_KEYS {
        return Err(s3_error!(MalformedXML, "The request has {} keys; the maximum is 1,000.", objects.len()));
    }
    let bucket = api.disk.bucket(&request.input.bucket)?;
    let (mut deleted, mut errors) = (Vec::new(), Vec::new());
    for object in objects {
        let (key, version_id) = (object.key.clone(), object.version_id.clone());
        match delete_listed(&bucket, object).await {
            Ok(()) => deleted.push(DeletedObject { key: Some(key), version_id, ..Default::default() }),
            Err(error) => errors.push(dto::Error {
                code: Some(error.code().as_str().to_owned()),
                message: error.message().map(str::to_owned),
                key: Some(key),
                version_id,
            }),
        }
    }
    let deleted = Some(deleted).filter(|_| quiet != Some(true));
    Ok(DeleteObjectsOutput { deleted, errors: Some(errors), ..Default::default() })
}
