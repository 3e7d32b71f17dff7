//! What a model folder's parts take on this machine's processor: the counterpart of `bench/engine/diffusers_bench.py`.
//!
//! `cargo run --release -p tintype-diffusion --example bench_engine -- FOLDER [WIDTH HEIGHT [STEPS]]`
//!
//! Prints one JSON object: seconds for loading, for the text encoder, for one denoising step with guidance (the median) and for
//! the decoder; `cpu` are the same in seconds of processor time, which other work on the machine disturbs less.

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

    let start = Clock::now();
    let pipeline = Pipeline::load(&ModelFiles::folder(folder)?, &Device::Cpu, DType::F32)?;
    let load = start.elapsed();
    let (width, height) = match numbers[..] {
        [width, height, ..] => (width, height),
        _ => pipeline.native_size(),
    };
    let plan = pipeline.sampling_plan(width, height, numbers.get(2).copied().unwrap_or(3));

    pipeline.encode_prompts("a cyborg tiger", "", 7.5)?;
    let start = Clock::now();
    let conditioning = pipeline.encode_prompts("a cyborg tiger", "", 7.5)?;
    let text_encode = start.elapsed();

    let mut noise = Noise::new(1);
    let mut marks = Vec::new();
    let latents = pipeline.denoise(
        &conditioning,
        plan,
        |shape| noise.normal(shape.clone(), &Device::Cpu),
        |_| {
            marks.push(Clock::now());
            Ok(Next::Continue)
        },
    )?;
    let mut steps: Vec<Seconds> = marks.windows(2).map(|pair| pair[0].until(&pair[1])).collect();
    steps.sort_by(|a, b| a.wall.total_cmp(&b.wall));
    let step = steps[steps.len() / 2];

    let start = Clock::now();
    let latents = latents.ok_or("the generation was stopped")?;
    let pixels = pipeline.decode(&latents, width, height)?;
    let vae_decode = start.elapsed();

    let report = json!({
        "engine": concat!("tintype ", env!("CARGO_PKG_VERSION")),
        "size": format!("{}x{}", pixels.width(), pixels.height()),
        "threads": rayon::current_num_threads(),
        "load": rounded(load.wall),
        "text_encode": rounded(text_encode.wall),
        "step": rounded(step.wall),
        "vae_decode": rounded(vae_decode.wall),
        "cpu": { "load": load.cpu, "text_encode": text_encode.cpu, "step": step.cpu, "vae_decode": vae_decode.cpu },
        "peak_memory_gib": peak_memory_gib(),
    });
    writeln!(std::io::stdout(), "{report}")?;
    Ok(())
}

fn rounded(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

/// A moment, by the wall's clock and by the process's.
struct Clock {
    wall: Instant,
    cpu: Option<f64>,
}

/// What lies between two moments. Processor time is known where the system tells it in `/proc`.
#[derive(Clone, Copy)]
struct Seconds {
    wall: f64,
    cpu: Option<f64>,
}

impl Clock {
    fn now() -> Self {
        Self { wall: Instant::now(), cpu: cpu_seconds() }
    }

    fn until(&self, end: &Self) -> Seconds {
        let cpu = self.cpu.zip(end.cpu).map(|(start, end)| rounded(end - start));
        Seconds { wall: (end.wall - self.wall).as_secs_f64(), cpu }
    }

    fn elapsed(&self) -> Seconds {
        self.until(&Self::now())
    }
}

/// User and system time of all threads, in the hundredths of a second that Linux counts.
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // Behind the program's name, which may contain spaces: fields 14 and 15 of proc(5).
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / 100.0)
}

/// The most memory that the process had, where the system tells it in `/proc`.
fn peak_memory_gib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kibibytes: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some((kibibytes / 1024.0 / 1024.0 * 100.0).round() / 100.0)
}
