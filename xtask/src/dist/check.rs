//! Installs each package in a fresh environment, and generates an image there.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::{Kind, Release};
use crate::shell::{output, program, run, say};

/// Checks the packages. All of them must generate the same image as the release binary.
pub(super) fn check(release: &Release, kinds: &[Kind]) -> Result<()> {
    let work = tempfile::tempdir()?;
    let expected = image(program(&release.binary), work.path(), "expected.png")?;
    for kind in kinds {
        let package = release.package(*kind)?;
        say(&format!("\n── {} ──", package.display()));
        let folder = work.path().join(kind.suffix());
        std::fs::create_dir(&folder)?;
        let generated = match kind {
            Kind::Wheel => wheel(&package, &folder)?,
            Kind::Tar => tar(&package, &folder)?,
            Kind::Deb => deb(&package, &folder)?,
            Kind::Oci => oci(&package, &folder, release)?,
        };
        ensure!(
            generated == expected,
            "{} generates another image than the release binary",
            package.display()
        );
        say(&format!("installed; generated the expected image, {} bytes", generated.len()));
    }
    Ok(())
}

/// Installs the wheel in a fresh virtual environment.
fn wheel(package: &Path, folder: &Path) -> Result<Vec<u8>> {
    let venv = folder.join("venv");
    run(program("python3").args(["-m", "venv"]).arg(&venv))?;
    run(program(venv.join("bin/pip")).args(["install", "--quiet", "--no-index"]).arg(package))?;
    image(program(venv.join("bin/tintype")), folder, "image.png")
}

/// Extracts the archive, and looks for completions and manual pages.
fn tar(package: &Path, folder: &Path) -> Result<Vec<u8>> {
    run(program("tar").arg("--extract").arg("--file").arg(package).arg("--directory").arg(folder))?;
    let unpacked = match &*super::files(folder)? {
        [one] => one.clone(),
        found => bail!("the archive has {} folders at its top, instead of one", found.len()),
    };
    for file in ["share/bash-completion/completions/tintype", "share/man/man1/tintype-serve.1", "LICENSE"] {
        ensure!(unpacked.join(file).is_file(), "the archive lacks {file}");
    }
    image(program(unpacked.join("bin/tintype")), folder, "image.png")
}

/// Installs the Debian package with apt in a minimal Debian system, which is downloaded.
fn deb(package: &Path, folder: &Path) -> Result<Vec<u8>> {
    let system = folder.join("system");
    let codename = output(program("sh").args(["-c", ". /etc/os-release; echo $VERSION_CODENAME"]))?;
    let name = package.file_name().context("no file name")?.to_string_lossy().into_owned();
    // The package's dependencies come from the same servers as this machine's packages.
    run(program("mmdebstrap")
        .args(["--quiet", "--variant=apt"])
        .arg(format!("--customize-hook=copy-in {} /tmp", package.display()))
        .arg(format!(
            "--customize-hook=chroot \"$1\" apt-get install --yes --no-install-recommends /tmp/{name}"
        ))
        .arg(codename.trim())
        .arg(&system))
    .context("mmdebstrap failed; on Debian, run `apt-get install mmdebstrap`")?;
    in_system(&system)
}

/// Unpacks the image as a container runtime does.
fn oci(package: &Path, folder: &Path, release: &Release) -> Result<Vec<u8>> {
    let layout = folder.join("layout");
    std::fs::create_dir(&layout)?;
    run(program("tar").arg("--extract").arg("--file").arg(package).arg("--directory").arg(&layout))?;
    let bundle = folder.join("bundle");
    let image = format!("{}:{}", layout.display(), release.version);
    run(program("umoci").args(["unpack", "--rootless", "--image", &image]).arg(&bundle))?;
    in_system(&bundle.join("rootfs"))
}

/// Generates an image with a folder as the root of the file system.
fn in_system(system: &Path) -> Result<Vec<u8>> {
    let mut command = program("unshare");
    command.args(["--map-root-user", "--root"]).arg(system).arg("/usr/bin/tintype");
    image_at(command, Path::new("/tmp"), &system.join("tmp"), "image.png")
}

/// Generates an image with the program that `command` starts.
fn image(command: Command, folder: &Path, name: &str) -> Result<Vec<u8>> {
    image_at(command, folder, folder, name)
}

/// Generates an image into `written`, a folder as the started program sees it. It is `folder` outside.
fn image_at(mut command: Command, written: &Path, folder: &Path, name: &str) -> Result<Vec<u8>> {
    command.env_clear().args(["generate", "a fox", "--seed", "11", "--output"]).arg(written.join(name));
    run(&mut command)?;
    let bytes = std::fs::read(folder.join(name))?;
    ensure!(bytes.starts_with(b"\x89PNG"), "{name} is not a PNG file");
    Ok(bytes)
}
