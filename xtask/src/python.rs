//! Python environments for other people's clients, each pinned by a requirements file.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::shell::{self, program, run};

/// A virtual environment that holds exactly what a requirements file pins.
pub(crate) struct Venv(PathBuf);

impl Venv {
    /// Makes the environment, or takes the one that is there if it was made from the same requirements. It lives in
    /// the user's cache folder, so that a fresh clone need not download everything again.
    pub(crate) fn ensure(name: &str, requirements: &str) -> Result<Self> {
        let requirements = shell::root().join(requirements);
        let wanted = std::fs::read_to_string(&requirements)
            .with_context(|| format!("cannot read {}", requirements.display()))?;
        let venv = Self(cache_folder()?.join(name));
        let marker = venv.0.join("made-from-requirements.txt");
        if std::fs::read_to_string(&marker).is_ok_and(|made_from| made_from == wanted) {
            return Ok(venv);
        }
        run(program("python3").args(["-m", "venv", "--clear"]).arg(&venv.0)).context(
            "a Python virtual environment is needed for the tests' clients; on Debian: \
             apt-get install python3-venv",
        )?;
        run(program(venv.program("pip")).args(["install", "--quiet", "--requirement"]).arg(&requirements))?;
        std::fs::write(&marker, wanted)?;
        Ok(venv)
    }

    /// The path of a program that the environment holds.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.0.join("bin").join(name)
    }
}

fn cache_folder() -> Result<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(&std::env::var_os("HOME").context("HOME is not set")?).join(".cache"),
    };
    let folder = base.join("tintype");
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}
