//! The models and tensors under `goldens/models`, engines that run them, and how far apart numbers are.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{Device, Tensor};
use tempfile::TempDir;
use tintype_core::engine::{Engine, Generated};
use tintype_core::picture::{Picture, Pixels};
use tintype_core::request::{Draft, GenerateRequest, RequestLimits};
use tintype_diffusion::{DiffusionEngine, EngineOptions, ModelFiles};

/// Those with all parts.
pub(crate) const FAMILIES: [&str; 4] = ["sd15", "sd21-v", "turbo", "builtin"];

pub(crate) fn folder(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens/models").join(family)
}

pub(crate) fn files(family: &str) -> ModelFiles {
    ModelFiles::folder(folder(family)).expect("a model folder")
}

pub(crate) fn tensors(family: &str, file: &str) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(folder(family).join(file), &Device::Cpu).expect("tensors")
}

/// The engine with one of the families.
pub(crate) fn engine(family: &str) -> DiffusionEngine {
    let options = EngineOptions { threads: Some(2), ..EngineOptions::default() };
    DiffusionEngine::load(family, files(family), options).expect("an engine")
}

/// What the draft asks for, a red cat if it does not say.
pub(crate) fn request(engine: &DiffusionEngine, draft: Draft) -> Arc<GenerateRequest> {
    let prompt = draft.prompt.or_else(|| Some("a red cat".into()));
    let limits = RequestLimits { max_pixels: 1 << 20, max_work: u64::MAX };
    Arc::new(Draft { prompt, ..draft }.check(engine.model(), &limits, 1).expect("a valid request"))
}

/// The pictures that an engine made.
pub(crate) fn pixels(generated: &Generated) -> Vec<&Pixels> {
    let mut all = Vec::new();
    for picture in &generated.pictures {
        match picture {
            Picture::Pixels(pixels) => all.push(pixels),
            Picture::Encoded(_) => panic!("a local engine makes pixels"),
        }
    }
    all
}

/// A copy of a model that a test may change.
pub(crate) fn copy(family: &str) -> TempDir {
    fn copy_into(from: &Path, to: &Path) {
        fs::create_dir_all(to).expect("a folder");
        for entry in fs::read_dir(from).expect("a folder") {
            let entry = entry.expect("an entry");
            let target = to.join(entry.file_name());
            if entry.path().is_dir() {
                copy_into(&entry.path(), &target);
            } else {
                fs::copy(entry.path(), target).expect("a copy");
            }
        }
    }
    let copy = tempfile::tempdir().expect("a temporary folder");
    copy_into(&folder(family), copy.path());
    copy
}

/// Fails unless no number is off by more than `tolerance` times the reference's standard deviation.
#[track_caller]
pub(crate) fn assert_close(what: &str, found: &Tensor, reference: &Tensor, tolerance: f32) {
    assert_eq!(found.dims(), reference.dims(), "{what}");
    let flat = |t: &Tensor| t.flatten_all().and_then(|t| t.to_vec1::<f32>()).expect("f32 numbers");
    let (found, reference) = (flat(found), flat(reference));
    let mean = reference.iter().sum::<f32>() / reference.len() as f32;
    let variance = reference.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / reference.len() as f32;
    let worst =
        found.iter().zip(&reference).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / variance.sqrt();
    assert!(found.iter().all(|x| x.is_finite()), "{what}: not all numbers are finite");
    assert!(worst <= tolerance, "{what}: off by {worst:e} standard deviations");
}
