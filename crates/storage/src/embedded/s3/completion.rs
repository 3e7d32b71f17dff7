//! Completion of multipart uploads: the object is the concatenation of the parts.

use std::io;
use std::path::Path;
use std::sync::Arc;

use s3s::dto::*;
use s3s::{S3Error, S3ErrorCode, S3Request, S3Result, s3_error};
use tintype_core::causes::causes;

use super::checksums::{self, ChecksumVerifier, md5_of_parts};
use super::conditions::precondition;
use super::outputs::{self, set_object_checksums, take_checksums};
use super::upload_checksum::{Kind, UploadChecksum};
use super::uploads::{MAX_PARTS, Manifest, check_number, find_blocking, part_file, upload_name};
use super::{Api, blocking, objects, transfer};
use crate::embedded::bucket::DiskError;
use crate::embedded::object_file::{self, Checksums, Multipart, ObjectAttributes, ObjectWriter, Record};
use crate::embedded::run_blocking;

/// Minimum length in bytes of every part except the last: 5 MiB.
const MIN_PART_BYTES: u64 = 5 << 20;

/// Checks the parts in a request to complete an upload: their number and order, their ETags and checksums, and
/// the minimum length of all but the last.
fn check_parts(folder: &Path, mut requested: Vec<CompletedPart>) -> S3Result<Vec<(i32, Record)>> {
    let (count, max) = (requested.len(), usize::try_from(MAX_PARTS).unwrap_or_default());
    if count == 0 || count > max {
        return Err(s3_error!(
            MalformedXML,
            "The request lists {count} parts; it must list at least 1 and at most {MAX_PARTS}."
        ));
    }
    let mut parts: Vec<(i32, Record)> = Vec::new();
    for part in &mut requested {
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
        let sent = checksums::by_header(take_checksums!(part));
        if let Some((name, _)) = sent.iter().find(|(name, value)| record.checksums.get(*name) != Some(value))
        {
            return Err(s3_error!(
                InvalidPart,
                "The checksum {name} of part {number} differs from that of the uploaded part."
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

fn check_size(expected: Option<i64>, parts: &[(i32, Record)]) -> S3Result<()> {
    let size = outputs::size(parts.iter().map(|(_, record)| record.size).sum());
    match expected {
        Some(expected) if expected != size => Err(s3_error!(
            InvalidRequest,
            "x-amz-mp-object-size is {expected} bytes, and the parts have {size} bytes."
        )),
        _ => Ok(()),
    }
}

/// The ETag of an object from parts with these ETags: the MD5 of their MD5s, and their number.
fn etag_of_parts<'a>(etags: impl ExactSizeIterator<Item = &'a str>) -> Option<String> {
    let count = etags.len();
    let mut digests = Vec::with_capacity(16 * count);
    for etag in etags {
        digests.extend(hex::decode(etag).ok()?);
    }
    Some(format!("{}-{count}", hex::encode(md5_of_parts(&digests))))
}

/// Appends the parts, and compares the content of each with its ETag.
async fn append_parts(
    writer: &mut ObjectWriter,
    folder: &Path,
    parts: &[(i32, Record)],
    verifier: &mut ChecksumVerifier,
) -> S3Result<()> {
    for (number, record) in parts {
        let path = part_file(folder, *number);
        let (file, _) = blocking(move || Ok(object_file::open(&path)?)).await?;
        transfer::append(writer, file, 0..record.size, verifier).await?;
        if hex::encode(writer.restart_md5()) != record.etag {
            tracing::warn!(part = number, folder = %folder.display(), "found damaged part of multipart upload");
            return Err(s3_error!(
                InvalidPart,
                "The stored content of part {number} differs from its ETag. Upload the part again."
            ));
        }
    }
    Ok(())
}

/// The object of an upload that is already complete. As in S3, a client that did not receive the response can
/// repeat its request.
async fn completed_before(
    api: &Api,
    input: &CompleteMultipartUploadInput,
    requested: &[CompletedPart],
) -> S3Result<Record> {
    let no_such_upload = || S3Error::from(DiskError::NoSuchUpload);
    let bucket = api.disk.bucket(&input.bucket)?;
    let (key, name) = (input.key.clone(), upload_name(&input.upload_id).ok_or_else(no_such_upload)?);
    let (_, record) = blocking(move || bucket.read(&key)).await.map_err(|_| no_such_upload())?;
    let etags: Vec<_> = requested.iter().filter_map(|part| part.e_tag.as_ref()).map(ETag::value).collect();
    let is_same = record.multipart.as_ref().is_some_and(|multipart| multipart.upload == name)
        && etag_of_parts(etags.into_iter()).is_some_and(|etag| etag == record.etag);
    if is_same { Ok(record) } else { Err(no_such_upload()) }
}

/// Writes the object of an upload, and deletes the upload.
async fn write_object(
    api: &Api,
    input: &mut CompleteMultipartUploadInput,
    requested: Vec<CompletedPart>,
) -> S3Result<Record> {
    let condition = precondition(input.if_match.take(), input.if_none_match.take())?;
    let (folder, _) = find_blocking(api, &input.upload_id, &input.bucket, &input.key).await?;
    // No part changes between its check and the end of the copy.
    let lock = api.disk.upload_locks.of(&folder);
    let _guard = lock.write().await;
    let (_, Manifest { key, headers, checksum, .. }) =
        find_blocking(api, &input.upload_id, &input.bucket, &input.key).await?;
    let at = folder.clone();
    let parts = run_blocking(move || check_parts(&at, requested)).await.map_err(DiskError::Io)??;
    check_size(input.mpu_object_size, &parts)?;
    let sent = checksums::by_header(take_checksums!(input));
    let checksum = UploadChecksum::of_completion(checksum, &sent, input.checksum_type.as_ref())?;
    let mut writer = transfer::begin(&api.disk).await?;
    let mut verifier = ChecksumVerifier::default();
    let (mut checksums, mut part_checksums) = (Checksums::new(), Vec::new());
    if let Some(checksum) = checksum {
        part_checksums = checksum.of_parts(parts.iter().map(|(_, record)| &record.checksums));
        if checksum.kind == Kind::Composite {
            let composite = checksum.composite(&part_checksums)?;
            checksum.verify(&composite, &sent)?;
            checksums.insert(checksum.algorithm.header().to_owned(), composite);
        } else {
            verifier.compute(checksum.algorithm);
        }
    }
    append_parts(&mut writer, &folder, &parts, &mut verifier).await?;
    let of_content = verifier.finish(writer.md5())?;
    if let Some((checksum, computed)) = checksum.zip(of_content.values().next()) {
        checksum.verify(computed, &sent)?;
    }
    checksums.extend(of_content);
    let etag = etag_of_parts(parts.iter().map(|(_, record)| record.etag.as_str()));
    let etag = etag.ok_or_else(|| DiskError::Io(io::Error::other("the ETag of a part is not an MD5")))?;
    let multipart = Multipart {
        upload: upload_name(&input.upload_id).unwrap_or_default(),
        part_sizes: parts.iter().map(|(_, record)| record.size).collect(),
        part_checksums,
    };
    let attributes =
        ObjectAttributes { key, headers, checksums, etag: Some(etag), multipart: Some(multipart) };
    let record = objects::commit(api, &input.bucket, writer, attributes, condition).await?;
    let disk = Arc::clone(&api.disk);
    // The object is complete; the next sweep deletes an upload that remains.
    if let Err(error) = blocking(move || Ok(disk.discard(&folder)?)).await {
        tracing::warn!(error = %causes(&error), "failed to delete completed multipart upload");
    }
    Ok(record)
}

pub(super) async fn complete(
    api: &Api,
    request: S3Request<CompleteMultipartUploadInput>,
) -> S3Result<CompleteMultipartUploadOutput> {
    let mut input = request.input;
    let requested = input.multipart_upload.take().and_then(|upload| upload.parts).unwrap_or_default();
    let record = match write_object(api, &mut input, requested.clone()).await {
        Err(error) if *error.code() == S3ErrorCode::NoSuchUpload => {
            completed_before(api, &input, &requested).await?
        }
        other => other?,
    };
    let mut output = CompleteMultipartUploadOutput {
        location: Some(format!("/{}/{}", input.bucket, outputs::xml_text(&input.key))),
        bucket: Some(input.bucket),
        key: Some(outputs::xml_text(&input.key)),
        e_tag: Some(outputs::etag(&record.etag)),
        ..Default::default()
    };
    set_object_checksums!(output, &record.checksums);
    Ok(output)
}
