//! Reads of objects and of their attributes.

use std::fs::File;

use s3s::dto::*;
use s3s::{S3Request, S3Result, s3_error};

use super::conditions::ReadConditions;
use super::outputs::{self, set_checksums, set_object_checksums, set_object_headers};
use super::ranges::{Selection, select_part, select_range};
use super::upload_checksum::kind_of;
use super::{Api, blocking, transfer, versions};
use crate::embedded::object_file::{Checksums, Record};

/// Maximum number of parts in the attributes of an object.
const MAX_PARTS: i32 = 1_000;

/// Opens an object.
pub(super) async fn open(api: &Api, bucket: &str, key: String) -> S3Result<(File, Record)> {
    let bucket = api.disk.bucket(bucket)?;
    blocking(move || bucket.read(&key)).await
}

/// The checksums of the response: those of the object or of a part that was uploaded. Other parts of an object
/// have none.
fn checksums(
    mode: Option<&ChecksumMode>,
    part_number: Option<i32>,
    read: (&Record, &Selection),
) -> Checksums {
    let (record, selection) = read;
    if mode.is_none_or(|mode| mode.as_str() != ChecksumMode::ENABLED) {
        return Checksums::new();
    }
    match part_number.and_then(|number| usize::try_from(number - 1).ok()) {
        Some(index) if record.multipart.is_some() => record.part_checksums(index),
        None if selection.content_range.is_some() => Checksums::new(),
        _ => record.checksums.clone(),
    }
}

/// Checks the conditions, and selects the bytes of the response.
fn select(
    conditions: Option<ReadConditions>,
    part_number: Option<i32>,
    record: &Record,
) -> S3Result<Selection> {
    let conditions = conditions.unwrap_or_default();
    conditions.check(record)?;
    match part_number {
        None => select_range(conditions.range(record), record.size),
        Some(_) if conditions.range.is_some() => {
            Err(s3_error!(InvalidRequest, "Range and partNumber cannot be combined. Send only one of them."))
        }
        Some(number) => select_part(number, record),
    }
}

/// The output of `GET` and `HEAD`, and the selected bytes. The types of both operations have the same fields,
/// but share no trait.
macro_rules! describe {
    ($output:ty, $request:expr, $record:expr) => {{
        let input = $request.input;
        let selection = select($request.extensions.remove(), input.part_number, $record)?;
        let mut output = <$output>::default();
        let checksums = checksums(input.checksum_mode.as_ref(), input.part_number, ($record, &selection));
        set_checksums!(output, &checksums);
        output.checksum_type = kind_of(&$record.checksums).filter(|_| !checksums.is_empty());
        set_object_headers!(output, $record);
        // The link's headers replace those of the object.
        output.cache_control = input.response_cache_control.or(output.cache_control);
        output.content_disposition = input.response_content_disposition.or(output.content_disposition);
        output.content_encoding = input.response_content_encoding.or(output.content_encoding);
        output.content_language = input.response_content_language.or(output.content_language);
        output.content_type = input.response_content_type.or(output.content_type);
        output.expires = input.response_expires.or(output.expires);
        output.content_length = Some(outputs::size(selection.bytes.end - selection.bytes.start));
        output.content_range = selection.content_range;
        output.parts_count = selection.parts_count;
        (output, selection.bytes)
    }};
}

pub(super) async fn get(api: &Api, mut request: S3Request<GetObjectInput>) -> S3Result<GetObjectOutput> {
    versions::check(request.input.version_id.as_deref())?;
    let (file, record) = open(api, &request.input.bucket, request.input.key.clone()).await?;
    let (mut output, bytes) = describe!(GetObjectOutput, request, &record);
    output.body = Some(transfer::send(file, bytes)?);
    Ok(output)
}

pub(super) async fn head(api: &Api, mut request: S3Request<HeadObjectInput>) -> S3Result<HeadObjectOutput> {
    versions::check(request.input.version_id.as_deref())?;
    let (_, record) = open(api, &request.input.bucket, request.input.key.clone()).await?;
    Ok(describe!(HeadObjectOutput, request, &record).0)
}

/// The parts of an object that was uploaded in parts.
fn parts(record: &Record, after: i32, max_parts: i32) -> Option<GetObjectAttributesParts> {
    let sizes = &record.multipart.as_ref()?.part_sizes;
    let mut listed: Vec<_> = (1..)
        .zip(sizes)
        .filter(|(number, _)| *number > after)
        .map(|(number, size)| {
            let mut part = ObjectPart {
                part_number: Some(number),
                size: Some(outputs::size(*size)),
                ..Default::default()
            };
            let index = usize::try_from(number - 1).unwrap_or_default();
            set_checksums!(part, &record.part_checksums(index));
            part
        })
        .collect();
    let limit = usize::try_from(max_parts).unwrap_or_default();
    let is_truncated = listed.len() > limit;
    listed.truncate(limit);
    Some(GetObjectAttributesParts {
        is_truncated: Some(is_truncated),
        max_parts: Some(max_parts),
        next_part_number_marker: listed.last().and_then(|part| part.part_number).filter(|_| is_truncated),
        part_number_marker: Some(after),
        parts: Some(listed),
        total_parts_count: i32::try_from(sizes.len()).ok(),
    })
}

pub(super) async fn attributes(
    api: &Api,
    mut request: S3Request<GetObjectAttributesInput>,
) -> S3Result<GetObjectAttributesOutput> {
    let conditions: ReadConditions = request.extensions.remove().unwrap_or_default();
    let input = request.input;
    versions::check(input.version_id.as_deref())?;
    // `s3s` splits the list only by headers, not by commas.
    let requested: Vec<_> =
        input.object_attributes.iter().flat_map(|list| list.as_str().split(',')).map(str::trim).collect();
    let wants = |name: &str| requested.contains(&name);
    let known = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"];
    if let Some(unknown) = requested.iter().find(|name| !known.contains(name)) {
        return Err(s3_error!(
            InvalidArgument,
            "The attribute {unknown:?} is unknown. The attributes are {}.",
            known.join(", ")
        ));
    }
    let (_, record) = open(api, &input.bucket, input.key).await?;
    conditions.check(&record)?;
    let max_parts = input.max_parts.unwrap_or(MAX_PARTS).clamp(0, MAX_PARTS);
    let mut checksum = Checksum::default();
    set_object_checksums!(checksum, &record.checksums);
    Ok(GetObjectAttributesOutput {
        checksum: Some(checksum).filter(|_| wants("Checksum") && !record.checksums.is_empty()),
        e_tag: wants("ETag").then(|| outputs::etag(&record.etag)),
        object_parts: parts(&record, input.part_number_marker.unwrap_or(0), max_parts)
            .filter(|_| wants("ObjectParts")),
        object_size: wants("ObjectSize").then(|| outputs::size(record.size)),
        storage_class: wants("StorageClass").then(|| StorageClass::from_static(StorageClass::STANDARD)),
        last_modified: Some(outputs::timestamp(record.modified)),
        ..Default::default()
    })
}
