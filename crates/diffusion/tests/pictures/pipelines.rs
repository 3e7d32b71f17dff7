//! Four steps from given noise, through every scheduler.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use tintype_core::picture::Pixels;
use tintype_diffusion::ModelFiles;
use tintype_diffusion::pipeline::{Next, Pipeline};

use crate::common::{FAMILIES, assert_close, copy, folder, tensors};

const TOLERANCE: f32 = 1e-3;
const STEPS: usize = 4;
const PROMPT: &str = "a red cat and a tiger";
const NEGATIVE: &str = "tiger cat";

fn guidance(family: &str) -> f64 {
    let index = std::fs::read_to_string(folder(family).join("model_index.json")).expect("an index");
    let index: serde_json::Value = serde_json::from_str(&index).expect("JSON");
    index["_tintype"]["guidance"].as_f64().expect("a number")
}

/// Loads a family with another of its schedulers, and takes the golden's noise away.
fn latents(family: &str, scheduler: &str, noise: &Tensor) -> (Pipeline, Tensor) {
    latents_after(family, &scheduler_config(family, scheduler), noise)
}

fn scheduler_config(family: &str, scheduler: &str) -> String {
    let path = folder(family).join("schedulers").join(format!("{scheduler}.json"));
    std::fs::read_to_string(path).expect("a configuration")
}

/// The same with this configuration of a scheduler.
fn latents_after(family: &str, scheduler: &str, noise: &Tensor) -> (Pipeline, Tensor) {
    let model = copy(family);
    std::fs::write(model.path().join("scheduler/scheduler_config.json"), scheduler).expect("a file");
    run(model.path(), family, noise)
}

fn run(model: &Path, family: &str, noise: &Tensor) -> (Pipeline, Tensor) {
    let files = ModelFiles::folder(model).expect("a model folder");
    let pipeline = Pipeline::load(&files, &Device::Cpu, DType::F32).expect("a pipeline");
    let (_, _, _, height, width) = noise.dims5().expect("noise");
    let scale = pipeline.native_size().0 / if family == "builtin" { 4 } else { 8 };
    let plan = pipeline.sampling_plan(width * scale, height * scale, STEPS);
    assert_eq!([plan.height, plan.width], [height, width]);
    let conditioning = pipeline.encode_prompts(PROMPT, NEGATIVE, guidance(family)).expect("conditioning");
    assert!(conditioning.warnings.is_empty());
    let mut taken = 0;
    let next_noise = |_: &candle_core::Shape| {
        taken += 1;
        noise.get(taken - 1)
    };
    let sample = pipeline.denoise(&conditioning, plan, next_noise, |_| Ok(Next::Continue));
    (pipeline, sample.expect("no error").expect("latents"))
}

#[test]
fn pipelines_end_where_diffusers_does() {
    for family in FAMILIES {
        let golden = tensors(family, "pipelines.safetensors");
        let mut schedulers: Vec<_> = golden.keys().filter_map(|name| name.strip_suffix(".latents")).collect();
        schedulers.sort_unstable();
        assert!(schedulers.len() >= 5, "{schedulers:?}");
        for scheduler in schedulers {
            let (_, found) = latents(family, scheduler, &golden["noise"]);
            let expected = &golden[&format!("{scheduler}.latents")];
            assert_close(&format!("{family}, {scheduler}"), &found, expected, TOLERANCE);
        }
    }
}

/// diffusers' `StableDiffusionPipeline` overrides two options of every scheduler, which older files lack.
#[test]
fn files_of_older_versions_give_the_same_images() {
    let golden = tensors("sd15", "pipelines.safetensors");
    for scheduler in ["ddim", "euler", "euler-ancestral", "dpm"] {
        let mut config: serde_json::Value =
            serde_json::from_str(&scheduler_config("sd15", scheduler).replace(": -Infinity", ": null"))
                .expect("JSON");
        config["timestep_spacing"] = "leading".into();
        let (_, current) = latents_after("sd15", &config.to_string(), &golden["noise"]);
        if scheduler == "ddim" {
            assert_close("the golden", &current, &golden["ddim.latents"], TOLERANCE);
        }
        for (clip, offset) in [
            (Some(serde_json::json!(true)), Some(serde_json::json!(0))),
            (Some(serde_json::Value::Null), Some(serde_json::Value::Null)),
            (None, None),
            (None, Some(serde_json::json!(3))),
        ] {
            let mut old = config.clone();
            for (option, value) in [("clip_sample", clip), ("steps_offset", offset)] {
                let options = old.as_object_mut().expect("an object");
                match value {
                    Some(value) => options.insert(option.to_owned(), value),
                    None => options.remove(option),
                };
            }
            let (_, found) = latents_after("sd15", &old.to_string(), &golden["noise"]);
            assert_close(&format!("{scheduler}: {old}"), &found, &current, 1e-6);
        }
    }
}

/// A class that `model_index.json` names comes before the one that the scheduler was saved from.
#[test]
fn the_class_of_the_index_runs() {
    let golden = tensors("sd15", "pipelines.safetensors");
    let model = copy("sd15");
    let index =
        r#"{"_class_name":"StableDiffusionPipeline","scheduler":["diffusers","EulerDiscreteScheduler"]}"#;
    std::fs::write(model.path().join("model_index.json"), index).expect("a file");
    for own in [r#""_class_name": "DDIMScheduler","#, ""] {
        let config = scheduler_config("sd15", "euler");
        let class = r#""_class_name": "EulerDiscreteScheduler","#;
        assert!(config.contains(class));
        std::fs::write(model.path().join("scheduler/scheduler_config.json"), config.replace(class, own))
            .expect("a file");
        let found = run(model.path(), "sd15", &golden["noise"]).1;
        assert_close("euler", &found, &golden["euler.latents"], TOLERANCE);
    }
}

#[test]
fn pictures_are_diffusers_pictures() {
    for family in FAMILIES {
        let golden = tensors(family, "pipelines.safetensors");
        let (pipeline, latents) = latents(family, "dpm", &golden["noise"]);
        let image = golden["dpm.image"].squeeze(0).expect("an image");
        let (_, height, width) = image.dims3().expect("an image");
        let pixels = pipeline.decode(&latents, width, height).expect("a picture");
        let expected: Vec<f32> =
            image.permute((1, 2, 0)).and_then(|t| t.flatten_all()?.to_vec1()).expect("colours");
        let expected = expected.iter().map(|x| (x / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0);
        let worst =
            pixels.rgb().iter().zip(expected).map(|(a, b)| (f32::from(*a) - b).abs()).fold(0.0, f32::max);
        // Half a step of rounding, and a thousandth of the range.
        assert!(worst <= 0.76, "{family}: off by {worst} of 255");

        let middle = pipeline.decode(&latents, width - 4, height - 2).expect("a picture");
        assert_eq!(middle, truncation(&pixels, 2, 1));
        assert!(pipeline.decode(&latents, width + 1, height).is_err());
    }
}

/// A picture without its outermost columns and rows.
fn truncation(pixels: &Pixels, columns: u32, rows: u32) -> Pixels {
    let (width, height) = (pixels.width() as usize, pixels.height() as usize);
    let (columns, rows) = (columns as usize, rows as usize);
    let lines = pixels.rgb().chunks_exact(width * 3).skip(rows).take(height - 2 * rows);
    let rgb = lines.flat_map(|line| line[columns * 3..(width - columns) * 3].iter().copied()).collect();
    Pixels::new((width - 2 * columns) as u32, (height - 2 * rows) as u32, rgb)
        .expect("three samples per pixel")
}
