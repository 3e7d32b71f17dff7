//! Multipart uploads: the parts are files in the upload's folder, and completion concatenates them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use s3s::dto::{self, *};
use s3s::{S3Request, S3Result, s3_error};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tintype_core::causes::causes;
use uuid::Uuid;

use super::checksums::{ChecksumVerifier, md5_of_parts};
use super::conditions::{Conditions, precondition};
use super::outputs::{self, set_checksums, take_checksums, take_object_headers};
use super::{Api, blocking, objects, transfer};
use crate::embedded::bucket::{DiskError, sync_folder};
use crate::embedded::disk::Disk;
use crate::embedded::object_file::{self, Headers, ObjectAttributes, ObjectWriter, Record};
use crate::embedded::run_blocking;

/// The highest part number.
const MAX_PARTS: i32 = 10_000;
/// Minimum length in bytes of every part except the last: 5 MiB.
const MIN_PART_BYTES: u64 = 5 << 20;
/// The file in an upload's folder with its metadata.
const MANIFEST: &str = "upload";

/// The metadata of a multipart upload.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Manifest {
    bucket: String,
    key: String,
    headers: Headers,
    /// Start of the upload, in seconds since 1970.
    #[serde(rename = "begun")]
    started_at: i64,
}

fn read_manifest(folder: &Path) -> Result<Manifest, DiskError> {
    match fs::read(folder.join(MANIFEST)) {
        Ok(text) => Ok(serde_json::from_slice(&text).map_err(io::Error::from)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(DiskError::NoSuchUpload),
        Err(error) => Err(error.into()),
    }
}

/// The folder and metadata of the upload with this id, if it is for this object.
fn find(disk: &Disk, id: &str, bucket: &str, key: &str) -> Result<(PathBuf, Manifest), DiskError> {
    // Only a UUID becomes a path.
    let id = Uuid::try_parse(id).map_err(|_| DiskError::NoSuchUpload)?;
    let folder = disk.uploads().join(id.simple().to_string());
    let upload = read_manifest(&folder)?;
    if upload.bucket == bucket && upload.key == key {
        Ok((folder, upload))
    } else {
        Err(DiskError::NoSuchUpload)
    }
}

/// Runs [`find`] on another thread.
async fn find_blocking(api: &Api, id: &str, bucket: &str, key: &str) -> S3Result<(PathBuf, Manifest)> {
    let disk = Arc::clone(&api.disk);
    let (id, bucket, key) = (id.to_owned(), bucket.to_owned(), key.to_owned());
    blocking(move || find(&disk, &id, &bucket, &key)).await
}

/// Every incomplete upload, with its id.
fn all(disk: &Disk) -> Result<Vec<(String, Manifest)>, DiskError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(disk.uploads())? {
        let entry = entry?;
        match (entry.file_name().into_string(), read_manifest(&entry.path())) {
            (Ok(id), Ok(upload)) => found.push((id, upload)),
            (_, Err(error)) => {
                let (path, error) = (entry.path(), causes(&error));
                tracing::warn!(path = %path.display(), %error, "skipped damaged multipart upload")
            }
            _ => {}
        }
    }
    found.sort_by(|(_, a), (_, b)| (&a.key, a.started_at).cmp(&(&b.key, b.started_at)));
    Ok(found)
}

/// Deletes incomplete uploads that are older than `max_age`.
pub(in crate::embedded) fn discard_older_than(disk: &Disk, max_age: Duration) -> Result<(), DiskError> {
    let max_age = i64::try_from(max_age.as_secs()).unwrap_or(i64::MAX);
    let oldest = OffsetDateTime::now_utc().unix_timestamp().saturating_sub(max_age);
    for (id, _) in all(disk)?.into_iter().filter(|(_, upload)| upload.started_at < oldest) {
        disk.discard(&disk.uploads().join(id))?;
    }
    Ok(())
}

fn part_file(folder: &Path, number: i32) -> PathBuf {
    folder.join(format!("{number:05}"))
}

fn check_number(number: i32) -> S3Result<()> {
    if (1..=MAX_PARTS).contains(&number) {
        return Ok(());
    }
    Err(s3_error!(InvalidArgument, "The part number is {number}; it must be between 1 and 10,000."))
}

pub(super) async fn create(
    api: &Api,
    request: S3Request<CreateMultipartUploadInput>,
) -> S3Result<CreateMultipartUploadOutput> {
    let mut input = request.input;
    api.disk.bucket(&input.bucket)?;
    let headers = take_object_headers!(input);
    let started_at = OffsetDateTime::now_utc().unix_timestamp();
    let upload = Manifest { bucket: input.bucket.clone(), key: input.key.clone(), headers, started_at };
    let id = Uuid::new_v4().simple().to_string();
    let (disk, name) = (Arc::clone(&api.disk), id.clone());
    blocking(move || {
        // The folder is created elsewhere and moved, so that every upload has its metadata.
        let staged = disk.temporary().join(&name);
        fs::create_dir(&staged)?;
        let file = fs::File::create_new(staged.join(MANIFEST))?;
        serde_json::to_writer(&file, &upload).map_err(io::Error::from)?;
        file.sync_all()?;
        sync_folder(&staged)?;
        fs::rename(&staged, disk.uploads().join(&name))?;
        Ok(sync_folder(&disk.uploads())?)
    })
    .await?;
    Ok(CreateMultipartUploadOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(id),
        checksum_algorithm: input.checksum_algorithm,
        checksum_type: input.checksum_type,
        ..Default::default()
    })
}

/// Moves a part into the upload's folder.
async fn save_part(
    writer: ObjectWriter,
    folder: PathBuf,
    number: i32,
    checksums: object_file::Checksums,
) -> S3Result<Record> {
    let attributes = ObjectAttributes { key: number.to_string(), checksums, ..ObjectAttributes::default() };
    let staged = writer.finish(attributes).await.map_err(DiskError::Io)?;
    blocking(move || {
        match staged.temp.rename(&part_file(&folder, number)) {
            Ok(()) => sync_folder(&folder)?,
            // The upload was aborted or completed meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(DiskError::NoSuchUpload),
            Err(error) => return Err(error.into()),
        }
        Ok(staged.record)
    })
    .await
}

pub(super) async fn part(api: &Api, request: S3Request<UploadPartInput>) -> S3Result<UploadPartOutput> {
    let mut input = request.input;
    check_number(input.part_number)?;
    let (folder, _) = find_blocking(api, &input.upload_id, &input.bucket, &input.key).await?;
    let expected = take_checksums!(input);
    let verifier =
        ChecksumVerifier::new(input.content_md5.take(), expected, &request.headers, request.trailing_headers);
    let mut writer = transfer::begin(&api.disk).await?;
    let checksums = transfer::receive(&mut writer, input.body.take(), input.content_length, verifier).await?;
    let record = save_part(writer, folder, input.part_number, checksums).await?;
    let mut output = UploadPartOutput { e_tag: Some(outputs::etag(&record.etag)), ..Default::default() };
    set_checksums!(output, &record.checksums);
    Ok(output)
}

pub(super) async fn part_copy(
    api: &Api,
    request: S3Request<UploadPartCopyInput>,
) -> S3Result<UploadPartCopyOutput> {
    let input = request.input;
    check_number(input.part_number)?;
    let (folder, _) = find_blocking(api, &input.upload_id, &input.bucket, &input.key).await?;
    let (file, source) = objects::open_source(api, input.copy_source).await?;
    let conditions = Conditions {
        if_match: input.copy_source_if_match,
        if_none_match: input.copy_source_if_none_match,
        if_modified_since: input.copy_source_if_modified_since,
        if_unmodified_since: input.copy_source_if_unmodified_since,
    };
    conditions.check_source(&source)?;
    let bytes = match input.copy_source_range.as_deref().map(dto::Range::parse).transpose() {
        Ok(None) => 0..source.size,
        Ok(Some(range)) => range.check(source.size).map_err(|_| {
            s3_error!(InvalidRange, "The range is not satisfiable: the source has {} bytes.", source.size)
        })?,
        Err(_) => {
            return Err(s3_error!(
                InvalidArgument,
                "x-amz-copy-source-range must have the form bytes=FIRST-LAST."
            ));
        }
    };
    let mut writer = transfer::begin(&api.disk).await?;
    transfer::append(&mut writer, file, bytes, &mut ChecksumVerifier::without_checksums()).await?;
    let record = save_part(writer, folder, input.part_number, object_file::Checksums::new()).await?;
    let result = CopyPartResult {
        e_tag: Some(outputs::etag(&record.etag)),
        last_modified: Some(outputs::timestamp(record.modified)),
        ..Default::default()
    };
    Ok(UploadPartCopyOutput { copy_part_result: Some(result), ..Default::default() })
}

/// The parts in an upload's folder, ordered by number.
fn parts_in(folder: &Path) -> Result<Vec<(i32, Record)>, DiskError> {
    let mut parts = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if let Some(number) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
            parts.push((number, object_file::open(&entry.path())?.1));
        }
    }
    parts.sort_by_key(|(number, _)| *number);
    Ok(parts)
}

pub(super) async fn list_parts(api: &Api, request: S3Request<ListPartsInput>) -> S3Result<ListPartsOutput> {
    let input = request.input;
    let (folder, _) = find_blocking(api, &input.upload_id, &input.bucket, &input.key).await?;
    let after = input.part_number_marker.unwrap_or(0);
    let max_parts = input.max_parts.unwrap_or(1_000).clamp(0, 1_000);
    let mut parts = blocking(move || parts_in(&folder)).await?;
    parts.retain(|(number, _)| *number > after);
    let truncated = parts.len() > usize::try_from(max_parts).unwrap_or_default();
    parts.truncate(usize::try_from(max_parts).unwrap_or_default());
    let next = parts.last().map(|(number, _)| *number);
    let part = |(number, record): (i32, Record)| {
        let mut part = Part {
            part_number: Some(number),
            size: Some(outputs::size(record.size)),
            e_tag: Some(outputs::etag(&record.etag)),
            last_modified: Some(outputs::timestamp(record.modified)),
            ..Default::default()
        };
        set_checksums!(part, &record.checksums);
        part
    };
    Ok(ListPartsOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(input.upload_id),
        max_parts: Some(max_parts),
        part_number_marker: Some(after),
        next_part_number_marker: next.filter(|_| truncated),
        is_truncated: Some(truncated),
        parts: Some(parts.into_iter().map(part).collect()),
        ..Default::default()
    })
}

pub(super) async fn list(
    api: &Api,
    request: S3Request<ListMultipartUploadsInput>,
) -> S3Result<ListMultipartUploadsOutput> {
    let input = request.input;
    api.disk.bucket(&input.bucket)?;
    let disk = Arc::clone(&api.disk);
    let (bucket, prefix) = (input.bucket.clone(), input.prefix.clone().unwrap_or_default());
    let found = blocking(move || all(&disk)).await?;
    let matches = |upload: &Manifest| upload.bucket == bucket && upload.key.starts_with(&prefix);
    let uploads =
        found.into_iter().filter(|(_, upload)| matches(upload)).map(|(id, upload)| MultipartUpload {
            key: Some(outputs::encode_key(&upload.key, input.encoding_type.as_ref())),
            upload_id: Some(id),
            initiated: Some(outputs::timestamp(upload.started_at)),
            ..Default::default()
        });
    Ok(ListMultipartUploadsOutput {
        uploads: Some(uploads.collect()),
        is_truncated: Some(false),
        bucket: Some(input.bucket),
        prefix: input.prefix,
        encoding_type: input.encoding_type,
        ..Default::default()
    })
}

/// Checks the parts in a request to complete an upload: their order, their ETags, and the minimum length of
/// all but the last.
fn check_parts(folder: &Path, requested: &[CompletedPart]) -> S3Result<Vec<(i32, Record)>> {
    if requested.is_empty() {
        return Err(s3_error!(MalformedXML, "The request must list at least one part."));
    }
    let mut parts: Vec<(i32, Record)> = Vec::new();
    for part in requested {
        let number = part.part_number.unwrap_or_default();
        check_number(number)?;
        if let Some((previous, _)) = parts.last().filter(|(previous, _)| number <= *previous) {
            return Err(s3_error!(
                InvalidPartOrder,
                "Part {number} follows part {previous}. List the parts in ascending order."
            ));
        }
        let (_, record) = object_file::open(&part_file(folder, number))
            .map_err(|_| s3_error!(InvalidPart, "Part {number} does not exist."))?;
        if part.e_tag.as_ref().is_none_or(|etag| etag.value() != record.etag) {
            return Err(s3_error!(
                InvalidPart,
                "The ETag of part {number} differs from that of the uploaded part."
            ));
        }
        if let Some((previous, small)) = parts.last().filter(|(_, record)| record.size < MIN_PART_BYTES) {
            return Err(s3_error!(
                EntityTooSmall,
                "Part {previous} has {} bytes; every part except the last must have at least {MIN_PART_BYTES}.",
                small.size
            ));
        }
        parts.push((number, record));
    }
    Ok(parts)
}

pub(super) async fn complete(
    api: &Api,
    request: S3Request<CompleteMultipartUploadInput>,
) -> S3Result<CompleteMultipartUploadOutput> {
    let mut input = request.input;
    let condition = precondition(input.if_match.take(), input.if_none_match.take())?;
    let (folder, upload) = find_blocking(api, &input.upload_id, &input.bucket, &input.key).await?;
    let requested = input.multipart_upload.take().and_then(|upload| upload.parts).unwrap_or_default();
    let at = folder.clone();
    let parts = run_blocking(move || check_parts(&at, &requested)).await.map_err(DiskError::Io)??;
    // Only a checksum of the whole object can be verified, stored and served, not a composite of the parts'
    // checksums.
    let is_full_object =
        input.checksum_type.as_ref().is_some_and(|value| value.as_str() == ChecksumType::FULL_OBJECT);
    let mut verifier = if is_full_object {
        ChecksumVerifier::new(None, take_checksums!(input), &http::HeaderMap::new(), None)
    } else {
        ChecksumVerifier::without_checksums()
    };
    let mut writer = transfer::begin(&api.disk).await?;
    let mut digests = Vec::new();
    let count = parts.len();
    for (number, record) in parts {
        let path = part_file(&folder, number);
        let (file, _) = blocking(move || Ok(object_file::open(&path)?)).await?;
        digests.extend(hex::decode(&record.etag).map_err(|error| DiskError::Io(io::Error::other(error)))?);
        transfer::append(&mut writer, file, 0..record.size, &mut verifier).await?;
    }
    let checksums = verifier.finish(writer.md5())?;
    let etag = Some(format!("{}-{count}", hex::encode(md5_of_parts(&digests))));
    let attributes = ObjectAttributes { key: upload.key, headers: upload.headers, checksums, etag };
    let record = objects::commit(api, &input.bucket, writer, attributes, condition).await?;
    let disk = Arc::clone(&api.disk);
    // The object is complete; the next sweep deletes an upload that remains.
    if let Err(error) = blocking(move || Ok(disk.discard(&folder)?)).await {
        tracing::warn!(error = %causes(&error), "failed to delete completed multipart upload");
    }
    let mut output = CompleteMultipartUploadOutput {
        location: Some(format!("/{}/{}", input.bucket, input.key)),
        bucket: Some(input.bucket),
        key: Some(input.key),
        e_tag: Some(outputs::etag(&record.etag)),
        ..Default::default()
    };
    set_checksums!(output, &record.checksums);
    Ok(output)
}

pub(super) async fn abort(
    api: &Api,
    request: S3Request<AbortMultipartUploadInput>,
) -> S3Result<AbortMultipartUploadOutput> {
    let input = request.input;
    let disk = Arc::clone(&api.disk);
    blocking(move || {
        let (folder, _) = find(&disk, &input.upload_id, &input.bucket, &input.key)?;
        Ok(disk.discard(&folder)?)
    })
    .await?;
    Ok(AbortMultipartUploadOutput::default())
}
