//! Multipart uploads: the parts are files in the upload's folder, and completion concatenates them.

use std::fs;
use std::io::{self, BufReader};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use s3s::dto::{self, *};
use s3s::{S3Request, S3Result, s3_error};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tintype_core::causes::causes;
use uuid::Uuid;

use super::checksums::ChecksumVerifier;
use super::conditions::ReadConditions;
use super::outputs::{self, set_checksums, take_checksums, take_object_headers};
use super::upload_checksum::UploadChecksum;
use super::{Api, blocking, objects, transfer};
use crate::embedded::bucket::{DiskError, sync_folder};
use crate::embedded::disk::Disk;
use crate::embedded::object_file::{self, Headers, ObjectAttributes, ObjectWriter, Record};

/// The highest part number.
pub(super) const MAX_PARTS: i32 = 10_000;
/// The file in an upload's folder with its metadata.
const MANIFEST: &str = "upload";

/// The metadata of a multipart upload.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) bucket: String,
    pub(super) key: String,
    pub(super) headers: Headers,
    /// Start of the upload, in seconds since 1970.
    #[serde(rename = "begun")]
    pub(super) started_at: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) checksum: Option<UploadChecksum>,
}

fn read_manifest(folder: &Path) -> Result<Manifest, DiskError> {
    match object_file::open_regular(&folder.join(MANIFEST)) {
        Ok(file) => Ok(serde_json::from_reader(BufReader::new(file)).map_err(io::Error::from)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(DiskError::NoSuchUpload),
        Err(error) => Err(error.into()),
    }
}

/// The name of an upload's folder. Only a UUID becomes a path.
pub(super) fn upload_name(id: &str) -> Option<String> {
    Uuid::try_parse(id).ok().map(|id| id.simple().to_string())
}

/// The folder and metadata of the upload with this id, if it is for this object.
fn find(disk: &Disk, id: &str, bucket: &str, key: &str) -> Result<(PathBuf, Manifest), DiskError> {
    let folder = disk.uploads().join(upload_name(id).ok_or(DiskError::NoSuchUpload)?);
    let upload = read_manifest(&folder)?;
    if upload.bucket == bucket && upload.key == key {
        Ok((folder, upload))
    } else {
        Err(DiskError::NoSuchUpload)
    }
}

/// Runs [`find`] on another thread.
pub(super) async fn find_blocking(
    api: &Api,
    id: &str,
    bucket: &str,
    key: &str,
) -> S3Result<(PathBuf, Manifest)> {
    let disk = Arc::clone(&api.disk);
    let (id, bucket, key) = (id.to_owned(), bucket.to_owned(), key.to_owned());
    blocking(move || find(&disk, &id, &bucket, &key)).await
}

/// Every incomplete upload, with its id.
pub(super) fn all(disk: &Disk) -> Result<Vec<(String, Manifest)>, DiskError> {
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
    found.sort_by(|(a_id, a), (b_id, b)| (&a.key, a.started_at, a_id).cmp(&(&b.key, b.started_at, b_id)));
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

pub(super) fn part_file(folder: &Path, number: i32) -> PathBuf {
    folder.join(format!("{number:05}"))
}

pub(super) fn check_number(number: i32) -> S3Result<()> {
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
    let checksum =
        UploadChecksum::requested(input.checksum_algorithm.as_ref(), input.checksum_type.as_ref())?;
    let headers = take_object_headers!(input);
    let started_at = OffsetDateTime::now_utc().unix_timestamp();
    let (bucket, key) = (input.bucket.clone(), input.key.clone());
    let upload = Manifest { bucket, key, headers, started_at, checksum };
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
        key: Some(outputs::xml_text(&input.key)),
        upload_id: Some(id),
        checksum_algorithm: checksum.map(UploadChecksum::algorithm_name),
        checksum_type: checksum.map(UploadChecksum::kind_name),
        ..Default::default()
    })
}

/// Moves a part into the upload's folder. Waits while the upload is being completed.
async fn save_part(
    api: &Api,
    writer: ObjectWriter,
    folder: PathBuf,
    number: i32,
    checksums: object_file::Checksums,
) -> S3Result<Record> {
    let attributes = ObjectAttributes { key: number.to_string(), checksums, ..ObjectAttributes::default() };
    let staged = writer.finish(attributes).await.map_err(DiskError::Io)?;
    let lock = api.disk.upload_locks.of(&folder);
    let guard = lock.read_owned().await;
    blocking(move || {
        // The thread continues if the client closes the connection.
        let _guard = guard;
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
    let (folder, upload) = find_blocking(api, &input.upload_id, &input.bucket, &input.key).await?;
    let expected = take_checksums!(input);
    let mut verifier =
        ChecksumVerifier::new(input.content_md5.take(), expected, &request.headers, request.trailing_headers);
    if let Some(checksum) = upload.checksum {
        let sent = verifier.algorithms();
        checksum.check_part(&sent)?;
        if sent.is_empty() {
            verifier.compute(checksum.algorithm);
        }
    }
    let mut writer = transfer::begin(&api.disk).await?;
    let checksums = transfer::receive(&mut writer, input.body.take(), input.content_length, verifier).await?;
    let record = save_part(api, writer, folder, input.part_number, checksums).await?;
    let mut output = UploadPartOutput { e_tag: Some(outputs::etag(&record.etag)), ..Default::default() };
    set_checksums!(output, &record.checksums);
    Ok(output)
}

/// The bytes to copy. Unlike the header `Range`, both ends are necessary, and both must be in the source.
fn copied_range(range: &str, size: u64) -> S3Result<Range<u64>> {
    match dto::Range::parse(range) {
        Ok(dto::Range::Int { first, last: Some(last) }) if last < size => Ok(first..last + 1),
        Ok(dto::Range::Int { last: Some(_), .. }) => Err(s3_error!(
            InvalidRange,
            "x-amz-copy-source-range is {range:?}, and the source has {size} bytes."
        )),
        _ => Err(s3_error!(
            InvalidArgument,
            "x-amz-copy-source-range is {range:?}; it must have the form bytes=FIRST-LAST."
        )),
    }
}

pub(super) async fn part_copy(
    api: &Api,
    request: S3Request<UploadPartCopyInput>,
) -> S3Result<UploadPartCopyOutput> {
    let input = request.input;
    check_number(input.part_number)?;
    let (folder, upload) = find_blocking(api, &input.upload_id, &input.bucket, &input.key).await?;
    let (file, source) = objects::open_source(api, input.copy_source).await?;
    let conditions = ReadConditions::of_source(
        (input.copy_source_if_match, input.copy_source_if_none_match),
        (input.copy_source_if_modified_since, input.copy_source_if_unmodified_since),
    );
    conditions.check_source(&source)?;
    let bytes = match &input.copy_source_range {
        Some(range) => copied_range(range, source.size)?,
        None => 0..source.size,
    };
    let mut writer = transfer::begin(&api.disk).await?;
    let mut verifier = ChecksumVerifier::default();
    if let Some(checksum) = upload.checksum {
        verifier.compute(checksum.algorithm);
    }
    transfer::append(&mut writer, file, bytes, &mut verifier).await?;
    let checksums = verifier.finish(writer.md5())?;
    let record = save_part(api, writer, folder, input.part_number, checksums).await?;
    let mut result = CopyPartResult {
        e_tag: Some(outputs::etag(&record.etag)),
        last_modified: Some(outputs::timestamp(record.modified)),
        ..Default::default()
    };
    set_checksums!(result, &record.checksums);
    Ok(UploadPartCopyOutput { copy_part_result: Some(result), ..Default::default() })
}

pub(super) async fn abort(
    api: &Api,
    request: S3Request<AbortMultipartUploadInput>,
) -> S3Result<AbortMultipartUploadOutput> {
    let input = request.input;
    let (folder, _) = find_blocking(api, &input.upload_id, &input.bucket, &input.key).await?;
    let guard = api.disk.upload_locks.of(&folder).write_owned().await;
    let disk = Arc::clone(&api.disk);
    blocking(move || {
        let _guard = guard;
        match disk.discard(&folder) {
            // The upload was completed meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(DiskError::NoSuchUpload),
            other => Ok(other?),
        }
    })
    .await?;
    Ok(AbortMultipartUploadOutput::default())
}

#[cfg(test)]
mod tests {
    use s3s::S3ErrorCode;

    use super::*;

    #[test]
    fn a_copied_range_is_within_the_source() {
        let code = |range| copied_range(range, 5).map_err(|error| error.code().clone());
        assert_eq!(code("bytes=0-4"), Ok(0..5));
        assert_eq!(code("bytes=3-3"), Ok(3..4));
        for range in ["bytes=0-5", "bytes=0-21", "bytes=5-5"] {
            assert_eq!(code(range), Err(S3ErrorCode::InvalidRange), "{range}");
        }
        for range in
            ["bytes=0-", "bytes=-2", "bytes=0", "0-2", "bytes=0-2,3-4", "bytes=2-1", "hello", "bytes=a-b", ""]
        {
            assert_eq!(code(range), Err(S3ErrorCode::InvalidArgument), "{range}");
        }
    }
}
