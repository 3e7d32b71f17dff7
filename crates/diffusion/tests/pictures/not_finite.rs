//! Models that compute NaN or infinity.

use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use futures::executor::block_on;
use tempfile::TempDir;
use tintype_core::causes::causes;
use tintype_core::engine::{Engine, EngineError, Observer, Preview, Progress};
use tintype_core::request::Draft;
use tintype_diffusion::pipeline::{Next, Pipeline};
use tintype_diffusion::{Component, DiffusionEngine, EngineOptions, ModelError, ModelFiles};

use crate::common::{copy, folder, request};

/// A copy of a model in which one tensor has other numbers.
fn damaged(family: &str, file: &str, tensor: &str, change: impl Fn(f32) -> f32) -> TempDir {
    let model = copy(family);
    let path = model.path().join(file);
    let mut tensors = candle_core::safetensors::load(&path, &Device::Cpu).expect("weights");
    let old = tensors.get(tensor).unwrap_or_else(|| panic!("no {tensor}"));
    let numbers: Vec<f32> =
        old.to_dtype(DType::F32).and_then(|t| t.flatten_all()?.to_vec1()).expect("numbers");
    let numbers: Vec<f32> = numbers.into_iter().map(change).collect();
    let new = Tensor::from_vec(numbers, old.shape(), &Device::Cpu).expect("a tensor");
    tensors.insert(tensor.to_owned(), new);
    std::fs::remove_file(&path).expect("a file");
    candle_core::safetensors::save(&tensors, path).expect("weights");
    model
}

/// Wants all previews, none of which can be made.
struct Follower;

impl Observer for Follower {
    fn progress(&self, _: Progress) {}

    fn is_abandoned(&self) -> bool {
        false
    }

    fn wants_preview(&self) -> bool {
        true
    }

    fn preview(&self, _: Preview) {}
}

/// The log's text of the error that all requests for images get.
fn failure(model: &Path, draft: Draft) -> String {
    let files = ModelFiles::folder(model).expect("a model folder");
    let engine = DiffusionEngine::load("x", files, EngineOptions::default()).expect("an engine");
    let error = block_on(engine.generate(request(&engine, draft), Arc::new(Follower))).expect_err("no image");
    assert!(matches!(error, EngineError::NotFinite(_)), "{error:?}");
    causes(&error).to_string()
}

#[test]
fn the_component_that_fails_is_named() {
    let overflow = |x: f32| x * f32::MAX;
    let nan = |_| f32::NAN;
    let text = "text_encoder/model.fp16.safetensors";
    let [unet, vae] = ["unet", "vae"].map(|part| format!("{part}/diffusion_pytorch_model.fp16.safetensors"));
    for (family, file, tensor, change, component) in [
        (
            "sd15",
            text,
            "text_model.final_layer_norm.weight",
            &overflow as &dyn Fn(f32) -> f32,
            "text encoder",
        ),
        ("sd15", text, "text_model.embeddings.position_embedding.weight", &nan, "text encoder"),
        ("sd21-v", &unet, "conv_out.weight", &overflow, "denoiser at step 1 of 3"),
        ("sd15", &unet, "mid_block.resnets.0.conv1.bias", &nan, "denoiser at step 1 of 3"),
        ("builtin", &vae, "decoder.conv_out.weight", &overflow, "autoencoder"),
        ("sd15", &vae, "decoder.mid_block.resnets.0.conv1.bias", &nan, "autoencoder"),
        // Followed by activations that must not hide it.
        ("turbo", &vae, "decoder.layers.0.bias", &nan, "autoencoder"),
    ] {
        let model = damaged(family, file, tensor, change);
        for n in [1, 2] {
            let found = failure(model.path(), Draft { n: Some(n), steps: Some(3), ..Draft::default() });
            let expected = "the model computed numbers that are not finite: the ";
            assert_eq!(found, format!("{expected}{component} computed NaN or infinity"), "{tensor}");
        }
    }
}

#[test]
fn the_step_is_counted() {
    let model = copy("sd15");
    let scheduler = folder("sd15").join("schedulers/euler-ancestral.json");
    std::fs::copy(scheduler, model.path().join("scheduler/scheduler_config.json")).expect("a copy");
    let files = ModelFiles::folder(model.path()).expect("a model folder");
    let pipeline = Pipeline::load(&files, &Device::Cpu, DType::F32).expect("a pipeline");
    let plan = pipeline.sampling_plan(64, 64, 4);
    let conditioning = pipeline.encode_prompts("a cat", "", 7.5).expect("conditioning");
    // The noise of the second step is infinite, so the third step fails.
    let mut drawn = 0;
    let noise = |shape: &candle_core::Shape| {
        drawn += 1;
        let value = if drawn == 3 { f32::INFINITY } else { 0.5 };
        Tensor::full(value, shape.clone(), &Device::Cpu)
    };
    let mut steps = Vec::new();
    let between = |context: tintype_diffusion::pipeline::StepContext| {
        steps.push(context.done);
        Ok(Next::Continue)
    };
    let error = pipeline.denoise(&conditioning, plan, noise, between).expect_err("no latents");
    let expected = Component::Denoiser { step: 3, of: 4 };
    assert!(matches!(error, ModelError::NotFinite { component } if component == expected), "{error}");
    assert_eq!(steps, [0, 1, 2], "the loop stops at once");
}
