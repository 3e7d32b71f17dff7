//! `cargo xtask dist`: the packages of a release for this machine's architecture, in the folder `dist`.

mod check;
mod package;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::shell::{cargo, output, program, root, run, say};
use crate::stages::binary;

/// A kind of package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A wheel for PyPI.
    Wheel,
    /// A `.tar.gz` with the binary, completions and manual pages.
    Tar,
    /// A Debian package.
    Deb,
    /// An OCI image layout in a `.tar`.
    Oci,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Wheel, Self::Tar, Self::Deb, Self::Oci];

    fn named(name: &str) -> Result<Self> {
        Ok(match name {
            "wheel" => Self::Wheel,
            "tar" => Self::Tar,
            "deb" => Self::Deb,
            "oci" => Self::Oci,
            name => bail!("unknown package `{name}`: use wheel, tar, deb or oci"),
        })
    }

    /// The end of the package's file name.
    fn suffix(self) -> &'static str {
        match self {
            Self::Wheel => ".whl",
            Self::Tar => ".tar.gz",
            Self::Deb => ".deb",
            Self::Oci => ".oci.tar",
        }
    }
}

/// What all packages contain.
struct Release {
    version: String,
    /// The time of the commit, in seconds since 1970. All files in packages have this time, so that two builds
    /// of a commit make equal packages.
    time: u64,
    /// The folder of the packages.
    folder: PathBuf,
    /// The folder of files that are generated for the packages: `completions` and `man`.
    generated: PathBuf,
    /// The release binary.
    binary: PathBuf,
}

/// Makes the packages that `arguments` name, by default all, or checks them with `--check`.
pub(crate) fn dist(arguments: &[&str]) -> Result<()> {
    let (options, names): (Vec<&str>, Vec<&str>) =
        arguments.iter().partition(|argument| argument.starts_with("--"));
    if let Some(unknown) = options.iter().find(|option| **option != "--check") {
        bail!("unknown option `{unknown}`: `cargo xtask dist` knows only `--check`");
    }
    let mut kinds = names.into_iter().map(Kind::named).collect::<Result<Vec<_>>>()?;
    if kinds.is_empty() {
        kinds.extend(Kind::ALL);
    }
    let release = Release::build()?;
    if !options.is_empty() {
        return check::check(&release, &kinds);
    }
    for kind in kinds {
        say(&format!("\n── {} ──", kind.suffix()));
        release.remove(kind)?;
        match kind {
            Kind::Wheel => package::wheel(&release)?,
            Kind::Tar => package::tar(&release)?,
            Kind::Deb => package::deb(&release)?,
            Kind::Oci => package::oci(&release)?,
        }
    }
    release.write_checksums()
}

impl Release {
    /// Builds the binary and the generated files.
    fn build() -> Result<Self> {
        run(&mut cargo(&["build", "--release", "--locked", "--package", "tintype"]))?;
        let binary = binary()?;
        let printed = output(program(&binary).arg("--version"))?;
        let version = printed.trim().strip_prefix("tintype ").context("no version")?.to_owned();
        let time = output(program("git").args(["log", "-1", "--format=%ct"]))?;
        let time = time.trim().parse().context("the commit has no time")?;
        let folder = root().join("dist");
        let generated = binary.with_file_name("dist");
        std::fs::create_dir_all(&folder)?;
        std::fs::create_dir_all(generated.join("completions"))?;
        for (shell, name) in [("bash", "tintype.bash"), ("zsh", "_tintype"), ("fish", "tintype.fish")] {
            let script = output(program(&binary).args(["completions", shell]))?;
            std::fs::write(generated.join("completions").join(name), script)?;
        }
        run(program(&binary).arg("man").arg(generated.join("man")))?;
        Ok(Self { version, time, folder, generated, binary })
    }

    /// The files of a kind in the folder of the packages.
    fn packages(&self, kind: Kind) -> Result<Vec<PathBuf>> {
        let is_kind = |path: &PathBuf| path.to_string_lossy().ends_with(kind.suffix());
        Ok(files(&self.folder)?.into_iter().filter(is_kind).collect())
    }

    /// The only file of a kind.
    fn package(&self, kind: Kind) -> Result<PathBuf> {
        match &*self.packages(kind)? {
            [one] => Ok(one.clone()),
            found => {
                bail!("{} files `*{}` in {}: run `cargo xtask dist` first", found.len(), kind.suffix(), {
                    self.folder.display()
                })
            }
        }
    }

    fn remove(&self, kind: Kind) -> Result<()> {
        for path in self.packages(kind)? {
            std::fs::remove_file(path)?;
        }
        Ok(())
    }

    /// Writes and prints the SHA-256 sums of all packages, in the format of `sha256sum`.
    fn write_checksums(&self) -> Result<()> {
        let mut sums = String::new();
        for kind in Kind::ALL {
            for path in self.packages(kind)? {
                let name = path.file_name().context("no file name")?.to_string_lossy().into_owned();
                writeln!(sums, "{}  {name}", hex::encode(Sha256::digest(std::fs::read(&path)?)))?;
            }
        }
        std::fs::write(self.folder.join("SHA256SUMS"), &sums)?;
        say(&format!("\n{sums}"));
        Ok(())
    }
}

/// The paths in a folder, sorted.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("failed to list {}", folder.display()))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_names_and_different_suffixes() {
        for (name, kind) in ["wheel", "tar", "deb", "oci"].into_iter().zip(Kind::ALL) {
            assert_eq!(Kind::named(name).expect("a kind"), kind);
        }
        assert!(Kind::named("rpm").is_err());
        for (index, kind) in Kind::ALL.into_iter().enumerate() {
            let others = Kind::ALL.into_iter().skip(index + 1);
            assert!(others.into_iter().all(|other| !other.suffix().ends_with(kind.suffix())), "{kind:?}");
        }
    }
}
