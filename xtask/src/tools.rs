//! Programs from crates.io that benchmarks, tests and packages need: built once into the user's cache folder.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::python::cache_folder;
use crate::shell::{cargo, run, say};

/// The load generator. It keeps a constant request rate, and measures latency from the time at which a
/// request was due.
pub(crate) const OHA: Tool = Tool { name: "oha", version: "1.16.0" };

/// The program that makes Debian packages.
pub(crate) const CARGO_DEB: Tool = Tool { name: "cargo-deb", version: "3.8.0" };

/// The tests of an S3 server that the authors of the crate `s3s` publish. The version is that of `s3s`.
pub(crate) const S3S_E2E: Tool = Tool { name: "s3s-e2e", version: "0.14.1" };

/// A program on crates.io.
pub(crate) struct Tool {
    name: &'static str,
    version: &'static str,
}

/// The path of a program; builds it if it is missing.
pub(crate) fn installed(tool: &Tool) -> Result<PathBuf> {
    let Tool { name, version } = tool;
    let root = cache_folder()?.join(format!("{name}-{version}"));
    let binary = root.join("bin").join(name);
    if !binary.exists() {
        say(&format!("building {name} {version} …"));
        let arguments = ["install", name, "--version", version, "--locked", "--quiet", "--root"];
        run(cargo(&arguments).arg(&root)).with_context(|| format!("failed to install {name}"))?;
    }
    Ok(binary)
}
