//! Programs from crates.io that the benchmarks need: built once into the user's cache folder.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::python::cache_folder;
use crate::shell::{cargo, run, say};

/// The load generator. It keeps a constant request rate, and measures latency from the time at which a
/// request was due.
const OHA: (&str, &str) = ("oha", "1.16.0");

/// The path of the load generator; builds it if it is missing.
pub(crate) fn oha() -> Result<PathBuf> {
    let (name, version) = OHA;
    let root = cache_folder()?.join(format!("{name}-{version}"));
    let binary = root.join("bin").join(name);
    if !binary.exists() {
        say(&format!("building {name} {version} …"));
        let arguments = ["install", name, "--version", version, "--locked", "--quiet", "--root"];
        run(cargo(&arguments).arg(&root))
            .with_context(|| format!("failed to install the load generator {name}"))?;
    }
    Ok(binary)
}
