//! Multipart uploads: parts are collected in a folder of the upload's, and put together when it is complete.

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

use super::checks::{Checks, md5_of};
use super::conditions::{Conditions, precondition};
use super::outputs::{self, expected_checksums, headers_of, set_checksums};
use super::{Api, blocking, objects, transfer};
use crate::embedded::bucket::{DiskError, sync_folder};
use crate::embedded::disk::Disk;
use crate::embedded::file::{self, Description, Headers, Record, Writing};
use crate::embedded::off_thread;

const MOST_PARTS: i32 = 10_000;
/// Bytes that every part but the last must have.
const SMALLEST_PART: u64 = 5 << 20;
/// The file in an upload's folder that says what it is of.
const HEAD: &str = "upload";

/// What a multipart upload is of.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Upload {
    bucket: String,
    key: String,
    headers: Headers,
    /// Seconds since 1970.
    begun: i64,
}

fn read_head(folder: &Path) -> Result<Upload, DiskError> {
    match fs::read(folder.join(HEAD)) {
        Ok(text) => Ok(serde_json::from_slice(&text).map_err(io::Error::from)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(DiskError::NoSuchUpload),
        Err(error) => Err(error.into()),
    }
}

/// The upload with this id, if it is of this object; and its folder.
fn find(disk: &Disk, id: &str, bucket: &str, key: &str) -> Result<(PathBuf, Upload), DiskError> {
    // An id that we made; anything else must not become a path.
    let id = Uuid::try_parse(id).map_err(|_| DiskError::NoSuchUpload)?;
    let folder = disk.uploads().join(id.simple().to_string());
    let upload = read_head(&folder)?;
    if upload.bucket == bucket && upload.key == key {
        Ok((folder, upload))
    } else {
        Err(DiskError::NoSuchUpload)
    }
}

/// The same, where it may block.
async fn find_for(api: &Api, id: &str, bucket: &str, key: &str) -> S3Result<(PathBuf, Upload)> {
    let disk = Arc::clone(&api.disk);
    let (id, bucket, key) = (id.to_owned(), bucket.to_owned(), key.to_owned());
    blocking(move || find(&disk, &id, &bucket, &key)).await
}

/// Every upload under way, with its id.
fn all(disk: &Disk) -> Result<Vec<(String, Upload)>, DiskError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(disk.uploads())? {
        let entry = entry?;
        match (entry.file_name().into_string(), read_head(&entry.path())) {
            (Ok(id), Ok(upload)) => found.push((id, upload)),
            (_, Err(error)) => {
                tracing::warn!(path = %entry.path().display(), %error, "passed over a damaged upload")
            }
            _ => {}
        }
    }
    found.sort_by(|(_, a), (_, b)| (&a.key, a.begun).cmp(&(&b.key, b.begun)));
    Ok(found)
}

/// Drops uploads that nobody completed in this time.
pub(in crate::embedded) fn forget_older(disk: &Disk, keep: Duration) -> Result<(), DiskError> {
    let keep = i64::try_from(keep.as_secs()).unwrap_or(i64::MAX);
    let oldest = OffsetDateTime::now_utc().unix_timestamp().saturating_sub(keep);
    for (id, _) in all(disk)?.into_iter().filter(|(_, upload)| upload.begun < oldest) {
        disk.discard(&disk.uploads().join(id))?;
    }
    Ok(())
}

fn part_file(folder: &Path, number: i32) -> PathBuf {
    folder.join(format!("{number:05}"))
}

fn check_number(number: i32) -> S3Result<()> {
    if (1..=MOST_PARTS).contains(&number) {
        return Ok(());
    }
    Err(s3_error!(InvalidArgument, "part numbers are from 1 to 10,000"))
}

pub(super) async fn create(
    api: &Api,
    request: S3Request<CreateMultipartUploadInput>,
) -> S3Result<CreateMultipartUploadOutput> {
    let mut input = request.input;
    api.disk.bucket(&input.bucket)?;
    let headers = headers_of!(input);
    let begun = OffsetDateTime::now_utc().unix_timestamp();
    let upload = Upload { bucket: input.bucket.clone(), key: input.key.clone(), headers, begun };
    let id = Uuid::new_v4().simple().to_string();
    let (disk, name) = (Arc::clone(&api.disk), id.clone());
    blocking(move || {
        // Made elsewhere and moved, so that there is never an upload without its head.
        let made = disk.temporary().join(&name);
        fs::create_dir(&made)?;
        let file = fs::File::create_new(made.join(HEAD))?;
        serde_json::to_writer(&file, &upload).map_err(io::Error::from)?;
        file.sync_all()?;
        sync_folder(&made)?;
        fs::rename(&made, disk.uploads().join(&name))?;
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

/// Gives a written part its place in the upload.
async fn keep(
    writing: Writing,
    folder: PathBuf,
    number: i32,
    checksums: file::Checksums,
) -> S3Result<Record> {
    let described = Description { key: number.to_string(), checksums, ..Description::default() };
    let written = writing.finish(described).await.map_err(DiskError::Io)?;
    blocking(move || {
        match written.temp.rename(&part_file(&folder, number)) {
            Ok(()) => sync_folder(&folder)?,
            // Aborted or completed in the meantime.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(DiskError::NoSuchUpload),
            Err(error) => return Err(error.into()),
        }
        Ok(written.record)
    })
    .await
}

pub(super) async fn part(api: &Api, request: S3Request<UploadPartInput>) -> S3Result<UploadPartOutput> {
    let mut input = request.input;
    check_number(input.part_number)?;
    let (folder, _) = find_for(api, &input.upload_id, &input.bucket, &input.key).await?;
    let expected = expected_checksums!(input);
    let checks = Checks::new(input.content_md5.take(), expected, &request.headers, request.trailing_headers);
    let mut writing = transfer::begin(&api.disk).await?;
    let checksums = transfer::receive(&mut writing, input.body.take(), input.content_length, checks).await?;
    let record = keep(writing, folder, input.part_number, checksums).await?;
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
    let (folder, _) = find_for(api, &input.upload_id, &input.bucket, &input.key).await?;
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
        Ok(Some(range)) => range.check(source.size).map_err(|_| s3_error!(InvalidRange))?,
        Err(_) => return Err(s3_error!(InvalidArgument, "the range must be in the form bytes=FIRST-LAST")),
    };
    let mut writing = transfer::begin(&api.disk).await?;
    transfer::append(&mut writing, file, bytes, &mut Checks::none()).await?;
    let record = keep(writing, folder, input.part_number, file::Checksums::new()).await?;
    let result = CopyPartResult {
        e_tag: Some(outputs::etag(&record.etag)),
        last_modified: Some(outputs::timestamp(record.modified)),
        ..Default::default()
    };
    Ok(UploadPartCopyOutput { copy_part_result: Some(result), ..Default::default() })
}

/// The parts in an upload's folder, in the order of their numbers.
fn parts_in(folder: &Path) -> Result<Vec<(i32, Record)>, DiskError> {
    let mut parts = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if let Some(number) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
            parts.push((number, file::open(&entry.path())?.1));
        }
    }
    parts.sort_by_key(|(number, _)| *number);
    Ok(parts)
}

pub(super) async fn list_parts(api: &Api, request: S3Request<ListPartsInput>) -> S3Result<ListPartsOutput> {
    let input = request.input;
    let (folder, _) = find_for(api, &input.upload_id, &input.bucket, &input.key).await?;
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
    let fits = |upload: &Upload| upload.bucket == bucket && upload.key.starts_with(&prefix);
    let uploads = found.into_iter().filter(|(_, upload)| fits(upload)).map(|(id, upload)| MultipartUpload {
        key: Some(outputs::listed(&upload.key, input.encoding_type.as_ref())),
        upload_id: Some(id),
        initiated: Some(outputs::timestamp(upload.begun)),
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

/// The parts that a completion names, checked: in order, as uploaded, and none but the last too small.
fn collect(folder: &Path, named: &[CompletedPart]) -> S3Result<Vec<(i32, Record)>> {
    if named.is_empty() {
        return Err(s3_error!(MalformedXML, "a completion names at least one part"));
    }
    let mut parts: Vec<(i32, Record)> = Vec::new();
    for part in named {
        let number = part.part_number.unwrap_or_default();
        check_number(number)?;
        if parts.last().is_some_and(|(before, _)| number <= *before) {
            return Err(s3_error!(InvalidPartOrder));
        }
        let (_, record) = file::open(&part_file(folder, number))
            .map_err(|_| s3_error!(InvalidPart, "there is no part {number}"))?;
        if part.e_tag.as_ref().is_none_or(|etag| etag.value() != record.etag) {
            return Err(s3_error!(InvalidPart, "part {number} has another ETag"));
        }
        if parts.last().is_some_and(|(_, before)| before.size < SMALLEST_PART) {
            return Err(s3_error!(EntityTooSmall));
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
    let (folder, upload) = find_for(api, &input.upload_id, &input.bucket, &input.key).await?;
    let named = input.multipart_upload.take().and_then(|upload| upload.parts).unwrap_or_default();
    let at = folder.clone();
    let parts = off_thread(move || collect(&at, &named)).await.map_err(DiskError::Io)??;
    // A composite checksum is one of checksums; only one of the whole object is one that can be compared, kept and served.
    let of_whole =
        input.checksum_type.as_ref().is_some_and(|said| said.as_str() == ChecksumType::FULL_OBJECT);
    let mut checks = if of_whole {
        Checks::new(None, expected_checksums!(input), &http::HeaderMap::new(), None)
    } else {
        Checks::none()
    };
    let mut writing = transfer::begin(&api.disk).await?;
    let mut digests = Vec::new();
    let count = parts.len();
    for (number, record) in parts {
        let path = part_file(&folder, number);
        let (file, _) = blocking(move || Ok(file::open(&path)?)).await?;
        digests.extend(hex::decode(&record.etag).map_err(|error| DiskError::Io(io::Error::other(error)))?);
        transfer::append(&mut writing, file, 0..record.size, &mut checks).await?;
    }
    let checksums = checks.finish(writing.md5())?;
    let etag = Some(format!("{}-{count}", hex::encode(md5_of(&digests))));
    let described = Description { key: upload.key, headers: upload.headers, checksums, etag };
    let record = objects::commit(api, &input.bucket, writing, described, condition).await?;
    let disk = Arc::clone(&api.disk);
    // The object is there; an upload that cannot be removed now is swept later.
    if let Err(error) = blocking(move || Ok(disk.discard(&folder)?)).await {
        tracing::warn!(error = %causes(&error), "a completed upload could not be removed");
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
