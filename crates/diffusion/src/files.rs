//! A model folder, on disk or inside the binary.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::revision::Fingerprint;
use crate::{ModelError, foreign};

/// Maximum size, in bytes, of a file that is read as a whole. Vocabularies have a few million bytes.
const MAX_SIZE: u64 = 256 << 20;

/// Files that are part of the program: path inside the model folder, with `/`, and content.
pub type EmbeddedFiles = &'static [(&'static str, &'static [u8])];

/// A model in the layout that diffusers publishes: `model_index.json`, `unet/config.json`,
/// `unet/diffusion_pytorch_model.safetensors` and so on.
///
/// Files are named by their path inside the folder, with `/`.
#[derive(Clone, Debug)]
pub struct ModelFiles {
    source: FileSource,
    /// What was read, by this value and its clones.
    fingerprint: Arc<Fingerprint>,
    /// The revision that version 0.1 gave these files.
    revision_before_0_2: Option<String>,
    /// The SHA-256 of the denoiser's weights, if it need not be computed.
    model_hash: Option<String>,
}

#[derive(Clone)]
enum FileSource {
    Folder(PathBuf),
    Embedded(EmbeddedFiles),
}

impl std::fmt::Debug for FileSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            FileSource::Folder(path) => write!(f, "Folder({})", path.display()),
            FileSource::Embedded(files) => write!(f, "Embedded({} files)", files.len()),
        }
    }
}

impl ModelFiles {
    fn new(source: FileSource) -> Self {
        Self { source, fingerprint: Arc::default(), revision_before_0_2: None, model_hash: None }
    }

    /// Sets the revision that version 0.1 gave these files, so that the images that it stored are found.
    #[must_use]
    pub fn with_revision_before_0_2(mut self, revision: &str) -> Self {
        self.revision_before_0_2 = Some(revision.to_owned());
        self
    }

    /// The revision that version 0.1 gave these files, if it was set.
    pub(crate) fn revision_before_0_2(&self) -> Option<String> {
        self.revision_before_0_2.clone()
    }

    /// Sets the SHA-256 of the denoiser's weights as 64 lower-case hexadecimal digits, so that it need not be computed.
    #[must_use]
    pub fn with_model_hash(mut self, sha256: &str) -> Self {
        self.model_hash = Some(sha256.to_owned());
        self
    }

    /// The SHA-256 of the denoiser's weights, if it was set.
    pub(crate) fn model_hash(&self) -> Option<String> {
        self.model_hash.clone()
    }

    /// The model in this folder.
    ///
    /// # Errors
    /// [`ModelError::MissingFile`] if there is no `model_index.json` in it; [`ModelError::NotAFolder`] for a file.
    pub fn folder(path: impl Into<PathBuf>) -> Result<Self, ModelError> {
        let path = path.into();
        if path.exists() && !path.is_dir() {
            return Err(foreign::not_a_folder(&path));
        }
        let files = Self::new(FileSource::Folder(path.clone()));
        if !files.exists("model_index.json") {
            let checkpoints = foreign::folder_of_checkpoints(&path);
            return Err(checkpoints.unwrap_or_else(|| files.missing("model_index.json")));
        }
        Ok(files)
    }

    /// The model that is embedded in the binary.
    ///
    /// # Errors
    /// [`ModelError::MissingFile`] if there is no `model_index.json` among the files.
    pub fn embedded(files: EmbeddedFiles) -> Result<Self, ModelError> {
        let files = Self::new(FileSource::Embedded(files));
        if !files.exists("model_index.json") {
            return Err(files.missing("model_index.json"));
        }
        Ok(files)
    }

    /// What error messages call this file: its whole path, or its path inside `(built-in model)`.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        match &self.source {
            FileSource::Folder(folder) => folder.join(name),
            FileSource::Embedded(_) => Path::new("(built-in model)").join(name),
        }
    }

    /// Whether the model has this file.
    #[must_use]
    pub fn exists(&self, name: &str) -> bool {
        match &self.source {
            FileSource::Folder(folder) => is_inside(name) && folder.join(name).is_file(),
            FileSource::Embedded(files) => files.iter().any(|(path, _)| *path == name),
        }
    }

    /// The file's content.
    ///
    /// # Errors
    /// [`ModelError::MissingFile`] or [`ModelError::Unreadable`].
    pub fn read_bytes(&self, name: &str) -> Result<Cow<'static, [u8]>, ModelError> {
        let bytes = match &self.source {
            FileSource::Folder(folder) if is_inside(name) => {
                let path = folder.join(name);
                read_regular(&path).map(Cow::Owned).map_err(|source| match source.kind() {
                    io::ErrorKind::NotFound => self.missing(name),
                    _ => ModelError::Unreadable { path, source },
                })
            }
            FileSource::Folder(_) => Err(self.missing(name)),
            FileSource::Embedded(_) => {
                self.embedded_bytes(name).map(Cow::Borrowed).ok_or_else(|| self.missing(name))
            }
        }?;
        if foreign::is_lfs_pointer(&bytes) {
            return Err(ModelError::LfsPointer { path: self.path(name) });
        }
        self.fingerprint.add(name.to_owned(), &bytes);
        Ok(bytes)
    }

    /// The file's content as text, without the byte order mark that some editors write.
    ///
    /// # Errors
    /// As [`ModelFiles::read_bytes`], and [`ModelError::Malformed`] if it is not UTF-8.
    pub fn read_text(&self, name: &str) -> Result<String, ModelError> {
        let bytes = self.read_bytes(name)?;
        let utf8 = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&bytes);
        let found = match utf8 {
            [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => "text in UTF-8, and found UTF-16",
            _ => "text in UTF-8",
        };
        String::from_utf8(utf8.to_vec()).map_err(|source| ModelError::Malformed {
            path: self.path(name),
            expected: found.to_owned(),
            source: Some(Box::new(source)),
        })
    }

    /// The file's content, parsed as JSON.
    ///
    /// # Errors
    /// As [`ModelFiles::read_bytes`], and [`ModelError::Malformed`] with the parser's complaint.
    pub fn read_json<T: DeserializeOwned>(&self, name: &str) -> Result<T, ModelError> {
        let text = self.read_text(name)?;
        serde_json::from_str(&without_infinity(&text)).map_err(|source| ModelError::Malformed {
            path: self.path(name),
            expected: format!("JSON with {}", expectation(name)),
            source: Some(Box::new(source)),
        })
    }

    /// A short text that is another one if anything that was read so far is.
    pub(crate) fn revision(&self) -> String {
        self.fingerprint.revision()
    }

    /// Where a reader that bypasses [`ModelFiles::read_bytes`] enters what it reads.
    pub(crate) fn fingerprint(&self) -> Arc<Fingerprint> {
        Arc::clone(&self.fingerprint)
    }

    /// [`ModelError::MissingFile`] for this file.
    #[must_use]
    pub fn missing(&self, name: &str) -> ModelError {
        ModelError::MissingFile { path: self.path(name), expected: expectation(name).to_owned() }
    }

    /// The error for a component without weights that can be read, the usual name of which is `name`.
    pub(crate) fn missing_weights(&self, component: &str, name: &str) -> ModelError {
        let folder = match &self.source {
            FileSource::Folder(folder) => foreign::unreadable_weights(folder, component),
            FileSource::Embedded(_) => None,
        };
        folder.unwrap_or_else(|| self.missing(&format!("{component}/{name}")))
    }

    /// The content of an embedded file, or `None` if it is not there or the model is a folder.
    pub(crate) fn embedded_bytes(&self, name: &str) -> Option<&'static [u8]> {
        match &self.source {
            FileSource::Folder(_) => None,
            FileSource::Embedded(files) => {
                files.iter().find(|(path, _)| *path == name).map(|(_, content)| *content)
            }
        }
    }
}

/// The whole content of a regular file of at most [`MAX_SIZE`]. Reading a FIFO or a device might never end.
fn read_regular(path: &Path) -> io::Result<Vec<u8>> {
    let file = open_regular(path)?;
    let size = file.metadata()?.len();
    if size > MAX_SIZE {
        let message = format!("the file has {size} bytes; the maximum is {MAX_SIZE}");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    let mut content = Vec::new();
    file.take(MAX_SIZE).read_to_end(&mut content)?;
    Ok(content)
}

/// Opens a file unless it is a FIFO, a socket or a device, which is not even opened: that may wait for a writer.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    File::open(path)
}

/// JSON as Python writes it, where a number may be infinite: a schedule's bound that is off. Here it becomes the
/// largest number there is.
fn without_infinity(text: &str) -> Cow<'_, str> {
    if text.contains(": Infinity") || text.contains(": -Infinity") {
        let text = text.replace(": Infinity", &format!(": {:e}", f64::MAX));
        Cow::Owned(text.replace(": -Infinity", &format!(": {:e}", f64::MIN)))
    } else {
        Cow::Borrowed(text)
    }
}

/// A name that stays inside the folder: model files are other people's, and an index file names further files.
fn is_inside(name: &str) -> bool {
    !name.is_empty() && Path::new(name).components().all(|part| matches!(part, Component::Normal(_)))
}

/// What the layout puts into a file of this name.
fn expectation(name: &str) -> &'static str {
    match name {
        "model_index.json" => "the model's list of components, in the folder layout that diffusers publishes",
        _ if name.ends_with("scheduler_config.json") => "the scheduler's configuration",
        _ if name.ends_with("tokenizer.json") => "a tokenizer of the package tokenizers",
        _ if name.ends_with("vocab.json") => "the tokenizer's vocabulary: an object from token to number",
        _ if name.ends_with("merges.txt") => "the tokenizer's merges, one pair a line",
        _ if name.ends_with("config.json") => "the component's configuration",
        _ if name.ends_with(".index.json") => "a `weight_map` from tensors to the files that hold them",
        _ if name.ends_with(".safetensors") => "the component's weights as safetensors",
        _ => "a file of the folder layout that diffusers publishes",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static EMBEDDED: EmbeddedFiles =
        &[("model_index.json", b"{}"), ("unet/config.json", br#"{"in_channels":4}"#)];

    #[derive(serde::Deserialize)]
    struct Config {
        in_channels: usize,
    }

    #[test]
    fn folder_and_embedded_read_the_same() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(folder.path().join("unet")).expect("a folder");
        for (name, content) in EMBEDDED {
            fs::write(folder.path().join(name), content).expect("a file");
        }
        for files in [ModelFiles::folder(folder.path()), ModelFiles::embedded(EMBEDDED)] {
            let files = files.expect("a model");
            let config: Config = files.read_json("unet/config.json").expect("a configuration");
            assert_eq!(config.in_channels, 4);
            assert!(files.exists("unet/config.json") && !files.exists("vae/config.json"));
        }
    }

    #[test]
    fn errors_name_the_file_and_the_expectation() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let error = ModelFiles::folder(folder.path()).expect_err("no index").to_string();
        assert!(error.contains("model_index.json") && error.contains("list of components"), "{error}");

        fs::write(folder.path().join("model_index.json"), "{").expect("a file");
        let files = ModelFiles::folder(folder.path()).expect("a model");
        let error = files.read_json::<Config>("model_index.json").err().expect("broken JSON");
        assert!(matches!(error, ModelError::Malformed { source: Some(_), .. }), "{error}");
        let error = files.read_json::<Config>("vae/config.json").err().expect("no file").to_string();
        assert!(error.contains("vae/config.json") && error.contains("configuration"), "{error}");
    }

    #[test]
    fn byte_order_marks_and_pointers_are_recognized() {
        static FILES: EmbeddedFiles = &[
            ("model_index.json", b"\xEF\xBB\xBF{\"in_channels\":4}"),
            ("a.json", b"\xFF\xFE{\0}\0"),
            ("tokenizer/merges.txt", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
        ];
        let files = ModelFiles::embedded(FILES).expect("a model");
        assert_eq!(files.read_json::<Config>("model_index.json").expect("JSON").in_channels, 4);
        let error = files.read_text("a.json").expect_err("UTF-16").to_string();
        assert!(error.contains("a.json") && error.contains("UTF-16"), "{error}");
        let error = files.read_text("tokenizer/merges.txt").expect_err("a pointer").to_string();
        assert!(error.contains("merges.txt") && error.contains("git lfs pull"), "{error}");
    }

    #[test]
    fn infinite_numbers_are_read() {
        static FILES: EmbeddedFiles = &[("model_index.json", br#"{"low": -Infinity, "high": Infinity}"#)];
        #[derive(serde::Deserialize)]
        struct Bounds {
            low: f64,
            high: f64,
        }
        let files = ModelFiles::embedded(FILES).expect("a model");
        let bounds: Bounds = files.read_json("model_index.json").expect("numbers");
        assert_eq!((bounds.low, bounds.high), (f64::MIN, f64::MAX));
    }

    #[test]
    fn names_stay_inside_the_folder() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(folder.path().join("model")).expect("a folder");
        fs::write(folder.path().join("model/model_index.json"), "{}").expect("a file");
        fs::write(folder.path().join("secret"), "x").expect("a file");
        let files = ModelFiles::folder(folder.path().join("model")).expect("a model");
        for name in ["../secret", "/etc/hostname", "a/../../secret", ""] {
            assert!(!files.exists(name) && files.read_bytes(name).is_err(), "{name}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn devices_pipes_and_huge_files_are_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = |name: &str| folder.path().join(name);
        fs::write(path("model_index.json"), "{}").expect("a file");
        std::os::unix::fs::symlink("/dev/zero", path("device.json")).expect("a link");
        let made = std::process::Command::new("mkfifo").arg(path("pipe.json")).status().expect("mkfifo");
        assert!(made.success());
        File::create(path("huge.json")).and_then(|file| file.set_len(1 << 40)).expect("a sparse file");
        fs::create_dir(path("folder.json")).expect("a folder");
        let files = ModelFiles::folder(folder.path()).expect("a model");
        for (name, reason) in [
            ("device.json", "not a regular file"),
            ("pipe.json", "not a regular file"),
            ("folder.json", "not a regular file"),
            ("huge.json", "the maximum is 268435456"),
        ] {
            let Err(ModelError::Unreadable { path, source }) = files.read_bytes(name) else {
                panic!("{name} was read");
            };
            assert!(path.ends_with(name) && source.to_string().contains(reason), "{name}: {source}");
        }
        for name in ["device.json", "pipe.json"] {
            let error = ModelFiles::folder(path(name)).expect_err("no folder").to_string();
            assert!(error.contains("not a regular file"), "{error}");
        }
    }
}
