//! `tintype generate`: generates images in this process or on a server.

mod file;
mod interrupt;
mod local;
mod preview;
mod progress;
mod remote;

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Map, Value};
use tintype_core::picture::Encoded;

use crate::cli::GenerateOptions;
use crate::config::Config;
use crate::{logging, output};

pub(crate) use interrupt::Interrupted;

/// A generated image.
struct GeneratedImage {
    /// The output of `--json`, without the member `file`.
    facts: Map<String, Value>,
    /// The encoded image; none if it is on a server and was not downloaded.
    file: Option<Encoded>,
    /// The image's presigned URL, if it is on a server.
    url: Option<String>,
}

/// Generates the images, writes them and prints where they are.
///
/// # Errors
/// If the request is invalid, or an image cannot be generated or written.
pub(crate) fn run(config: &Config, options: &GenerateOptions) -> Result<()> {
    // By default no log is written, because log lines would break the progress bar.
    if config.log.explicit {
        logging::start(&config.log, None);
    }
    options.check_output()?;
    let images = match &options.server {
        Some(server) => remote::generate(server, config.api_key.as_ref(), options)?,
        None => local::generate(config, options)?,
    };
    let several = images.len() > 1;
    for (index, image) in images.into_iter().enumerate() {
        let number = several.then_some(index + 1);
        deliver(options, image, number)?;
    }
    Ok(())
}

/// Writes an image and prints its path or URL. `number` distinguishes the files of several images.
fn deliver(options: &GenerateOptions, image: GeneratedImage, number: Option<usize>) -> Result<()> {
    let GeneratedImage { mut facts, file, url } = image;
    let path = file.as_ref().filter(|_| options.output.is_some() || url.is_none()).map(|encoded| {
        let seed = facts.get("seed").and_then(Value::as_u64).unwrap_or_default();
        match &options.output {
            Some(path) => file::numbered(path, number),
            None => PathBuf::from(file::name(&options.prompt, seed, encoded.format)),
        }
    });
    if let (Some(path), Some(encoded)) = (&path, &file) {
        write(path, &encoded.bytes)?;
        facts.insert("file".to_owned(), path.display().to_string().into());
    }
    if options.json {
        return output::json(&Value::Object(facts));
    }
    for warning in facts.get("warnings").and_then(Value::as_array).into_iter().flatten() {
        output::message(&format!("warning: {}", warning["message"].as_str().unwrap_or_default()));
    }
    if let Some(encoded) = file.filter(|_| io::stdout().is_terminal()) {
        preview::print(&encoded);
    }
    match (path, url) {
        (Some(path), _) => output::line(&path.display().to_string()),
        (None, Some(url)) => output::line(&url),
        (None, None) => Ok(()),
    }
}

/// Writes a hidden file and renames it, so that an incomplete file never has the final name.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(path.file_name().with_context(|| format!("{} has no file name", path.display()))?);
    hidden.push(".part");
    let partial = path.with_file_name(hidden);
    let written = std::fs::write(&partial, bytes).and_then(|()| std::fs::rename(&partial, path));
    written
        .inspect_err(|_| drop(std::fs::remove_file(&partial)))
        .with_context(|| format!("cannot write {}", path.display()))
}
