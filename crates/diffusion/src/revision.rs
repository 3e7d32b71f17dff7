//! A short text that differs for every difference in what was loaded of a model.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::SystemTime;

use sha2::{Digest, Sha256};

/// Digits of the text.
const DIGITS: usize = 16;

/// Size of the chunks in which a large file is read.
const CHUNK: usize = 64 << 20;

/// Checksums of everything that a loader opens, by name. [`ModelFiles`](crate::ModelFiles) and
/// [`Weights`](crate::Weights) enter each file when they open it, so that nothing can decide an image and be missing
/// here. A plan of a model and the loaded model open the same files, so they have the same revision.
#[derive(Debug, Default)]
pub(crate) struct Fingerprint {
    entries: Mutex<BTreeMap<String, [u64; LANES]>>,
}

impl Fingerprint {
    /// Enters a file.
    pub(crate) fn add(&self, name: String, bytes: &[u8]) {
        self.insert(name, checksum(bytes));
    }

    /// Enters a large file. Its checksum is computed once per process unless the file changes. `release` is called for
    /// each part, with its offset and its length, when it has been read.
    pub(crate) fn add_file(
        &self,
        name: &str,
        identity: Option<FileIdentity>,
        bytes: &[u8],
        release: impl Fn(usize, usize),
    ) {
        static KNOWN: LazyLock<Mutex<HashMap<FileIdentity, [u64; LANES]>>> = LazyLock::new(Mutex::default);
        let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        let cached = identity.as_ref().and_then(|identity| known().get(identity).copied());
        let whole = cached.unwrap_or_else(|| {
            let mut whole = Vec::new();
            for (index, chunk) in bytes.chunks(CHUNK).enumerate() {
                whole.extend(checksum(chunk).into_iter().flat_map(u64::to_le_bytes));
                release(index * CHUNK, chunk.len());
            }
            let whole = checksum(&whole);
            if let Some(identity) = identity {
                known().insert(identity, whole);
            }
            whole
        });
        self.insert(name.to_owned(), whole);
    }

    fn insert(&self, name: String, checksum: [u64; LANES]) {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).insert(name, checksum);
    }

    /// The files of which something was read.
    #[cfg(test)]
    pub(crate) fn names(&self) -> std::collections::BTreeSet<String> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.keys().map(|name| name.split(": ").next().unwrap_or(name).to_owned()).collect()
    }

    /// A digest of all entries so far, whatever their order was.
    pub(crate) fn revision(&self) -> String {
        let mut digest = Sha256::new();
        for (name, checksum) in self.entries.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            digest.update(name.len().to_le_bytes());
            digest.update(name);
            for lane in checksum {
                digest.update(lane.to_le_bytes());
            }
        }
        let mut text = String::new();
        for byte in digest.finalize().iter().take(DIGITS / 2) {
            let _ = write!(text, "{byte:02x}");
        }
        text
    }
}

/// Identifies the content of a file that may not be read again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum FileIdentity {
    /// A file, with its size and the times of its last changes.
    File { path: PathBuf, size: u64, modified: Option<SystemTime>, change: Option<Change> },
    /// A part of the program, by its address and its length.
    Embedded(usize, usize),
}

/// The number of a file and the time of the last change of its content or its attributes, which no program can set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Change {
    device: u64,
    inode: u64,
    seconds: i64,
    nanoseconds: i64,
}

impl FileIdentity {
    /// The identity of a file; `None` if it cannot be determined.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self::File {
            path: path.to_owned(),
            size: metadata.len(),
            modified: metadata.modified().ok(),
            change: Change::of(&metadata),
        })
    }

    pub(crate) fn of_embedded(bytes: &'static [u8]) -> Self {
        Self::Embedded(bytes.as_ptr().addr(), bytes.len())
    }
}

impl Change {
    #[cfg(unix)]
    #[expect(clippy::unnecessary_wraps, reason = "other systems do not tell")]
    fn of(metadata: &fs::Metadata) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        let (device, inode) = (metadata.dev(), metadata.ino());
        Some(Self { device, inode, seconds: metadata.ctime(), nanoseconds: metadata.ctime_nsec() })
    }

    #[cfg(not(unix))]
    fn of(_: &fs::Metadata) -> Option<Self> {
        None
    }
}

/// Independent sums, so that the processor computes them at once.
const LANES: usize = 4;

/// A checksum against accidents. Unlike a cryptographic digest, it takes a gigabyte of weights in a fraction of the
/// time that loading them takes. Each step is a bijection of the lane, so that a single changed word always shows.
fn checksum(bytes: &[u8]) -> [u64; LANES] {
    const WORD: usize = size_of::<u64>();
    // The odd constants of xxHash, which spread every bit over the upper half.
    const FACTOR: u64 = 0x9E37_79B1_85EB_CA87;
    let mut lanes = [0xC2B2_AE3D_27D4_EB4F, 0x1656_67B1_9E37_79F9, 0x85EB_CA77_C2B2_AE63, bytes.len() as u64];
    let mut mix = |block: &[u8]| {
        for (lane, word) in lanes.iter_mut().zip(block.chunks_exact(WORD)) {
            let word = word.try_into().map_or(0, u64::from_le_bytes);
            *lane = (*lane ^ word).wrapping_mul(FACTOR).rotate_left(29);
        }
    };
    let blocks = bytes.chunks_exact(LANES * WORD);
    let mut rest = [0; LANES * WORD];
    rest[..blocks.remainder().len()].copy_from_slice(blocks.remainder());
    blocks.for_each(&mut mix);
    mix(&rest);
    lanes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_and_the_length_count() {
        let bytes: Vec<u8> = (0..100u8).collect();
        let whole = checksum(&bytes);
        assert_eq!(whole, checksum(&bytes.clone()));
        for i in 0..bytes.len() {
            let mut other = bytes.clone();
            other[i] ^= 1;
            assert_ne!(checksum(&other), whole, "byte {i}");
            assert_ne!(checksum(&bytes[..i]), whole, "{i} bytes");
        }
        assert_ne!(checksum(&[0; 8]), checksum(&[0; 9]));
        // Words of one lane that change places.
        let mut swapped = bytes.clone();
        swapped.copy_within(0..8, 32);
        swapped[..8].copy_from_slice(&bytes[32..40]);
        assert_ne!(checksum(&swapped), whole);
    }

    #[test]
    fn the_order_of_reading_does_not_count() {
        let of = |entries: &[(&str, &[u8])]| {
            let fingerprint = Fingerprint::default();
            for (name, bytes) in entries {
                fingerprint.add((*name).to_owned(), bytes);
            }
            fingerprint.revision()
        };
        let one = of(&[("a", b"1"), ("b", b"2")]);
        assert_eq!(one.len(), DIGITS);
        assert_eq!(one, of(&[("b", b"2"), ("a", b"1"), ("a", b"1")]));
        for other in [of(&[("a", b"1")]), of(&[("a", b"2"), ("b", b"1")]), of(&[("ab", b"1"), ("", b"2")])] {
            assert_ne!(one, other);
        }
    }
}
