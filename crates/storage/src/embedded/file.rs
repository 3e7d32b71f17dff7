//! One object, one file: first its content, then a record of what is known of it, then that record's length and a mark.
//!
//! Because all of it is written under a temporary name, synced, and then renamed, a file under its final name is whole; the
//! mark at the very end shows it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncWriteExt, BufWriter};
use uuid::Uuid;

/// What every object's file ends with. The digit is the version of the format.
const MARK: &[u8; 8] = b"tintype1";
/// The record's length in four bytes, little-endian, and the mark.
const TAIL: u64 = 4 + MARK.len() as u64;
/// More than the longest key, and headers that an HTTP server takes, can need; a longer record is damage.
const LONGEST_RECORD: u32 = 1 << 20;
const BUFFER: usize = 256 * 1024;

/// The headers that an object is stored and served with.
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
    /// What S3 calls user metadata: the headers that begin with `x-amz-meta-`.
    pub(crate) user: BTreeMap<String, String>,
}

/// Checksums that the client sent, by the names of their headers.
pub(crate) type Checksums = BTreeMap<String, String>;

/// What is known of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) key: String,
    /// Bytes of content.
    pub(crate) size: u64,
    /// Without its quotes.
    pub(crate) etag: String,
    /// Seconds since 1970.
    pub(crate) modified: i64,
    pub(crate) headers: Headers,
    #[serde(default)]
    pub(crate) checksums: Checksums,
}

/// A temporary file, deleted when dropped unless it was moved to its place.
#[derive(Debug)]
pub(crate) struct TempFile(Option<PathBuf>);

impl TempFile {
    /// Gives the file its final name, replacing what has it.
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

/// An object that is being written, under a temporary name.
#[derive(Debug)]
pub(crate) struct Writing {
    file: BufWriter<tokio::fs::File>,
    temp: TempFile,
    md5: Md5,
    size: u64,
}

/// What an object's writer knows of it besides its bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Description {
    pub(crate) key: String,
    pub(crate) headers: Headers,
    pub(crate) checksums: Checksums,
    /// None means the content's MD5, as S3 has it for objects that were uploaded in one part.
    pub(crate) etag: Option<String>,
}

/// An object that is written and synced, and has no name yet.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) temp: TempFile,
    pub(crate) record: Record,
}

impl Writing {
    /// Begins a file in `folder`, which must be in the same file system as its later place.
    pub(crate) async fn begin(folder: &Path) -> io::Result<Self> {
        let path = folder.join(Uuid::new_v4().simple().to_string());
        let file = tokio::fs::OpenOptions::new().write(true).create_new(true).open(&path).await?;
        let file = BufWriter::with_capacity(BUFFER, file);
        Ok(Self { file, temp: TempFile(Some(path)), md5: Md5::new(), size: 0 })
    }

    /// Appends content.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.md5.update(bytes);
        self.size += bytes.len() as u64;
        self.file.write_all(bytes).await
    }

    /// The MD5 of what was written so far.
    pub(crate) fn md5(&self) -> [u8; 16] {
        self.md5.clone().finalize().into()
    }

    /// Appends the record and waits until all of it is on the disk.
    pub(crate) async fn finish(mut self, described: Description) -> io::Result<Written> {
        let record = Record {
            key: described.key,
            size: self.size,
            etag: described.etag.unwrap_or_else(|| hex::encode(self.md5())),
            modified: time::OffsetDateTime::now_utc().unix_timestamp(),
            headers: described.headers,
            checksums: described.checksums,
        };
        let text = serde_json::to_vec(&record)?;
        let length = u32::try_from(text.len()).ok().filter(|length| *length <= LONGEST_RECORD);
        let length = length.ok_or_else(|| io::Error::other("the object's headers are too long"))?;
        self.file.write_all(&text).await?;
        self.file.write_all(&length.to_le_bytes()).await?;
        self.file.write_all(MARK).await?;
        self.file.flush().await?;
        self.file.get_ref().sync_all().await?;
        Ok(Written { temp: self.temp, record })
    }
}

/// Opens an object's file and reads its record; the file stands at the content's first byte.
///
/// # Errors
/// `InvalidData` if the file is not a whole object.
pub(crate) fn open(path: &Path) -> io::Result<(File, Record)> {
    let damaged = |what| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let tail_at = length.checked_sub(TAIL).ok_or_else(|| damaged("shorter than an object can be"))?;
    file.seek(SeekFrom::Start(tail_at))?;
    let mut tail = [0; TAIL as usize];
    file.read_exact(&mut tail)?;
    let (text_length, mark) = tail.split_at(4);
    if mark != MARK {
        return Err(damaged("no mark at its end"));
    }
    let text_length = u32::from_le_bytes(text_length.try_into().expect("split at four bytes"));
    let text_at = tail_at.checked_sub(text_length.into()).filter(|_| text_length <= LONGEST_RECORD);
    let text_at = text_at.ok_or_else(|| damaged("its record is longer than it"))?;
    file.seek(SeekFrom::Start(text_at))?;
    let mut text = vec![0; text_length as usize];
    file.read_exact(&mut text)?;
    let record: Record = serde_json::from_slice(&text)?;
    if record.size != text_at {
        return Err(damaged("its size is not what its record says"));
    }
    file.rewind()?;
    Ok((file, record))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn written(folder: &Path) -> (PathBuf, Record) {
        let mut writing = Writing::begin(folder).await.expect("begin");
        writing.write(b"hello ").await.expect("write");
        writing.write(b"world").await.expect("write");
        let described = Description { key: "a".into(), ..Description::default() };
        let Written { temp, record } = writing.finish(described).await.expect("finish");
        let path = folder.join("object");
        temp.rename(&path).expect("rename");
        (path, record)
    }

    #[tokio::test]
    async fn content_then_record() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, record) = written(folder.path()).await;
        assert_eq!((record.size, record.etag.as_str()), (11, "5eb63bbbe01eeed093cb22bb8f5acdc3"));
        let (file, read) = open(&path).expect("open");
        assert_eq!(read, record);
        let mut content = String::new();
        file.take(read.size).read_to_string(&mut content).expect("read");
        assert_eq!(content, "hello world");
    }

    #[tokio::test]
    async fn a_cut_file_is_never_taken_for_an_object() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, _) = written(folder.path()).await;
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
    async fn what_is_not_finished_disappears() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut writing = Writing::begin(folder.path()).await.expect("begin");
        writing.write(b"half").await.expect("write");
        assert_eq!(fs::read_dir(folder.path()).expect("list").count(), 1);
        drop(writing);
        assert_eq!(fs::read_dir(folder.path()).expect("list").count(), 0);
    }
}
