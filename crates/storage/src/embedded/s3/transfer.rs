//! Bytes in from a client, out to one, and from one object into another.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::ops::Range;

use futures::StreamExt;
use s3s::dto::StreamingBlob;
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};
use tokio::io::AsyncReadExt;
use tokio_util::io::ReaderStream;

use super::checks::Checks;
use crate::embedded::bucket::DiskError;
use crate::embedded::disk::Disk;
use crate::embedded::file::{Checksums, Writing};

const CHUNK: usize = 128 * 1024;

/// Starts an object's file.
pub(super) async fn begin(disk: &Disk) -> S3Result<Writing> {
    Ok(Writing::begin(&disk.temporary()).await.map_err(DiskError::Io)?)
}

/// Reads a request's body to its end and compares it with what the client said of it.
pub(super) async fn receive(
    writing: &mut Writing,
    body: Option<StreamingBlob>,
    length: Option<i64>,
    mut checks: Checks,
) -> S3Result<Checksums> {
    let mut received: i64 = 0;
    if let Some(mut body) = body {
        while let Some(chunk) = body.next().await {
            // Cut off, or not what its signature says.
            let chunk = chunk.map_err(|error| S3Error::with_source(S3ErrorCode::IncompleteBody, error))?;
            checks.update(&chunk);
            received = received.saturating_add_unsigned(chunk.len() as u64);
            writing.write(&chunk).await.map_err(DiskError::Io)?;
        }
    }
    if length.is_some_and(|length| length != received) {
        return Err(s3_error!(IncompleteBody));
    }
    checks.finish(writing.md5())
}

/// Appends a part of an object's file.
pub(super) async fn append(
    writing: &mut Writing,
    file: File,
    part: Range<u64>,
    checks: &mut Checks,
) -> S3Result<()> {
    let mut stream = stream(file, part)?;
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(DiskError::Io)?;
        checks.update(&chunk);
        writing.write(&chunk).await.map_err(DiskError::Io)?;
    }
    Ok(())
}

/// A part of an object's file as an answer's body.
pub(super) fn send(file: File, part: Range<u64>) -> S3Result<StreamingBlob> {
    Ok(StreamingBlob::wrap(stream(file, part)?))
}

fn stream(mut file: File, part: Range<u64>) -> S3Result<ReaderStream<tokio::io::Take<tokio::fs::File>>> {
    file.seek(SeekFrom::Start(part.start)).map_err(DiskError::Io)?;
    let length = part.end.saturating_sub(part.start);
    Ok(ReaderStream::with_capacity(tokio::fs::File::from_std(file).take(length), CHUNK))
}
