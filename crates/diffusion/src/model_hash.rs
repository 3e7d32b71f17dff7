//! The SHA-256 of a model's weights, which images carry in their metadata.
//!
//! The hash is that of the denoiser's weights: of its file, as model sites list it and `sha256sum` prints it. For a
//! denoiser in several files (shards), it is the SHA-256 of a text with the files' hashes, sorted, one per line:
//! `sha256sum unet/*.safetensors | cut -c-64 | sort | sha256sum`.
//!
//! It is computed apart from the [revision](crate::revision). The revision is needed before a model is validated and
//! covers every file, so its checksum must be several times as fast as SHA-256, and changing it would orphan all stored
//! images. The hash is only needed in metadata, so a background thread computes it after the model is loaded, when the
//! pages that the revision has read are still in the system's file cache.

mod cache;

use std::fmt::Write;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::thread;
use std::time::Instant;

use sha2::{Digest, Sha256};

pub(crate) use cache::FileStamp;
use cache::HashCache;

/// Size of the parts in which a file is hashed, in bytes.
const PART: usize = 256 << 10;

/// The pause after each part is this many times as long as the part took, so that hashing takes a quarter of one
/// core from the engine.
const PAUSE_FACTOR: u32 = 3;

/// Weights to hash.
#[derive(Clone, Debug)]
pub(crate) enum HashSource {
    /// A file, and its state when it was opened for loading.
    File { path: PathBuf, stamp: FileStamp },
    /// A part of the program.
    Embedded(&'static [u8]),
}

/// Why a hash could not be computed.
#[derive(Debug, thiserror::Error)]
enum HashError {
    #[error("the file cannot be read")]
    Read(#[from] io::Error),
    #[error("the file has changed since the model was loaded")]
    Changed,
    /// The model was dropped.
    #[error("the model is no longer in use")]
    Unused,
}

/// A hash that may not be known yet.
#[derive(Debug)]
pub(crate) struct ModelHash(Arc<OnceLock<String>>);

impl ModelHash {
    /// A known hash, as 64 hexadecimal digits.
    pub(crate) fn known(hash: String) -> Self {
        Self(Arc::new(OnceLock::from(hash)))
    }

    /// Starts a thread that computes the hash of these weights and remembers the hashes of files in `cache`. The thread
    /// ends early when the value is dropped. One thread at a time hashes.
    pub(crate) fn compute(model: &str, sources: Vec<HashSource>, cache: Option<PathBuf>) -> Self {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let hash = Arc::new(OnceLock::new());
        let (weak, name) = (Arc::downgrade(&hash), model.to_owned());
        let cache = cache.map(HashCache::new);
        let task = move || {
            let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
            publish(&weak, &name, hash_sources(&sources, cache.as_ref(), &|| weak.strong_count() > 0));
        };
        if let Err(error) = thread::Builder::new().name("tintype-hash".to_owned()).spawn(task) {
            tracing::warn!(model, %error, "failed to start the thread that computes the model hash");
        }
        Self(hash)
    }

    /// The hash as 64 lower-case hexadecimal digits, once it is known.
    pub(crate) fn get(&self) -> Option<String> {
        self.0.get().cloned()
    }
}

fn publish(hash: &Weak<OnceLock<String>>, model: &str, computed: Result<String, HashError>) {
    match computed {
        Ok(value) => {
            tracing::debug!(model, sha256 = value, "model hash known");
            if let Some(hash) = hash.upgrade() {
                // This thread alone sets it.
                let _ = hash.set(value);
            }
        }
        Err(HashError::Unused) => {}
        Err(error) => {
            let error = tintype_core::causes::causes(&error).to_string();
            tracing::warn!(model, error, "model hash unknown; images will not carry it");
        }
    }
}

/// The hash of all weights: of the only file, or of the sorted list of the files' hashes.
fn hash_sources(
    sources: &[HashSource],
    cache: Option<&HashCache>,
    is_wanted: &dyn Fn() -> bool,
) -> Result<String, HashError> {
    let mut hashes =
        sources.iter().map(|source| hash_source(source, cache, is_wanted)).collect::<Result<Vec<_>, _>>()?;
    if hashes.len() == 1 {
        return Ok(hashes.remove(0));
    }
    hashes.sort_unstable();
    let list: String = hashes.into_iter().map(|hash| hash + "\n").collect();
    Ok(hexadecimal(&Sha256::digest(list)))
}

fn hash_source(
    source: &HashSource,
    cache: Option<&HashCache>,
    is_wanted: &dyn Fn() -> bool,
) -> Result<String, HashError> {
    let (path, stamp) = match source {
        HashSource::Embedded(bytes) => return hash_reader(*bytes, is_wanted),
        HashSource::File { path, stamp } => (path, stamp),
    };
    if let Some(hash) = cache.and_then(|cache| cache.find(path, stamp)) {
        return Ok(hash);
    }
    let file = File::open(path)?;
    let check = || match FileStamp::of(&file.metadata()?) {
        now if now == *stamp => Ok(()),
        _ => Err(HashError::Changed),
    };
    check()?;
    let hash = hash_reader(&file, is_wanted)?;
    check()?;
    if let Some(cache) = cache {
        cache.insert(path, stamp, &hash);
    }
    Ok(hash)
}

fn hash_reader(mut reader: impl Read, is_wanted: &dyn Fn() -> bool) -> Result<String, HashError> {
    let (mut digest, mut buffer) = (Sha256::new(), vec![0; PART]);
    loop {
        if !is_wanted() {
            return Err(HashError::Unused);
        }
        let began = Instant::now();
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(hexadecimal(&digest.finalize())),
            Ok(length) => digest.update(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        }
        thread::sleep(began.elapsed() * PAUSE_FACTOR);
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests;
