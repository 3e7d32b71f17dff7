//! `tintype generate`: a picture, made here or on a server.

mod file;
mod local;
mod progress;
mod remote;
mod show;

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Map, Value};
use tintype_core::picture::Encoded;

use crate::cli::GenerateOptions;
use crate::config::Config;
use crate::{logging, output};

/// A picture that was made: what is printed, and what is written.
struct GeneratedImage {
    /// What `--json` prints, but for the file.
    facts: Map<String, Value>,
    /// Its bytes, if they were fetched.
    file: Option<Encoded>,
    /// The link to it, if it is on a server.
    url: Option<String>,
}

/// Makes what was asked for.
///
/// # Errors
/// When the request makes no sense, or the picture could not be made or written.
pub(crate) fn run(config: &Config, options: &GenerateOptions) -> Result<()> {
    // Log lines would get between the bar and the picture.
    if config.log.explicit {
        logging::start(&config.log, None);
    }
    let made = match &options.server {
        Some(server) => remote::make(server, config.api_key.as_ref(), options)?,
        None => local::make(&config.model, options)?,
    };
    let several = made.len() > 1;
    for (index, picture) in made.into_iter().enumerate() {
        let number = several.then_some(index + 1);
        deliver(options, picture, number)?;
    }
    Ok(())
}

/// Writes a picture and tells where it is.
fn deliver(options: &GenerateOptions, made: GeneratedImage, number: Option<usize>) -> Result<()> {
    let GeneratedImage { mut facts, file: bytes, url } = made;
    let path = bytes.as_ref().filter(|_| options.output.is_some() || url.is_none()).map(|bytes| {
        let seed = facts.get("seed").and_then(Value::as_u64).unwrap_or_default();
        match &options.output {
            Some(path) => file::numbered(path, number),
            None => PathBuf::from(file::name(&options.prompt, seed, bytes.format)),
        }
    });
    if let (Some(path), Some(encoded)) = (&path, &bytes) {
        write(path, &encoded.bytes)?;
        facts.insert("file".to_owned(), path.display().to_string().into());
    }
    if options.json {
        return output::json(&Value::Object(facts));
    }
    for warning in facts.get("warnings").and_then(Value::as_array).into_iter().flatten() {
        output::message(&format!("warning: {}", warning["message"].as_str().unwrap_or_default()));
    }
    if let Some(encoded) = bytes.filter(|_| io::stdout().is_terminal()) {
        show::show(&encoded);
    }
    match (path, url) {
        (Some(path), _) => output::line(&path.display().to_string()),
        (None, Some(url)) => output::line(&url),
        (None, None) => Ok(()),
    }
}

/// Under its name only once it is whole.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(path.file_name().with_context(|| format!("{} names no file", path.display()))?);
    hidden.push(".part");
    let partial = path.with_file_name(hidden);
    let written = std::fs::write(&partial, bytes).and_then(|()| std::fs::rename(&partial, path));
    written
        .inspect_err(|_| drop(std::fs::remove_file(&partial)))
        .with_context(|| format!("cannot write {}", path.display()))
}
