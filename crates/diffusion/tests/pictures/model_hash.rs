//! The model hash is the SHA-256 of the denoiser's file.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use tintype_core::engine::Engine;
use tintype_diffusion::{DiffusionEngine, EngineOptions, ModelFiles};

use crate::common::copy;

/// The hash, which a thread computes.
fn hash(engine: &DiffusionEngine) -> String {
    let began = Instant::now();
    loop {
        match engine.model_hash() {
            Some(hash) => return hash,
            None if began.elapsed() > Duration::from_secs(60) => panic!("no hash after a minute"),
            None => thread::yield_now(),
        }
    }
}

#[test]
fn a_folder_has_the_hash_of_its_denoiser_and_remembers_it() {
    let (model, data) = (copy("sd15"), tempfile::tempdir().expect("a folder"));
    let cache = data.path().join("hashes.json");
    let load = || {
        let options = EngineOptions { hash_cache: Some(cache.clone()), ..EngineOptions::default() };
        let files = ModelFiles::folder(model.path()).expect("a model");
        DiffusionEngine::load("x", files, options).expect("an engine")
    };
    let denoiser = model.path().join("unet/diffusion_pytorch_model.fp16.safetensors");
    let expected: String = Sha256::digest(fs::read(denoiser).expect("weights"))
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(hash(&load()), expected);
    // Another hash in the cache shows that the next engine takes it from there.
    let marked = fs::read_to_string(&cache).expect("the cache").replace(&expected, &"0".repeat(64));
    fs::write(&cache, marked).expect("the cache");
    assert_eq!(hash(&load()), "0".repeat(64));
}

#[test]
fn the_hash_of_the_built_in_model_is_that_of_its_file() {
    let files = ModelFiles::embedded(tintype_emoji::FILES).expect("a model");
    let computed = DiffusionEngine::load("x", files.clone(), EngineOptions::default()).expect("an engine");
    assert_eq!(hash(&computed), tintype_emoji::MODEL_HASH);
    let files = files.with_model_hash(tintype_emoji::MODEL_HASH);
    let known = DiffusionEngine::load("x", files, EngineOptions::default()).expect("an engine");
    assert_eq!(known.model_hash().as_deref(), Some(tintype_emoji::MODEL_HASH), "without a computation");
}
