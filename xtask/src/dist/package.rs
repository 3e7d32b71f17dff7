//! Making the packages.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::{Kind, Release, files};
use crate::python::Venv;
use crate::shell::{output, program, root, run};
use crate::tools::{self, CARGO_DEB};

/// Makes the wheel. maturin gives it the manylinux tag that the binary's GLIBC symbols allow.
pub(super) fn wheel(release: &Release) -> Result<()> {
    let venv = Venv::ensure("dist-venv", "xtask/dist-requirements.txt")?;
    let mut maturin = program(venv.program("maturin"));
    run(maturin.args(["build", "--release", "--locked", "--out"]).arg(&release.folder))?;
    let mut times = program(venv.program("python"));
    times
        .arg("xtask/src/dist/wheel_times.py")
        .arg(release.package(Kind::Wheel)?)
        .arg(release.time.to_string());
    run(&mut times)
}

/// Makes the `.tar.gz`.
pub(super) fn tar(release: &Release) -> Result<()> {
    let name = format!("tintype-{}-{}-{}", release.version, std::env::consts::ARCH, std::env::consts::OS);
    let file = File::create(release.folder.join(format!("{name}{}", Kind::Tar.suffix())))?;
    let mut archive = Archive::new(GzEncoder::new(file, Compression::best()), release.time);
    archive.file(&release.binary, &format!("{name}/bin/tintype"), 0o755)?;
    for document in ["README.md", "README.zh-CN.md", "CHANGELOG.md", "LICENSE", "tintype.default.toml"] {
        archive.file(&root().join(document), &format!("{name}/{document}"), 0o644)?;
    }
    for (from, to) in [
        ("completions/tintype.bash", "share/bash-completion/completions/tintype"),
        ("completions/_tintype", "share/zsh/site-functions/_tintype"),
        ("completions/tintype.fish", "share/fish/vendor_completions.d/tintype.fish"),
    ] {
        archive.file(&release.generated.join(from), &format!("{name}/{to}"), 0o644)?;
    }
    for page in files(&release.generated.join("man"))? {
        let page_name = page.file_name().context("no file name")?.to_string_lossy().into_owned();
        archive.file(&page, &format!("{name}/share/man/man1/{page_name}"), 0o644)?;
    }
    archive.tar.into_inner()?.finish()?;
    Ok(())
}

/// Makes the Debian package. Its content is listed in the manifest of the crate `tintype`.
pub(super) fn deb(release: &Release) -> Result<()> {
    let tool = tools::installed(&CARGO_DEB)?;
    let mut deb = program(tool);
    deb.args(["--package", "tintype", "--no-build", "--no-strip", "--output"]).arg(&release.folder);
    run(deb.env("SOURCE_DATE_EPOCH", release.time.to_string()))
}

/// Makes an OCI image layout: the binary, the shared libraries that it needs, and the certificates of the public
/// authorities.
pub(super) fn oci(release: &Release) -> Result<()> {
    let work = tempfile::tempdir()?;
    let content = work.path().join("content");
    let place = |from: &Path, to: &str| -> Result<()> {
        let to = content.join(to.trim_start_matches('/'));
        std::fs::create_dir_all(to.parent().context("a path without a folder")?)?;
        std::fs::copy(from, &to).with_context(|| format!("failed to copy {}", from.display()))?;
        Ok(())
    };
    place(&release.binary, "/usr/bin/tintype")?;
    for library in shared_libraries(&release.binary)? {
        place(&library, &library.to_string_lossy())?;
    }
    place(Path::new(CERTIFICATES), CERTIFICATES)
        .context("on Debian, run `apt-get install ca-certificates`")?;
    std::fs::create_dir_all(content.join("tmp"))?;
    std::fs::create_dir_all(content.join("data"))?;
    set_times(&content, SystemTime::UNIX_EPOCH + Duration::from_secs(release.time))?;

    let layout = work.path().join("layout");
    let image = format!("{}:{}", layout.display(), release.version);
    let time = output(
        program("date").args(["--utc", "--iso-8601=seconds", "--date"]).arg(format!("@{}", release.time)),
    )?;
    let time = time.trim();
    let umoci = |arguments: &[&str]| {
        run(program("umoci").args(arguments)).context("umoci failed; on Debian, run `apt-get install umoci`")
    };
    umoci(&["init", "--layout", &layout.to_string_lossy()])?;
    umoci(&["new", "--image", &image])?;
    let history = format!("--history.created={time}");
    umoci(&["insert", "--rootless", "--image", &image, &history, &content.to_string_lossy(), "/"])?;
    let created = format!("--created={time}");
    umoci(&[
        "config",
        "--image",
        &image,
        &history,
        &created,
        "--config.entrypoint=/usr/bin/tintype",
        "--config.cmd=serve",
        "--config.env=TINTYPE_LISTEN=0.0.0.0:8080",
        "--config.env=TINTYPE_DATA_DIR=/data",
        "--config.volume=/data",
        "--config.exposedports=8080/tcp",
        "--config.label=org.opencontainers.image.source=https://github.com/tintype/tintype",
    ])?;
    umoci(&["gc", "--layout", &layout.to_string_lossy()])?;

    let name = format!("tintype-{}-{}{}", release.version, std::env::consts::ARCH, Kind::Oci.suffix());
    let mut archive = Archive::new(File::create(release.folder.join(name))?, release.time);
    archive.folder(&layout, "")?;
    archive.tar.into_inner()?;
    Ok(())
}

/// The certificates of the public authorities on Debian.
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The files of the shared libraries that a program needs, and of the program that loads them.
fn shared_libraries(binary: &Path) -> Result<Vec<PathBuf>> {
    let listed = output(program("ldd").arg(binary))?;
    let paths = listed.split_whitespace().filter(|word| word.starts_with('/'));
    let libraries: Vec<_> = paths.map(PathBuf::from).collect();
    if libraries.is_empty() {
        bail!("ldd lists no shared library of {}", binary.display());
    }
    Ok(libraries)
}

/// Sets the time of all files and folders below `path`.
fn set_times(path: &Path, time: SystemTime) -> Result<()> {
    if path.is_dir() {
        for inner in files(path)? {
            set_times(&inner, time)?;
        }
    }
    File::open(path)?.set_modified(time)?;
    Ok(())
}

/// A tar file whose entries depend only on their names and contents.
struct Archive<W: std::io::Write> {
    tar: tar::Builder<W>,
    time: u64,
}

impl<W: std::io::Write> Archive<W> {
    fn new(writer: W, time: u64) -> Self {
        Self { tar: tar::Builder::new(writer), time }
    }

    fn file(&mut self, path: &Path, name: &str, mode: u32) -> Result<()> {
        let file = File::open(path).with_context(|| format!("failed to open {}", path.display()))?;
        let mut header = tar::Header::new_gnu();
        header.set_size(file.metadata()?.len());
        header.set_mode(mode);
        header.set_mtime(self.time);
        Ok(self.tar.append_data(&mut header, name, file)?)
    }

    /// Adds the files of a folder and of its subfolders. `prefix` is empty or ends with `/`.
    fn folder(&mut self, folder: &Path, prefix: &str) -> Result<()> {
        for path in files(folder)? {
            let name = format!("{prefix}{}", path.file_name().context("no file name")?.to_string_lossy());
            if path.is_dir() {
                self.folder(&path, &format!("{name}/"))?;
            } else {
                self.file(&path, &name, 0o644)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_depends_only_on_names_and_contents() {
        let archived = || {
            let folder = tempfile::tempdir().expect("a folder");
            std::fs::create_dir(folder.path().join("b")).expect("created");
            std::fs::write(folder.path().join("b/c"), "two").expect("written");
            std::fs::write(folder.path().join("a"), "one").expect("written");
            let mut archive = Archive::new(Vec::new(), 1_700_000_000);
            archive.folder(folder.path(), "x/").expect("archived");
            archive.tar.into_inner().expect("finished")
        };
        let (first, second) = (archived(), archived());
        assert_eq!(first, second);
        let mut read = tar::Archive::new(&*first);
        let entries = read.entries().expect("entries").map(|entry| entry.expect("an entry"));
        let names: Vec<_> = entries.map(|entry| entry.path().expect("a path").into_owned()).collect();
        assert_eq!(names, [Path::new("x/a"), Path::new("x/b/c")]);
    }
}
