//! An object's file: the content, then a record with its metadata as JSON, then a trailer of the record's
//! length and a magic number.
//!
//! The file is written under a temporary name, synced, and then renamed, so a file under its final name is
//! complete. The trailer confirms it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncWriteExt, BufWriter};
use uuid::Uuid;

/// The last bytes of every object's file. The digit is the version of the format.
const MAGIC: &[u8; 8] = b"tintype1";
/// Length of the trailer: the record's length in four bytes, little-endian, and the magic number.
const TRAILER_BYTES: u64 = 4 + MAGIC.len() as u64;
/// Maximum length of a record. It is larger than the longest key and the headers that an HTTP server accepts.
const MAX_RECORD_BYTES: u32 = 1 << 20;
const BUFFER_BYTES: usize = 256 * 1024;

/// An object's HTTP headers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Headers {
    pub(crate) content_type: Option<String>,
    pub(crate) cache_control: Option<String>,
    pub(crate) content_disposition: Option<String>,
    pub(crate) content_encoding: Option<String>,
    pub(crate) content_language: Option<String>,
    /// Seconds since 1970.
    pub(crate) expires: Option<i64>,
    /// User metadata: the headers that begin with `x-amz-meta-`.
    pub(crate) user: BTreeMap<String, String>,
}

/// An object's checksums, by the names of their headers.
pub(crate) type Checksums = BTreeMap<String, String>;

/// An object's metadata.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) key: String,
    /// Content length in bytes.
    pub(crate) size: u64,
    /// ETag without quotes.
    pub(crate) etag: String,
    /// Time of the last write, in seconds since 1970.
    pub(crate) modified: i64,
    pub(crate) headers: Headers,
    #[serde(default)]
    pub(crate) checksums: Checksums,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) multipart: Option<Multipart>,
}

impl Record {
    /// The checksums of a part. Parts are counted from zero.
    pub(crate) fn part_checksums(&self, index: usize) -> Checksums {
        let value = self.multipart.as_ref().and_then(|multipart| multipart.part_checksums.get(index));
        let name = self.checksums.keys().next();
        name.zip(value).map(|(name, value)| (name.clone(), value.clone())).into_iter().collect()
    }
}

/// The multipart upload that created an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Multipart {
    /// The id of the upload.
    pub(crate) upload: String,
    /// The lengths of the parts in bytes.
    pub(crate) part_sizes: Vec<u64>,
    /// The checksums of the parts in base64, if all have one. Their algorithm is that of the object.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) part_checksums: Vec<String>,
}

/// A temporary file. It is deleted on drop, unless it was renamed.
#[derive(Debug)]
pub(crate) struct TempFile(Option<PathBuf>);

impl TempFile {
    /// Moves the file to its final name, and replaces an existing file.
    pub(crate) fn rename(mut self, to: &Path) -> io::Result<()> {
        if let Some(path) = self.0.take() {
            fs::rename(&path, to).inspect_err(|_| self.0 = Some(path))?;
        }
        Ok(())
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if let Some(path) = self.0.take() {
            let _ = fs::remove_file(path);
        }
    }
}

/// Writes an object under a temporary name.
#[derive(Debug)]
pub(crate) struct ObjectWriter {
    file: BufWriter<tokio::fs::File>,
    temp: TempFile,
    md5: Md5,
    size: u64,
}

/// The metadata of a new object that its content does not determine.
#[derive(Clone, Debug, Default)]
pub(crate) struct ObjectAttributes {
    pub(crate) key: String,
    pub(crate) headers: Headers,
    pub(crate) checksums: Checksums,
    /// `None` means the content's MD5, as in S3 for objects that were uploaded in one part.
    pub(crate) etag: Option<String>,
    pub(crate) multipart: Option<Multipart>,
}

/// An object that is written and synced, under a temporary name.
#[derive(Debug)]
pub(crate) struct StagedObject {
    pub(crate) temp: TempFile,
    pub(crate) record: Record,
}

impl ObjectWriter {
    /// Creates a temporary file in `folder`, which must be in the same file system as the final name.
    pub(crate) async fn begin(folder: &Path) -> io::Result<Self> {
        let path = folder.join(Uuid::new_v4().simple().to_string());
        let file = tokio::fs::OpenOptions::new().write(true).create_new(true).open(&path).await?;
        let file = BufWriter::with_capacity(BUFFER_BYTES, file);
        Ok(Self { file, temp: TempFile(Some(path)), md5: Md5::new(), size: 0 })
    }

    /// Appends content.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.md5.update(bytes);
        self.size += bytes.len() as u64;
        self.file.write_all(bytes).await
    }

    /// The MD5 of the content since the last call. A writer of several parts does not need that of the whole.
    pub(crate) fn restart_md5(&mut self) -> [u8; 16] {
        std::mem::take(&mut self.md5).finalize().into()
    }

    /// The MD5 of the content so far.
    pub(crate) fn md5(&self) -> [u8; 16] {
        self.md5.clone().finalize().into()
    }

    /// Appends the record, and waits until the file is on the disk.
    pub(crate) async fn finish(mut self, attributes: ObjectAttributes) -> io::Result<StagedObject> {
        let record = Record {
            key: attributes.key,
            size: self.size,
            etag: attributes.etag.unwrap_or_else(|| hex::encode(self.md5())),
            modified: time::OffsetDateTime::now_utc().unix_timestamp(),
            headers: attributes.headers,
            checksums: attributes.checksums,
            multipart: attributes.multipart,
        };
        let json = serde_json::to_vec(&record)?;
        let length = u32::try_from(json.len()).ok().filter(|length| *length <= MAX_RECORD_BYTES);
        let length = length.ok_or_else(|| io::Error::other("the object's metadata is too long"))?;
        self.file.write_all(&json).await?;
        self.file.write_all(&length.to_le_bytes()).await?;
        self.file.write_all(MAGIC).await?;
        self.file.flush().await?;
        self.file.get_ref().sync_all().await?;
        Ok(StagedObject { temp: self.temp, record })
    }
}

/// Opens an object's file and reads its record. The file is positioned at the content's first byte.
///
/// # Errors
/// `InvalidData` if the file is damaged.
pub(crate) fn open(path: &Path) -> io::Result<(File, Record)> {
    let damaged = |message| io::Error::new(io::ErrorKind::InvalidData, message);
    let mut file = open_regular(path)?;
    let length = file.metadata()?.len();
    let trailer_at =
        length.checked_sub(TRAILER_BYTES).ok_or_else(|| damaged("the file is shorter than its trailer"))?;
    file.seek(SeekFrom::Start(trailer_at))?;
    let mut trailer = [0; TRAILER_BYTES as usize];
    file.read_exact(&mut trailer)?;
    let (record_length, magic) = trailer.split_at(4);
    if magic != MAGIC {
        return Err(damaged("the file does not end with the magic number"));
    }
    let record_length = u32::from_le_bytes(record_length.try_into().expect("split at four bytes"));
    let record_at =
        trailer_at.checked_sub(record_length.into()).filter(|_| record_length <= MAX_RECORD_BYTES);
    let record_at = record_at.ok_or_else(|| damaged("the record is longer than the file"))?;
    file.seek(SeekFrom::Start(record_at))?;
    let mut json = vec![0; record_length as usize];
    file.read_exact(&mut json)?;
    let record: Record =
        serde_json::from_slice(&json).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    if record.size != record_at {
        return Err(damaged("the length of the content differs from the length in the object's metadata"));
    }
    file.rewind()?;
    Ok((file, record))
}

/// Opens a regular file for reading. A FIFO, a socket or a device is damaged and is not opened, because to open
/// or to read it may wait forever.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is not a regular file"));
    }
    File::open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn staged(folder: &Path) -> (PathBuf, Record) {
        let mut writer = ObjectWriter::begin(folder).await.expect("begin");
        writer.write(b"hello ").await.expect("write");
        writer.write(b"world").await.expect("write");
        let attributes = ObjectAttributes { key: "a".into(), ..ObjectAttributes::default() };
        let StagedObject { temp, record } = writer.finish(attributes).await.expect("finish");
        let path = folder.join("object");
        temp.rename(&path).expect("rename");
        (path, record)
    }

    #[tokio::test]
    async fn content_then_record() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, record) = staged(folder.path()).await;
        assert_eq!((record.size, record.etag.as_str()), (11, "5eb63bbbe01eeed093cb22bb8f5acdc3"));
        let (file, read) = open(&path).expect("open");
        assert_eq!(read, record);
        let mut content = String::new();
        file.take(read.size).read_to_string(&mut content).expect("read");
        assert_eq!(content, "hello world");
    }

    #[tokio::test]
    async fn a_cut_file_is_rejected() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, _) = staged(folder.path()).await;
        let whole = fs::read(&path).expect("read");
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).expect("write");
            assert!(open(&path).is_err(), "cut at {length}");
        }
        let mut grown = whole.clone();
        grown.insert(0, b'x');
        fs::write(&path, grown).expect("write");
        assert!(open(&path).is_err());
    }

    #[tokio::test]
    async fn an_unfinished_file_is_deleted() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut writer = ObjectWriter::begin(folder.path()).await.expect("begin");
        writer.write(b"half").await.expect("write");
        assert_eq!(fs::read_dir(folder.path()).expect("list").count(), 1);
        drop(writer);
        assert_eq!(fs::read_dir(folder.path()).expect("list").count(), 0);
    }
}
