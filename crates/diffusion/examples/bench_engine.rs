//! What a model folder's parts take on this machine's processor: the counterpart of `bench/engine/diffusers_bench.py`.
//!
//! `cargo run --release -p tintype-diffusion --example bench_engine -- FOLDER [WIDTH HEIGHT [STEPS]]`
//!
//! Prints one JSON object: seconds for loading, for the text encoder, for one denoising step with guidance (the median) and for
//! the decoder.

use std::error::Error;
use std::io::Write;
use std::time::Instant;

use candle_core::{DType, Device};
use serde_json::json;
use tintype_diffusion::ModelFiles;
use tintype_diffusion::noise::Noise;
use tintype_diffusion::pipeline::{Next, Pipeline};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("usage: bench_engine FOLDER [WIDTH HEIGHT [STEPS]]")?;
    let numbers = arguments.map(|number| number.parse()).collect::<Result<Vec<usize>, _>>()?;

    let start = Instant::now();
    let pipeline = Pipeline::load(&ModelFiles::folder(folder)?, &Device::Cpu, DType::F32)?;
    let load = start.elapsed();
    let (width, height) = match numbers[..] {
        [width, height, ..] => (width, height),
        _ => pipeline.native_size(),
    };
    let course = pipeline.course(width, height, numbers.get(2).copied().unwrap_or(3));

    pipeline.condition("a cyborg tiger", "", 7.5)?;
    let start = Instant::now();
    let conditioning = pipeline.condition("a cyborg tiger", "", 7.5)?;
    let text_encode = start.elapsed();

    let mut noise = Noise::new(1);
    let mut marks = Vec::new();
    let latents = pipeline.denoise(
        &conditioning,
        course,
        |shape| noise.normal(shape.clone(), &Device::Cpu),
        |_| {
            marks.push(Instant::now());
            Next::Continue
        },
    )?;
    let mut steps: Vec<f64> = marks.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
    steps.sort_by(f64::total_cmp);

    let start = Instant::now();
    let latents = latents.ok_or("nobody asked it to stop")?;
    let pixels = pipeline.decode(&latents, width, height)?;
    let vae_decode = start.elapsed();

    let rounded = |seconds: f64| (seconds * 1000.0).round() / 1000.0;
    let report = json!({
        "engine": concat!("tintype ", env!("CARGO_PKG_VERSION")),
        "size": format!("{}x{}", pixels.width(), pixels.height()),
        "threads": rayon::current_num_threads(),
        "load": rounded(load.as_secs_f64()),
        "text_encode": rounded(text_encode.as_secs_f64()),
        "step": rounded(steps[steps.len() / 2]),
        "vae_decode": rounded(vae_decode.as_secs_f64()),
        "peak_memory_gib": peak_memory_gib(),
    });
    writeln!(std::io::stdout(), "{report}")?;
    Ok(())
}

/// The most memory that the process had, where the system tells it in `/proc`.
fn peak_memory_gib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kibibytes: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some((kibibytes / 1024.0 / 1024.0 * 100.0).round() / 100.0)
}
