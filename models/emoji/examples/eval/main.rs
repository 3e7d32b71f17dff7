//! What the built-in model can do, measured: `cargo xtask model eval`.
//!
//! It draws with the weights as they are shipped, through the engine that the server runs, and holds what comes out
//! against the targets that the model was made for. The sizes are the model's own: nothing here knows them.

mod artist;
mod combinations;
mod corners;
mod cost;
mod goldens;
mod labels;
mod likeness;
mod prompts;
mod references;
mod report;
mod resize;
mod sample;
mod sheet;

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Parser;
use tintype_diffusion::ModelFiles;

use artist::Artist;
use report::{Report, say};
use sheet::Album;

/// The allocator of the product, so that time and memory are the product's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures the built-in model and draws its contact sheets.
#[derive(Parser)]
#[command(name = "cargo xtask model eval")]
struct Arguments {
    /// How many labels are drawn in each language; all 300 if not given
    #[arg(long)]
    count: Option<usize>,
    /// Also writes the results here, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Keeps the pictures drawn for labels here
    #[arg(long, value_name = "FOLDER")]
    pictures: Option<PathBuf>,
    /// Where the contact sheets go
    #[arg(long, value_name = "FOLDER", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/sheets"))]
    sheets: PathBuf,
    /// Measures the model in this folder, its goldens beside it, instead of the built-in one
    #[arg(long, value_name = "FOLDER")]
    model: Option<PathBuf>,
    /// Only draws this many pictures and tells what they took: the process that is measured
    #[arg(long, hide = true)]
    cost: Option<usize>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let model = arguments.model.as_deref();
    let files = match model {
        Some(folder) => ModelFiles::folder(folder)?,
        None => ModelFiles::embedded(tintype_emoji::FILES)?,
    };
    if let Some(pictures) = arguments.cost {
        return cost::spend(files, pictures);
    }
    let artist = Artist::load(files.clone())?;
    let mut report = Report::of(artist.model());
    say(&report.model.to_string());

    // Before anything that makes this process large or the machine warm.
    cost::measure(model, &mut report)?;
    let goldens = model.map_or_else(|| committed("goldens"), |folder| folder.with_file_name("goldens"));
    goldens_agree(&files, &goldens, &mut report)?;
    let mut album = Album::create(&arguments.sheets)?;
    corners::visit(&files, &mut report, &mut album)?;
    combinations::draw(&artist, &mut album)?;
    prompts::draw(&artist, &mut album)?;
    album.finish()?;
    labels::judge(&artist, arguments.count, arguments.pictures.as_deref(), &mut report)?;

    say(&format!("\n{report}"));
    for sheet in album.sheets() {
        say(&format!("look at {}", sheet.display()));
    }
    match &arguments.json {
        Some(file) => report.write(file),
        None => Ok(()),
    }
}

/// Holds the pipeline against diffusers on these weights.
fn goldens_agree(files: &ModelFiles, folder: &Path, report: &mut Report) -> Result<()> {
    say("goldens …");
    report.goldens = goldens::compare(files, folder)?;
    let worst = report.goldens.iter().map(|golden| golden.mean_difference).fold(0.0, f64::max);
    report.target(
        "mean difference from diffusers, of 255",
        format!("{worst:.3}"),
        format!("≤ {}", goldens::TOLERANCE),
        Some(worst <= goldens::TOLERANCE),
    );
    Ok(())
}

/// A file of the model's own folder.
fn committed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}
