//! What the service does under load and when it is killed, on an engine that takes a set time and makes pictures of one colour.
//!
//! `cargo xtask bench service [--quick] [--only PART]… [--seconds N] [--kills N] [--bucket-kills N]`
//!
//! Starts itself as the server, in a process of its own. Prints a table; fails only if something was lost, made twice or
//! charged twice. The part `bucket` needs SeaweedFS's program, named by `--weed PATH`.

mod budget;
mod chaos;
mod client;
mod figures;
mod identical;
mod job_totals;
mod keys;
mod kills;
mod latency;
mod overload;
mod server;
mod weed;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Parser;

use figures::Sheet;

/// As in the product.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What is measured, and how much of it.
#[derive(Debug, Parser)]
struct Options {
    /// Short runs of everything.
    #[arg(long)]
    quick: bool,
    /// Only these parts: latency, identical, budget, overload, kills, bucket.
    #[arg(long, value_name = "PART")]
    only: Vec<String>,
    /// How long the overload lasts, for each of the two callers.
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<u64>,
    /// How often the server with the ledger in SQLite is killed.
    #[arg(long, value_name = "TIMES")]
    kills: Option<u32>,
    /// How often the server with the ledger in the bucket is killed.
    #[arg(long, value_name = "TIMES")]
    bucket_kills: Option<u32>,
    /// SeaweedFS's program.
    #[arg(long, value_name = "PATH")]
    weed: Option<PathBuf>,
}

/// The parts, in the order in which they run.
const PARTS: [&str; 6] = ["latency", "identical", "budget", "overload", "kills", "bucket"];

impl Options {
    fn wants(&self, part: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|wanted| wanted == part)
    }
}

fn main() -> Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some("serve") {
        server::run(&arguments.next().context("`serve` takes a setup")?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let options = Options::parse();
    if let Some(unknown) = options.only.iter().find(|part| !PARTS.contains(&part.as_str())) {
        bail!("no such part: {unknown}; there are {}", PARTS.join(", "));
    }
    let mut sheet = Sheet::default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure(&options, &mut sheet))?;
    if sheet.broken.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    sheet.line(format_args!("\nwhat must hold did not:\n  {}", sheet.broken.join("\n  ")))?;
    Ok(ExitCode::FAILURE)
}

async fn measure(options: &Options, sheet: &mut Sheet) -> Result<()> {
    let seconds = |given: Option<u64>, quick, whole| {
        Duration::from_secs(given.unwrap_or(if options.quick { quick } else { whole }))
    };
    if options.wants("latency") {
        latency::run(sheet, seconds(None, 2, 10)).await?;
    }
    if options.wants("identical") {
        identical::run(sheet).await?;
    }
    if options.wants("budget") {
        budget::run(sheet).await?;
    }
    if options.wants("overload") {
        overload::run(sheet, seconds(options.seconds, 10, 60)).await?;
    }
    if options.wants("kills") {
        kills::sqlite(sheet, options.kills.unwrap_or(if options.quick { 20 } else { 200 })).await?;
    }
    if options.wants("bucket") {
        match &options.weed {
            Some(weed) => {
                let times = options.bucket_kills.unwrap_or(if options.quick { 3 } else { 20 });
                kills::bucket(sheet, times, weed).await?;
            }
            None => sheet.part("bucket: left out, as no --weed names SeaweedFS's program")?,
        }
    }
    Ok(())
}
