//! What a picture takes: time and memory of a process that does nothing else.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::available_parallelism;
use std::time::Instant;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use tintype_diffusion::ModelFiles;

use crate::artist::Artist;
use crate::report::{Report, say};

const PICTURES: usize = 7;
const MOST_SECONDS: f64 = 2.0;
const MOST_GIB: f64 = 1.0;

/// What the measured process tells.
#[derive(Default, Deserialize, Serialize)]
pub(crate) struct Cost {
    threads: usize,
    seconds_to_load: f64,
    /// Of each picture, by the wall's clock.
    seconds: Vec<f64>,
    /// Of one picture, of processor time over all threads: what other work on the machine disturbs less.
    processor_seconds: Option<f64>,
    /// How many threads of the whole machine wanted to run over the minute before: above `threads`, the
    /// wall's clock tells of others' work too.
    load: Option<f64>,
    /// The most memory that it had resident.
    peak_gib: Option<f64>,
}

/// Runs this program as a child process that generates images and reports its cost.
pub(crate) fn measure(model: Option<&Path>, report: &mut Report) -> Result<()> {
    say("time and memory …");
    let load = load();
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--cost", &PICTURES.to_string()]);
    if let Some(folder) = model {
        command.arg("--model").arg(folder);
    }
    let output = command.stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "the measured process ended with {}", output.status);
    report.cost = Cost { load, ..serde_json::from_slice(&output.stdout)? };

    let mut seconds = report.cost.seconds.clone();
    seconds.sort_by(f64::total_cmp);
    let median = seconds[seconds.len() / 2];
    let processor = report.cost.processor_seconds.map(|seconds| format!(", {seconds:.2} of processor"));
    let load = load.map(|load| format!(", load {load:.1}"));
    report.target(
        &format!("seconds per picture, {} threads", report.cost.threads),
        format!("{median:.2}{}{}", processor.unwrap_or_default(), load.unwrap_or_default()),
        format!("≤ {MOST_SECONDS}"),
        Some(median <= MOST_SECONDS),
    );
    let peak = report.cost.peak_gib;
    report.target(
        "peak memory in GiB",
        peak.map_or("not available on this system".to_owned(), |gib| format!("{gib:.3}")),
        format!("≤ {MOST_GIB}"),
        peak.map(|gib| gib <= MOST_GIB),
    );
    Ok(())
}

/// Loads, draws, and prints a [`Cost`] as JSON.
pub(crate) fn spend(files: ModelFiles, pictures: usize) -> Result<()> {
    let start = Instant::now();
    let artist = Artist::load(files)?;
    let seconds_to_load = start.elapsed().as_secs_f64();
    let (mut seconds, before) = (Vec::new(), processor_seconds());
    for seed in 0..pictures as u32 {
        let start = Instant::now();
        artist.draw("a tiger", seed)?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    let spent = processor_seconds().zip(before).map(|(after, before)| (after - before) / pictures as f64);
    let cost = Cost {
        threads: available_parallelism()?.get(),
        seconds_to_load,
        seconds,
        processor_seconds: spent,
        load: None,
        peak_gib: peak_gib(),
    };
    serde_json::to_writer(std::io::stdout(), &cost)?;
    Ok(std::io::stdout().flush()?)
}

/// User and system time of all threads, where the system tells it: fields 14 and 15 of proc(5), in
/// hundredths.
fn processor_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let hundredths = |index: usize| fields.get(index)?.parse::<f64>().ok();
    Some((hundredths(11)? + hundredths(12)?) / 100.0)
}

/// The machine's load over the last minute, where the system tells it.
fn load() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}

/// The most memory that the process had, where the system tells it.
fn peak_gib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kibibytes: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes / f64::from(1 << 20))
}
