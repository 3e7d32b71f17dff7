//! Operations on objects.

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use http::header::CONTENT_RANGE;
use http::{HeaderMap, HeaderValue};
use s3s::dto::{self, *};
use s3s::{S3Request, S3Result, s3_error};

use super::checks::Checks;
use super::conditions::{Conditions, precondition};
use super::outputs::{self, expected_checksums, headers_of, set_checksums, set_described};
use super::{Api, blocking, transfer};
use crate::embedded::bucket::Precondition;
use crate::embedded::file::{Description, Record, Writing};

/// Most keys that one request deletes.
const MOST_DELETED: usize = 1_000;

/// The bytes that a range names, and the header that says so.
fn resolve(range: Option<dto::Range>, size: u64) -> S3Result<(Range<u64>, Option<String>)> {
    let Some(range) = range else { return Ok((0..size, None)) };
    match range.check(size) {
        Ok(part) if !part.is_empty() => {
            let said = format!("bytes {}-{}/{size}", part.start, part.end - 1);
            Ok((part, Some(said)))
        }
        _ => {
            let mut error = s3_error!(InvalidRange);
            if let Ok(whole) = HeaderValue::try_from(format!("bytes */{size}")) {
                error.set_headers(HeaderMap::from_iter([(CONTENT_RANGE, whole)]));
            }
            Err(error)
        }
    }
}

async fn open(api: &Api, bucket: &str, key: String) -> S3Result<(File, Record)> {
    let bucket = api.disk.bucket(bucket)?;
    blocking(move || bucket.read(&key)).await
}

/// Checksums are of whole objects, so they do not go with a part of one.
fn wants_checksums(mode: Option<&ChecksumMode>, content_range: Option<&String>) -> bool {
    mode.is_some_and(|mode| mode.as_str() == ChecksumMode::ENABLED) && content_range.is_none()
}

/// What GET and HEAD both answer, and the part of the content that was asked for: their inputs and outputs have the same
/// fields, and no type in common.
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
        set_described!(output, $record);
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

/// Finishes an object's file and gives it its name.
pub(super) async fn commit(
    api: &Api,
    bucket: &str,
    writing: Writing,
    described: Description,
    condition: Precondition,
) -> S3Result<Record> {
    let bucket = api.disk.bucket(bucket)?;
    let written = writing.finish(described).await.map_err(crate::embedded::bucket::DiskError::Io)?;
    blocking(move || bucket.commit(written, &condition)).await
}

pub(super) async fn put(api: &Api, request: S3Request<PutObjectInput>) -> S3Result<PutObjectOutput> {
    let mut input = request.input;
    api.disk.bucket(&input.bucket)?;
    let condition = precondition(input.if_match.take(), input.if_none_match.take())?;
    let expected = expected_checksums!(input);
    let checks = Checks::new(input.content_md5.take(), expected, &request.headers, request.trailing_headers);
    let mut writing = transfer::begin(&api.disk).await?;
    let checksums = transfer::receive(&mut writing, input.body.take(), input.content_length, checks).await?;
    let headers = headers_of!(input);
    let described = Description { key: input.key, headers, checksums, etag: None };
    let record = commit(api, &input.bucket, writing, described, condition).await?;
    let mut output = PutObjectOutput { e_tag: Some(outputs::etag(&record.etag)), ..Default::default() };
    set_checksums!(output, &record.checksums);
    Ok(output)
}

/// Opens what a copy is to be made of.
pub(super) async fn open_source(api: &Api, source: CopySource) -> S3Result<(File, Record)> {
    match source {
        CopySource::Bucket { bucket, key, version_id: None } => open(api, &bucket, key.into()).await,
        _ => Err(s3_error!(NotImplemented, "copies are made of /BUCKET/KEY, without versions")),
    }
}

pub(super) async fn copy(api: &Api, request: S3Request<CopyObjectInput>) -> S3Result<CopyObjectOutput> {
    let mut input = request.input;
    api.disk.bucket(&input.bucket)?;
    let replaces =
        input.metadata_directive.as_ref().is_some_and(|said| said.as_str() == MetadataDirective::REPLACE);
    let onto_itself = matches!(&input.copy_source, CopySource::Bucket { bucket, key, .. }
        if **bucket == *input.bucket && **key == *input.key);
    if onto_itself && !replaces {
        return Err(s3_error!(InvalidRequest, "a copy of an object onto itself must change its metadata"));
    }
    let (file, source) = open_source(api, input.copy_source.clone()).await?;
    let conditions = Conditions {
        if_match: input.copy_source_if_match.take(),
        if_none_match: input.copy_source_if_none_match.take(),
        if_modified_since: input.copy_source_if_modified_since.take(),
        if_unmodified_since: input.copy_source_if_unmodified_since.take(),
    };
    conditions.check_source(&source)?;
    let mut writing = transfer::begin(&api.disk).await?;
    transfer::append(&mut writing, file, 0..source.size, &mut Checks::none()).await?;
    let headers = if replaces { headers_of!(input) } else { source.headers };
    let described = Description { key: input.key, headers, checksums: source.checksums, etag: None };
    let record = commit(api, &input.bucket, writing, described, Precondition::Always).await?;
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
    if objects.len() > MOST_DELETED {
        return Err(s3_error!(MalformedXML, "at most 1,000 keys can be deleted at once"));
    }
    let bucket = api.disk.bucket(&request.input.bucket)?;
    let (mut deleted, mut errors) = (Vec::new(), Vec::new());
    for ObjectIdentifier { key, e_tag, .. } in objects {
        let condition = e_tag.map_or(Precondition::Always, |etag| Precondition::Is(etag.into_value()));
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
