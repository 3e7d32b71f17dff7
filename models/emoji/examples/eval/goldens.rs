//! The pipeline beside diffusers', on the same weights and from the same noise.
//!
//! `models/emoji/run export` writes the goldens together with the weights. `tests/goldens.rs` holds both to each other.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};
use tintype_core::picture::{Encoded, Format};
use tintype_diffusion::ModelFiles;
use tintype_diffusion::pipeline::Pipeline;

use crate::sample::Sample;

/// Most that samples may differ on average, of 255.
pub(crate) const TOLERANCE: f64 = 2.0;

/// What diffusers drew, and how.
#[derive(Deserialize)]
struct Golden {
    prompt: String,
    steps: usize,
    guidance: f64,
    /// The name of a tensor in `noise.safetensors`.
    noise: String,
    /// The name of a file.
    picture: String,
}

/// How far we are from it.
#[derive(Serialize)]
pub(crate) struct Compared {
    pub(crate) prompt: String,
    /// Mean absolute difference of the samples, of 255.
    pub(crate) mean_difference: f64,
}

/// Draws every golden in a folder with the weights that they were written with.
pub(crate) fn compare(files: &ModelFiles, folder: &Path) -> Result<Vec<Compared>> {
    let pipeline = Pipeline::load(files, &Device::Cpu, DType::F32)?;
    let noises = candle_core::safetensors::load(folder.join("noise.safetensors"), &Device::Cpu)?;
    let goldens: Vec<Golden> = serde_json::from_slice(&read(folder.join("goldens.json"))?)?;
    ensure!(!goldens.is_empty(), "there are no goldens");
    goldens.into_iter().map(|golden| golden.compare(&pipeline, &noises, folder)).collect()
}

impl Golden {
    fn compare(
        self,
        pipeline: &Pipeline,
        noises: &HashMap<String, Tensor>,
        folder: &Path,
    ) -> Result<Compared> {
        let bytes = read(folder.join(&self.picture))?.into();
        let expected = tintype_picture::decode(&Encoded { format: Format::Png, bytes })?;
        let noise = noises.get(&self.noise).with_context(|| format!("no noise `{}`", self.noise))?;
        let sample = Sample {
            prompt: &self.prompt,
            negative_prompt: "",
            width: expected.width() as usize,
            height: expected.height() as usize,
            steps: self.steps,
            guidance: self.guidance,
        };
        let (_, drawn) = sample.draw(pipeline, |shape| {
            if noise.shape() != shape {
                candle_core::bail!("noise of shape {:?} for latents of {shape:?}", noise.shape());
            }
            noise.to_dtype(DType::F32)
        })?;
        let off: u64 = drawn.rgb().iter().zip(expected.rgb()).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        let mean_difference = off as f64 / drawn.rgb().len() as f64;
        Ok(Compared { prompt: self.prompt, mean_difference })
    }
}

fn read(path: PathBuf) -> Result<Vec<u8>> {
    fs::read(&path).with_context(|| format!("cannot read {}: `models/emoji/run goldens`", path.display()))
}
