//! The revision covers everything that is read of a model, and nothing else.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use candle_core::Device;
use tintype_core::engine::Engine;
use tintype_diffusion::{DiffusionEngine, EngineOptions, ModelFiles};

use crate::common::{copy, engine, folder};

fn revision(model: &Path) -> String {
    let files = ModelFiles::folder(model).expect("a model");
    DiffusionEngine::load("x", files, EngineOptions::default()).expect("an engine").info().revision.clone()
}

/// The paths of a family's files inside its folder.
fn names(family: &str) -> Vec<String> {
    fn list(folder: &Path, prefix: &str, names: &mut Vec<String>) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let entry = entry.expect("an entry");
            let name = format!("{prefix}{}", entry.file_name().to_str().expect("UTF-8"));
            match entry.path().is_dir() {
                true => list(&entry.path(), &format!("{name}/"), names),
                false => names.push(name),
            }
        }
    }
    let mut names = Vec::new();
    list(&folder(family), "", &mut names);
    names
}

#[test]
fn every_file_that_is_read_counts() {
    let first = engine("sd15").info().revision.clone();
    assert_eq!(first, revision(copy("sd15").path()), "the place does not count");
    let mut count = 0;
    for name in names("sd15") {
        let model = copy("sd15");
        let path = model.path().join(&name);
        let mut bytes = fs::read(&path).expect("a file");
        match name.ends_with(".safetensors") {
            // One bit of the last tensor.
            true => *bytes.last_mut().expect("a byte") ^= 1,
            false => bytes.push(b'\n'),
        }
        fs::write(&path, bytes).expect("a file");
        let read =
            !name.starts_with("schedulers/") && !name.contains("networks.") && !name.contains("pipelines.");
        assert_eq!(revision(model.path()) != first, read, "{name}");
        count += usize::from(read);
    }
    assert_eq!(count, 12, "the fixture has other files");
    let model = copy("sd15");
    fs::write(model.path().join("tokenizer/added_tokens.json"), "{}").expect("a file");
    assert_ne!(revision(model.path()), first, "a file that was not there before");
}

#[test]
fn every_shard_and_every_tensor_counts() {
    let model = copy("sd15");
    let single = model.path().join("unet/diffusion_pytorch_model.fp16.safetensors");
    let tensors: BTreeMap<_, _> =
        candle_core::safetensors::load(&single, &Device::Cpu).expect("weights").into_iter().collect();
    fs::remove_file(single).expect("a file");
    let shard = |number: usize| format!("diffusion_pytorch_model-{number:05}-of-00002.safetensors");
    let half = tensors.len() / 2;
    let of = |i: usize| shard(1 + usize::from(i >= half));
    let map: BTreeMap<_, _> = tensors.keys().enumerate().map(|(i, name)| (name.clone(), of(i))).collect();
    let index = serde_json::json!({"weight_map": map}).to_string();
    let unet = model.path().join("unet");
    fs::write(unet.join("diffusion_pytorch_model.safetensors.index.json"), index).expect("a file");
    for number in [1, 2] {
        let part =
            tensors.iter().enumerate().filter(|(i, _)| of(*i) == shard(number)).map(|(_, tensor)| tensor);
        fs::write(unet.join(shard(number)), safetensors::serialize(part, None).expect("weights"))
            .expect("a file");
    }
    let first = revision(model.path());
    for number in [1, 2] {
        let path = unet.join(shard(number));
        let whole = fs::read(&path).expect("weights");
        let start = 8 + u64::from_le_bytes(whole[..8].try_into().expect("a length")) as usize;
        // All over the file: its tensors are small.
        for at in (start..whole.len()).step_by((whole.len() - start) / 8) {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            fs::write(&path, changed).expect("a file");
            assert_ne!(revision(model.path()), first, "shard {number}, byte {at}");
        }
        fs::write(&path, whole).expect("a file");
    }
    assert_eq!(revision(model.path()), first);
}
