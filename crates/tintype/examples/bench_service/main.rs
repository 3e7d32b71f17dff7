//! Benchmarks the service under load and under kills, with an engine that takes a fixed time and generates
//! images of one colour.
//!
//! `cargo xtask bench service [--quick] [--only PART]… [--seconds N] [--kills N] [--bucket-kills N]`
//!
//! The server is a child process of this program. The program prints a table, and fails only if a job was
//! lost, generated twice or charged twice. The part `bucket` needs the SeaweedFS binary, given by `--weed
//! PATH`.

mod budget;
mod chaos;
mod client;
mod identical;
mod job_totals;
mod keys;
mod kills;
mod latency;
mod overload;
mod report;
mod seaweedfs;
mod server;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Parser;

use report::Report;

/// As in the product.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Benchmarks the service under load and under kills
#[derive(Debug, Parser)]
struct Options {
    /// Run shorter versions of all parts
    #[arg(long)]
    quick: bool,
    /// Run only this part; repeatable: latency, identical, budget, overload, kills, bucket
    #[arg(long, value_name = "PART")]
    only: Vec<String>,
    /// Duration of the overload with a key, and again without one
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<u64>,
    /// Number of kills of the server with SQLite
    #[arg(long, value_name = "TIMES")]
    kills: Option<u32>,
    /// Number of kills of the server with the ledger in a bucket
    #[arg(long, value_name = "TIMES")]
    bucket_kills: Option<u32>,
    /// Path of the SeaweedFS binary
    #[arg(long, value_name = "PATH")]
    weed: Option<PathBuf>,
}

/// The parts, in the order in which they run.
const PARTS: [&str; 6] = ["latency", "identical", "budget", "overload", "kills", "bucket"];

impl Options {
    fn includes(&self, part: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| name == part)
    }
}

fn main() -> Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some("serve") {
        server::run(&arguments.next().context("`serve` needs the options of the server as JSON")?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let options = Options::parse();
    if let Some(unknown) = options.only.iter().find(|part| !PARTS.contains(&part.as_str())) {
        bail!("unknown part `{unknown}`; it must be one of {}", PARTS.join(", "));
    }
    let mut report = Report::default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure(&options, &mut report))?;
    if report.failed_checks.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    report.line(format_args!("\nfailed checks:\n  {}", report.failed_checks.join("\n  ")))?;
    Ok(ExitCode::FAILURE)
}

async fn measure(options: &Options, report: &mut Report) -> Result<()> {
    let seconds = |given: Option<u64>, quick, whole| {
        Duration::from_secs(given.unwrap_or(if options.quick { quick } else { whole }))
    };
    if options.includes("latency") {
        latency::run(report, seconds(None, 2, 10)).await?;
    }
    if options.includes("identical") {
        identical::run(report).await?;
    }
    if options.includes("budget") {
        budget::run(report).await?;
    }
    if options.includes("overload") {
        overload::run(report, seconds(options.seconds, 10, 60)).await?;
    }
    if options.includes("kills") {
        kills::sqlite(report, options.kills.unwrap_or(if options.quick { 20 } else { 200 })).await?;
    }
    if options.includes("bucket") {
        match &options.weed {
            Some(weed) => {
                let times = options.bucket_kills.unwrap_or(if options.quick { 3 } else { 20 });
                kills::bucket(report, times, weed).await?;
            }
            None => report.section("bucket: skipped, because --weed PATH is not given")?,
        }
    }
    Ok(())
}
