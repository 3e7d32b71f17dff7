//! The function's code: a zip file with the program as `bootstrap`, and optionally a model folder and
//! settings.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::DeflateEncoder;
use rawzip::{CompressionMethod, ZipArchiveWriter};
use sha2::{Digest, Sha256};

use crate::binary::{Architecture, Binary, IncompatibleBinary};

/// Largest size of a function's unzipped code, in bytes (Lambda's quota, "250 MB").
pub const MAX_UNZIPPED_BYTES: u64 = 250 << 20;

/// The function's code, ready for the upload.
#[derive(Clone, Debug)]
pub struct Package {
    /// The program's architecture.
    pub architecture: Architecture,
    /// The zip file.
    pub zip: Vec<u8>,
    /// Total size of the files, in bytes.
    pub unzipped: u64,
}

/// Why the package could not be built.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// The program cannot run on Lambda.
    #[error("{} cannot run on Lambda", path.display())]
    Incompatible {
        /// The program.
        path: PathBuf,
        /// The cause.
        #[source]
        why: IncompatibleBinary,
    },
    /// The code exceeds [`MAX_UNZIPPED_BYTES`]; the value is its size in bytes.
    #[error(
        "the function's code has {} MB, but Lambda allows {} MB; run the model on a SageMaker endpoint \
         instead: build its container with deploy/docker/Dockerfile, and deploy it with `--image` and `--model-data`",
        .0 >> 20, MAX_UNZIPPED_BYTES >> 20
    )]
    TooLarge(u64),
    /// The folder is not a model folder.
    #[error("{} is not a model folder: model_index.json is missing", .0.display())]
    NoModel(PathBuf),
    /// A file could not be read.
    #[error("failed to read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The zip file could not be written to memory.
    #[error("failed to write the zip file")]
    Unwritable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Package {
    /// Packs a program, the files of a model under `model/`, and settings as `tintype.toml`, where the
    /// program looks for them.
    ///
    /// # Errors
    /// [`PackageError`]. Sizes and kinds are checked before files are read.
    pub fn build(
        program: &Path,
        model: Option<&Path>,
        settings: Option<&Path>,
    ) -> Result<Self, PackageError> {
        let mut files = match model {
            Some(folder) => model_files(folder)?,
            None => Vec::new(),
        };
        files.extend(settings.map(|path| (path.to_owned(), "tintype.toml".to_owned())));
        let mut unzipped = size(program)?;
        for (path, _) in &files {
            unzipped += size(path)?;
        }
        if unzipped > MAX_UNZIPPED_BYTES {
            return Err(PackageError::TooLarge(unzipped));
        }
        let code = read(program)?;
        let incompatible = |why| PackageError::Incompatible { path: program.to_owned(), why };
        let binary = Binary::read(&code).map_err(incompatible)?;
        binary.check().map_err(incompatible)?;
        let unwritable = |error: io::Error| PackageError::Unwritable(error.into());
        let mut archive = ZipArchiveWriter::new(Vec::new());
        add(&mut archive, "bootstrap", 0o755, &code).map_err(unwritable)?;
        for (path, name) in &files {
            add(&mut archive, name, 0o644, &read(path)?).map_err(unwritable)?;
        }
        let zip = archive.finish().map_err(|error| PackageError::Unwritable(error.into()))?;
        Ok(Self { architecture: binary.architecture, zip, unzipped })
    }

    /// The object key in the artifact bucket. It contains the code's hash, so that CloudFormation detects a
    /// change.
    pub fn key(&self) -> String {
        format!("{}.zip", hex::encode(Sha256::digest(&self.zip)))
    }
}

/// The total size of the files of a model that a package contains, in bytes.
///
/// # Errors
/// [`PackageError::NoModel`], or [`PackageError::Unreadable`] also for a file that is not regular.
pub fn model_size(folder: &Path) -> Result<u64, PackageError> {
    model_files(folder)?.iter().try_fold(0, |total, (path, _)| Ok(total + size(path)?))
}

fn size(path: &Path) -> Result<u64, PackageError> {
    let unreadable = |source| PackageError::Unreadable { path: path.to_owned(), source };
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(unreadable(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")));
    }
    Ok(metadata.len())
}

fn read(path: &Path) -> Result<Vec<u8>, PackageError> {
    fs::read(path).map_err(|source| PackageError::Unreadable { path: path.to_owned(), source })
}

fn add(archive: &mut ZipArchiveWriter<Vec<u8>>, name: &str, mode: u32, bytes: &[u8]) -> io::Result<()> {
    let file = archive.new_file(name).unix_permissions(mode).compression_method(CompressionMethod::DEFLATE);
    let (mut entry, config) = file.start().map_err(io::Error::other)?;
    // Weights hardly compress, and the operator waits.
    let mut writer = config.wrap(DeflateEncoder::new(&mut entry, Compression::fast()));
    writer.write_all(bytes)?;
    let (encoder, descriptor) = writer.finish().map_err(io::Error::other)?;
    encoder.finish()?;
    entry.finish(descriptor).map_err(io::Error::other)?;
    Ok(())
}

/// The files of a model with their names in the zip file, sorted. Hidden files are left out.
fn model_files(folder: &Path) -> Result<Vec<(PathBuf, String)>, PackageError> {
    if !folder.join("model_index.json").is_file() {
        return Err(PackageError::NoModel(folder.to_owned()));
    }
    let mut files = Vec::new();
    collect(folder, "model", &mut files)?;
    files.sort();
    Ok(files)
}

fn collect(folder: &Path, name: &str, files: &mut Vec<(PathBuf, String)>) -> Result<(), PackageError> {
    let unreadable = |source| PackageError::Unreadable { path: folder.to_owned(), source };
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let Some(part) = entry.file_name().to_str().map(str::to_owned) else { continue };
        if part.starts_with('.') {
            continue;
        }
        let (path, name) = (entry.path(), format!("{name}/{part}"));
        // The hub's cache consists of symbolic links.
        let meta = fs::metadata(&path).map_err(unreadable)?;
        if meta.is_dir() {
            collect(&path, &name, files)?;
        } else {
            files.push((path, name));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::DeflateDecoder;
    use rawzip::ZipArchive;

    use super::*;

    fn own() -> PathBuf {
        std::env::current_exe().expect("a test has a path")
    }

    fn model(bytes: u64) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(folder.path().join("unet/.cache")).expect("made");
        fs::write(folder.path().join("model_index.json"), "{}").expect("written");
        fs::write(folder.path().join(".gitattributes"), "x").expect("written");
        fs::write(folder.path().join("unet/.cache/x"), "x").expect("written");
        // A file with a hole: it has its size without being written.
        let weights = fs::File::create(folder.path().join("unet/weights.safetensors")).expect("made");
        weights.set_len(bytes).expect("sized");
        folder
    }

    /// Name, mode and content of every file.
    fn contents(zip: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let archive = ZipArchive::from_slice(zip).expect("a zip");
        let mut entries = archive.entries();
        let mut found = Vec::new();
        while let Some(entry) = entries.next_entry().expect("an entry") {
            let name = String::from_utf8(entry.file_path().as_ref().to_vec()).expect("UTF-8");
            let data = archive.get_entry(entry.wayfinder()).expect("its data");
            let mut bytes = Vec::new();
            let mut reader = data.verifying_reader(DeflateDecoder::new(data.data()));
            reader.read_to_end(&mut bytes).expect("whole");
            found.push((name, entry.mode().value() & 0o777, bytes));
        }
        found
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_package_has_the_program_the_model_and_the_settings() {
        let folder = model(1_000);
        let settings = folder.path().join(".mine.toml");
        fs::write(&settings, "queue = 1").expect("written");
        let package = Package::build(&own(), Some(folder.path()), Some(&settings)).expect("packed");
        let files = contents(&package.zip);
        let names: Vec<_> = files.iter().map(|(name, mode, _)| (name.as_str(), *mode)).collect();
        let expected = [
            ("bootstrap", 0o755),
            ("model/model_index.json", 0o644),
            ("model/unet/weights.safetensors", 0o644),
            ("tintype.toml", 0o644),
        ];
        assert_eq!(names, expected);
        assert_eq!(files[0].2, fs::read(own()).expect("readable"));
        assert_eq!(files[2].2, vec![0; 1_000]);
        assert_eq!(package.unzipped, files.iter().map(|(_, _, bytes)| bytes.len() as u64).sum::<u64>());
        let again = Package::build(&own(), Some(folder.path()), Some(&settings)).expect("packed");
        assert_eq!(again.key(), package.key(), "the same files have the same name");
    }

    #[test]
    fn too_large_code_is_rejected_with_the_remedy() {
        let folder = model(MAX_UNZIPPED_BYTES);
        let refused = Package::build(&own(), Some(folder.path()), None).expect_err("too large");
        assert!(matches!(refused, PackageError::TooLarge(bytes) if bytes > MAX_UNZIPPED_BYTES));
        assert!(refused.to_string().contains("--image"), "{refused}");
    }

    #[test]
    fn a_fifo_among_the_files_is_refused() {
        let folder = model(1_000);
        let fifo = folder.path().join("unet/fifo");
        let made = std::process::Command::new("mkfifo").arg(&fifo).status().expect("mkfifo");
        assert!(made.success());
        let model = Package::build(&own(), Some(folder.path()), None);
        let settings = Package::build(&own(), None, Some(&fifo));
        for refused in [model, settings, Package::build(&fifo, None, None)] {
            let Err(PackageError::Unreadable { path, source }) = refused else { panic!("{refused:?}") };
            assert_eq!((path, source.to_string().as_str()), (fifo.clone(), "not a regular file"));
        }
    }

    #[test]
    fn an_invalid_model_or_program_is_rejected() {
        let folder = tempfile::tempdir().expect("a folder");
        let refused = Package::build(&own(), Some(folder.path()), None);
        assert!(matches!(refused, Err(PackageError::NoModel(_))));
        let script = folder.path().join("script");
        fs::write(&script, "#!/bin/sh\n").expect("written");
        assert!(matches!(Package::build(&script, None, None), Err(PackageError::Incompatible { .. })));
        assert!(matches!(
            Package::build(&folder.path().join("none"), None, None),
            Err(PackageError::Unreadable { .. })
        ));
    }
}
