//! Transfers content from a client, to a client, and between objects.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::ops::Range;

use futures::StreamExt;
use s3s::dto::StreamingBlob;
use s3s::{S3Result, s3_error};
use tokio::io::AsyncReadExt;
use tokio_util::io::ReaderStream;

use super::checksums::ChecksumVerifier;
use crate::embedded::body_error::BodyError;
use crate::embedded::bucket::DiskError;
use crate::embedded::disk::Disk;
use crate::embedded::object_file::{Checksums, ObjectWriter};

/// Length of a chunk that is read from disk.
const CHUNK_BYTES: usize = 128 * 1024;

/// Creates an object's file.
pub(super) async fn begin(disk: &Disk) -> S3Result<ObjectWriter> {
    Ok(ObjectWriter::begin(&disk.temporary()).await.map_err(DiskError::Io)?)
}

/// Reads a request's body to its end, and verifies its length and checksums.
///
/// # Errors
/// `IncompleteBody` if the body is cut off or its length is wrong, `BadDigest` if a checksum is wrong.
pub(super) async fn receive(
    writer: &mut ObjectWriter,
    body: Option<StreamingBlob>,
    length: Option<i64>,
    mut verifier: ChecksumVerifier,
) -> S3Result<Checksums> {
    let mut received: i64 = 0;
    if let Some(mut body) = body {
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(BodyError::of)?;
            verifier.update(&chunk);
            received = received.saturating_add_unsigned(chunk.len() as u64);
            writer.write(&chunk).await.map_err(DiskError::Io)?;
        }
    }
    if let Some(length) = length.filter(|length| *length != received) {
        return Err(s3_error!(
            IncompleteBody,
            "The body has {received} bytes, and Content-Length is {length}."
        ));
    }
    verifier.finish(writer.md5())
}

/// Appends a part of an object's file.
///
/// # Errors
/// `InternalError` if the file cannot be read, or is shorter than the part.
pub(super) async fn append(
    writer: &mut ObjectWriter,
    file: File,
    part: Range<u64>,
    verifier: &mut ChecksumVerifier,
) -> S3Result<()> {
    let mut missing = part.end.saturating_sub(part.start);
    let mut stream = stream(file, part)?;
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(DiskError::Io)?;
        verifier.update(&chunk);
        writer.write(&chunk).await.map_err(DiskError::Io)?;
        missing = missing.saturating_sub(chunk.len() as u64);
    }
    if missing > 0 {
        return Err(DiskError::Io(std::io::ErrorKind::UnexpectedEof.into()).into());
    }
    Ok(())
}

/// A part of an object's file as a response's body.
pub(super) fn send(file: File, part: Range<u64>) -> S3Result<StreamingBlob> {
    Ok(StreamingBlob::wrap(stream(file, part)?))
}

fn stream(mut file: File, part: Range<u64>) -> S3Result<ReaderStream<tokio::io::Take<tokio::fs::File>>> {
    file.seek(SeekFrom::Start(part.start)).map_err(DiskError::Io)?;
    let length = part.end.saturating_sub(part.start);
    Ok(ReaderStream::with_capacity(tokio::fs::File::from_std(file).take(length), CHUNK_BYTES))
}
