//! Folders as others publish them, against the pictures of diffusers' pipeline.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use tintype_diffusion::ModelFiles;
use tintype_diffusion::pipeline::{Next, Pipeline};

const PROMPT: &str = "a red cat and a tiger";
const NEGATIVE: &str = "tiger cat";

/// Fails if a colour sample of a golden's cases differs by more than 1 of 255.
#[track_caller]
fn assert_same_pictures(name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens/published").join(name);
    let golden = candle_core::safetensors::load(folder.join("golden.safetensors"), &Device::Cpu);
    let golden = golden.expect("a golden");
    let files = ModelFiles::folder(folder).expect("a model folder");
    let pipeline = Pipeline::load(&files, &Device::Cpu, DType::F32).expect("a pipeline");
    let noise = &golden["noise"];
    let cases: Vec<_> = golden.keys().filter_map(|key| key.strip_suffix(".call")).collect();
    assert_eq!(cases.len(), 3);
    let case = |case: &str| {
        let call: Vec<f32> = golden[&format!("{case}.call")].to_vec1().expect("steps and guidance");
        let image = &golden[&format!("{case}.image")];
        let (height, width, _) = image.dims3().expect("an image");
        let conditioning = pipeline.encode_prompts(PROMPT, NEGATIVE, f64::from(call[1]));
        let plan = pipeline.sampling_plan(width, height, call[0] as usize);
        let draw = |_: &candle_core::Shape| -> candle_core::Result<Tensor> { Ok(noise.clone()) };
        let latents =
            pipeline.denoise(&conditioning.expect("conditioning"), plan, draw, |_| Ok(Next::Continue));
        let latents = latents.expect("no error").expect("latents");
        let pixels = pipeline.decode(&latents, width, height).expect("a picture");
        let expected: Vec<u8> = image.flatten_all().and_then(|t| t.to_vec1()).expect("colours");
        let distinct: std::collections::HashSet<u8> = expected.iter().copied().collect();
        assert!(distinct.len() > 64, "{name}, {case}: the golden is flat");
        pixels.rgb().iter().zip(&expected).map(|(a, b)| a.abs_diff(*b)).max().expect("samples")
    };
    let worst: Vec<_> = cases.into_iter().map(|name| (name, case(name))).collect();
    assert!(worst.iter().all(|(_, difference)| *difference <= 1), "{name}: off by {worst:?} of 255");
}

/// The configurations of stabilityai/sd-turbo at narrow widths.
#[test]
fn sd_turbo() {
    assert_same_pictures("sd-turbo");
}

/// The same model, saved by transformers 5.24 and diffusers 0.42.
#[test]
fn a_folder_that_was_saved_by_newer_libraries() {
    assert_same_pictures("resaved");
}
