//! A short text that is another one for other weights.

use std::fmt::Write;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use sha2::{Digest, Sha256};

use crate::ModelFiles;

/// What is read of a file at each of three places: gigabytes would take longer than loading them does.
const SAMPLE: usize = 64 << 10;
/// Digits of the text.
const DIGITS: usize = 16;

/// Everything that decides what a model draws; a file that a model does not have is left out.
const FILES: [&str; 13] = [
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder/model.fp16.safetensors",
    "text_encoder/model.safetensors",
    "tokenizer/merges.txt",
    "tokenizer/vocab.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model.fp16.safetensors",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.fp16.safetensors",
    "vae/diffusion_pytorch_model.safetensors",
];

/// A digest of the model's files: of their sizes, and of their beginnings, middles and ends.
pub(crate) fn revision(files: &ModelFiles) -> String {
    let mut digest = Sha256::new();
    for name in FILES {
        if let Some((size, sample)) = sampled(files, name) {
            digest.update(name);
            digest.update(size.to_le_bytes());
            digest.update(sample);
        }
    }
    let mut text = String::new();
    for byte in digest.finalize().iter().take(DIGITS / 2) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// A file's size, and its beginning, middle and end. `None` if it cannot be read; then loading the model says why.
fn sampled(files: &ModelFiles, name: &str) -> Option<(u64, Vec<u8>)> {
    if let Some(content) = files.embedded_bytes(name) {
        let parts = places(content.len() as u64).map(|at| at as usize);
        let part = |at: usize| &content[at..content.len().min(at + SAMPLE)];
        return Some((content.len() as u64, parts.map(part).concat()));
    }
    let mut file = files.exists(name).then(|| File::open(files.path(name)).ok())??;
    let size = file.metadata().ok()?.len();
    let mut sample = Vec::new();
    for at in places(size) {
        file.seek(SeekFrom::Start(at)).ok()?;
        (&mut file).take(SAMPLE as u64).read_to_end(&mut sample).ok()?;
    }
    Some((size, sample))
}

/// Where samples begin.
fn places(size: u64) -> [u64; 3] {
    [0, size / 2, size.saturating_sub(SAMPLE as u64)]
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn of(weights: &[u8]) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("unet")).expect("a folder");
        fs::write(folder.path().join("model_index.json"), "{}").expect("a file");
        fs::write(folder.path().join("unet/diffusion_pytorch_model.safetensors"), weights).expect("a file");
        revision(&ModelFiles::folder(folder.path()).expect("a model"))
    }

    #[test]
    fn other_weights_have_another() {
        let weights = vec![7u8; 300 << 10];
        let first = of(&weights);
        assert_eq!(first.len(), DIGITS);
        assert_eq!(first, of(&weights));
        for place in [0, weights.len() / 2, weights.len() - 1] {
            let mut other = weights.clone();
            other[place] = 8;
            assert_ne!(first, of(&other), "changed at {place}");
        }
        assert_ne!(first, of(&weights[1..]), "another size");
    }

    #[test]
    fn the_embedded_model_has_one() {
        let files = ModelFiles::embedded(tintype_emoji::FILES).expect("a model");
        assert_eq!(revision(&files), revision(&files));
        assert_eq!(revision(&files).len(), DIGITS);
    }
}
