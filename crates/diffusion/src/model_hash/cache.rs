//! The hashes of files that were computed before, in a JSON file.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

/// Maximum size of the cache file in bytes; a larger one is damaged.
const MAX_SIZE: u64 = 4 << 20;

/// Identifies the content of a file without reading it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileStamp {
    /// Size in bytes.
    size: u64,
    /// Time of the last change of the content, which programs can set.
    modified: Option<SystemTime>,
    /// The file's number and the time of its last change in seconds and nanoseconds, which programs cannot set. The
    /// number of the device is not part of it: it may differ after a restart of the machine.
    inode: Option<Inode>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Inode {
    number: u64,
    changed_seconds: i64,
    changed_nanoseconds: i64,
}

impl FileStamp {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self { size: metadata.len(), modified: metadata.modified().ok(), inode: Inode::of(metadata) }
    }
}

impl Inode {
    #[cfg(unix)]
    #[expect(clippy::unnecessary_wraps, reason = "other systems do not tell")]
    fn of(metadata: &Metadata) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        Some(Self {
            number: metadata.ino(),
            changed_seconds: metadata.ctime(),
            changed_nanoseconds: metadata.ctime_nsec(),
        })
    }

    #[cfg(not(unix))]
    fn of(_: &Metadata) -> Option<Self> {
        None
    }
}

/// The cache file. A file that is damaged is logged and replaced. If two processes write at the same time, the later
/// one wins, and the other one's entry is computed again at its next start.
#[derive(Debug)]
pub(super) struct HashCache {
    path: PathBuf,
}

/// The content of the cache file.
#[derive(Default, Serialize, Deserialize)]
struct Entries {
    /// By path.
    files: BTreeMap<PathBuf, Entry>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    #[serde(flatten)]
    stamp: FileStamp,
    /// 64 lower-case hexadecimal digits.
    sha256: String,
}

impl HashCache {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// The hash of a file in this state.
    pub(super) fn find(&self, path: &Path, stamp: &FileStamp) -> Option<String> {
        let entry = self.read().files.remove(&key(path))?;
        (entry.stamp == *stamp).then_some(entry.sha256)
    }

    /// Stores the hash of a file, and removes files that no longer exist. A failure is logged.
    pub(super) fn insert(&self, path: &Path, stamp: &FileStamp, sha256: &str) {
        let mut entries = self.read();
        entries.files.retain(|path, _| path.exists());
        entries.files.insert(key(path), Entry { stamp: stamp.clone(), sha256: sha256.to_owned() });
        if let Err(error) = self.write(&entries) {
            tracing::warn!(path = %self.path.display(), %error, "failed to store the model hash");
        }
    }

    fn read(&self) -> Entries {
        match self.parse() {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Entries::default(),
            Err(error) => {
                let path = self.path.display();
                tracing::warn!(%path, %error, "cache of model hashes damaged; computing the hashes again");
                Entries::default()
            }
        }
    }

    fn parse(&self) -> io::Result<Entries> {
        let mut text = String::new();
        File::open(&self.path)?.take(MAX_SIZE).read_to_string(&mut text)?;
        let entries: Entries = serde_json::from_str(&text)?;
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_hash = |hash: &str| hash.len() == 64 && hash.bytes().all(is_digit);
        match entries.files.values().find(|entry| !is_hash(&entry.sha256)) {
            Some(entry) => {
                let message = format!("`{}` is not a SHA-256", entry.sha256.escape_debug());
                Err(io::Error::new(io::ErrorKind::InvalidData, message))
            }
            None => Ok(entries),
        }
    }

    /// Replaces the file in one step.
    fn write(&self, entries: &Entries) -> io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(&serde_json::to_vec_pretty(entries)?)?;
        file.persist(&self.path)?;
        Ok(())
    }
}

/// The path in the cache: without links, so that all names of a file have one entry.
fn key(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}
