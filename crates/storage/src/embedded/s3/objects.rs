//! Operations on objects.

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use http::header::CONTENT_RANGE;
use http::{HeaderMap, HeaderValue};
use s3s::dto::{self, *};
use s3s::{S3Request, S3Result, s3_error};

use super::checksums::ChecksumVerifier;
use super::conditions::{Conditions, precondition};
use super::outputs::{self, set_checksums, set_object_headers, take_checksums, take_object_headers};
use super::{Api, blocking, transfer};
use crate::embedded::bucket::Precondition;
use crate::embedded::object_file::{ObjectAttributes, ObjectWriter, Record};

/// Maximum number of keys in a request to delete.
const MAX_DELETED_KEYS: usize = 1_000;

/// The bytes of a range, and the value of `Content-Range`; no value without a range.
fn resolve(range: Option<dto::Range>, size: u64) -> S3Result<(Range<u64>, Option<String>)> {
    let Some(range) = range else { return Ok((0..size, None)) };
    match range.check(size) {
        Ok(part) if !part.is_empty() => {
            let content_range = format!("bytes {}-{}/{size}", part.start, part.end - 1);
            Ok((part, Some(content_range)))
        }
        _ => {
            let mut error =
                s3_error!(InvalidRange, "The range is not satisfiable: the object has {size} bytes.");
            if let Ok(content_range) = HeaderValue::try_from(format!("bytes */{size}")) {
                error.set_headers(HeaderMap::from_iter([(CONTENT_RANGE, content_range)]));
            }
            Err(error)
        }
    }
}

async fn open(api: &Api, bucket: &str, key: String) -> S3Result<(File, Record)> {
    let bucket = api.disk.bucket(bucket)?;
    blocking(move || bucket.read(&key)).await
}

/// Whether the response has checksums. They are those of the whole object, so a part of an object has none.
fn wants_checksums(mode: Option<&ChecksumMode>, content_range: Option<&String>) -> bool {
    mode.is_some_and(|mode| mode.as_str() == ChecksumMode::ENABLED) && content_range.is_none()
}

/// The output of `GET` and `HEAD`, and the requested part of the content. The types of both operations have
/// the same fields, but share no trait.
macro_rules! describe_part {
    ($output:ty, $input:expr, $record:expr) => {{
        let conditions = Conditions {
            if_match: $input.if_match,
            if_none_match: $input.if_none_match,
            if_modified_since: $input.if_modified_since,
            if_unmodified_since: $input.if_unmodified_since,
        };
        conditions.check($record)?;
        let (part, content_range) = resolve($input.range, $record.size)?;
        let mut output = <$output>::default();
        if wants_checksums($input.checksum_mode.as_ref(), content_range.as_ref()) {
            set_checksums!(output, &$record.checksums);
        }
        set_object_headers!(output, $record);
        output.content_length = Some(outputs::size(part.end - part.start));
        output.content_range = content_range;
        (output, part)
    }};
}

pub(super) async fn get(api: &Api, request: S3Request<GetObjectInput>) -> S3Result<GetObjectOutput> {
    let input = request.input;
    let (file, record) = open(api, &input.bucket, input.key).await?;
    let (mut output, part) = describe_part!(GetObjectOutput, input, &record);
    output.body = Some(transfer::send(file, part)?);
    Ok(output)
}

pub(super) async fn head(api: &Api, request: S3Request<HeadObjectInput>) -> S3Result<HeadObjectOutput> {
    let input = request.input;
    let (_, record) = open(api, &input.bucket, input.key).await?;
    Ok(describe_part!(HeadObjectOutput, input, &record).0)
}

/// Finishes an object's file, and moves it to its final name.
pub(super) async fn commit(
    api: &Api,
    bucket: &str,
    writer: ObjectWriter,
    attributes: ObjectAttributes,
    condition: Precondition,
) -> S3Result<Record> {
    let bucket = api.disk.bucket(bucket)?;
    let staged = writer.finish(attributes).await.map_err(crate::embedded::bucket::DiskError::Io)?;
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
    let attributes = ObjectAttributes { key: input.key, headers, checksums, etag: None };
    let record = commit(api, &input.bucket, writer, attributes, condition).await?;
    let mut output = PutObjectOutput { e_tag: Some(outputs::etag(&record.etag)), ..Default::default() };
    set_checksums!(output, &record.checksums);
    Ok(output)
}

/// Opens the source of a copy.
pub(super) async fn open_source(api: &Api, source: CopySource) -> S3Result<(File, Record)> {
    match source {
        CopySource::Bucket { bucket, key, version_id: None } => open(api, &bucket, key.into()).await,
        _ => Err(s3_error!(
            NotImplemented,
            "The copy source must have the form /BUCKET/KEY. Versions are not supported."
        )),
    }
}

pub(super) async fn copy(api: &Api, request: S3Request<CopyObjectInput>) -> S3Result<CopyObjectOutput> {
    let mut input = request.input;
    api.disk.bucket(&input.bucket)?;
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
    let conditions = Conditions {
        if_match: input.copy_source_if_match.take(),
        if_none_match: input.copy_source_if_none_match.take(),
        if_modified_since: input.copy_source_if_modified_since.take(),
        if_unmodified_since: input.copy_source_if_unmodified_since.take(),
    };
    conditions.check_source(&source)?;
    let mut writer = transfer::begin(&api.disk).await?;
    transfer::append(&mut writer, file, 0..source.size, &mut ChecksumVerifier::without_checksums()).await?;
    let headers = if replaces_headers { take_object_headers!(input) } else { source.headers };
    let attributes = ObjectAttributes { key: input.key, headers, checksums: source.checksums, etag: None };
    let record = commit(api, &input.bucket, writer, attributes, Precondition::Always).await?;
    let mut result = CopyObjectResult {
        e_tag: Some(outputs::etag(&record.etag)),
        last_modified: Some(outputs::timestamp(record.modified)),
        ..Default::default()
    };
    set_checksums!(result, &record.checksums);
    Ok(CopyObjectOutput { copy_object_result: Some(result), ..Default::default() })
}

pub(super) async fn delete(api: &Api, request: S3Request<DeleteObjectInput>) -> S3Result<DeleteObjectOutput> {
    let input = request.input;
    let bucket = api.disk.bucket(&input.bucket)?;
    let condition = precondition(input.if_match, None)?;
    blocking(move || bucket.delete(&input.key, &condition)).await?;
    Ok(DeleteObjectOutput::default())
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
    for ObjectIdentifier { key, e_tag, .. } in objects {
        let condition = e_tag.map_or(Precondition::Always, |etag| Precondition::Matches(etag.into_value()));
        let (bucket, name) = (Arc::clone(&bucket), key.clone());
        match blocking(move || bucket.delete(&name, &condition)).await {
            Ok(()) => deleted.push(DeletedObject { key: Some(key), ..Default::default() }),
            Err(error) => errors.push(dto::Error {
                code: Some(error.code().as_str().to_owned()),
                message: error.message().map(str::to_owned),
                key: Some(key),
                version_id: None,
            }),
        }
    }
    let deleted = Some(deleted).filter(|_| quiet != Some(true));
    Ok(DeleteObjectsOutput { deleted, errors: Some(errors), ..Default::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let int = |first, last| Some(dto::Range::Int { first, last });
        let suffix = |length| Some(dto::Range::Suffix { length });
        let part = |range, size| resolve(range, size).ok();
        assert_eq!(part(None, 0), Some((0..0, None)));
        assert_eq!(part(int(2, Some(4)), 10), Some((2..5, Some("bytes 2-4/10".into()))));
        assert_eq!(part(int(8, Some(99)), 10), Some((8..10, Some("bytes 8-9/10".into()))));
        assert_eq!(part(int(9, None), 10), Some((9..10, Some("bytes 9-9/10".into()))));
        assert_eq!(part(suffix(3), 10), Some((7..10, Some("bytes 7-9/10".into()))));
        assert_eq!(part(suffix(99), 10), Some((0..10, Some("bytes 0-9/10".into()))));
        assert_eq!(part(int(10, None), 10), None);
        assert_eq!(part(suffix(0), 10), None);
        assert_eq!(part(suffix(5), 0), None);
        assert_eq!(part(int(0, None), 0), None);
    }
}
