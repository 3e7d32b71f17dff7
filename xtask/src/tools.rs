//! Programs from the registry that are no part of the product: built once, kept in the user's cache folder.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::python::cache_folder;
use crate::shell::{cargo, run, say};

/// The load tool: it holds a rate whatever the server does, and counts from when a request was due.
const OHA: (&str, &str) = ("oha", "1.16.0");

/// The load tool's program, which is built if it is not there.
pub(crate) fn oha() -> Result<PathBuf> {
    let (name, version) = OHA;
    let root = cache_folder()?.join(format!("{name}-{version}"));
    let binary = root.join("bin").join(name);
    if !binary.exists() {
        say(&format!("building {name} {version} …"));
        let words = ["install", name, "--version", version, "--locked", "--quiet", "--root"];
        run(cargo(&words).arg(&root)).with_context(|| format!("the bench needs the load tool {name}"))?;
    }
    Ok(binary)
}
