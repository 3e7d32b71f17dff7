//! What can be wrong with a model's files, or go wrong while it computes.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use crate::finite::Component;
use crate::foreign::FileKind;

/// Why a model cannot be loaded or run. Every message about a file names it and says what was expected of it.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A file that the model needs is not there.
    #[error("{} is missing; expected {expected}", path.display())]
    MissingFile {
        /// Where it was looked for.
        path: PathBuf,
        /// What it should hold, in words.
        expected: String,
    },
    /// A file is there and cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A file's content is not what it should be.
    #[error("{} is malformed; expected {expected}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What it should hold, in words.
        expected: String,
        /// What the parser says, if one was involved.
        #[source]
        source: Option<Box<dyn Error + Send + Sync>>,
    },
    /// A weights file lacks a tensor that the configuration calls for.
    #[error("{} has no tensor `{name}`; expected one of shape {expected:?}", file.display())]
    MissingTensor {
        /// The weights file.
        file: PathBuf,
        /// The tensor's full name.
        name: String,
        /// The shape that the configuration calls for.
        expected: Vec<usize>,
    },
    /// A tensor is there with another shape than the configuration calls for.
    #[error("tensor `{name}` in {} has the shape {found:?}; expected {expected:?}", file.display())]
    WrongShape {
        /// The weights file.
        file: PathBuf,
        /// The tensor's full name.
        name: String,
        /// The shape that the configuration calls for.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
    },
    /// A file was not downloaded: Git LFS left a pointer in its place.
    #[error(
        "{} is a Git LFS pointer and not the file itself; run `git lfs pull` in the model's folder", path.display()
    )]
    LfsPointer {
        /// The file.
        path: PathBuf,
    },
    /// A model's folder was expected, and there is a file.
    #[error("{} is {kind}, not a model folder in the layout of diffusers; {advice}", path.display())]
    NotAFolder {
        /// The path that was given.
        path: PathBuf,
        /// What is there.
        kind: FileKind,
        /// What to do.
        advice: String,
    },
    /// A component has its weights only in formats that are not read.
    #[error("{} has only {found}, but weights are read as safetensors only; {advice}", folder.display())]
    UnreadableWeights {
        /// The component's folder.
        folder: PathBuf,
        /// The names of the files.
        found: String,
        /// What to do.
        advice: String,
    },
    /// A tensor is quantized, or holds something else than numbers of a network.
    #[error(
        "tensor `{name}` in {} has the type {found}; supported: F16, BF16, F32, F64 and F8_E4M3 without scales; \
         download the model without quantization", file.display()
    )]
    WrongType {
        /// The weights file.
        file: PathBuf,
        /// The tensor's full name.
        name: String,
        /// Its type in the file.
        found: String,
    },
    /// A component's weights have tensors of an adapter beside those of the network.
    #[error(
        "{} has tensors of an adapter (LoRA or another attention processor), which are not applied: {}; fuse them \
         into the weights with diffusers: `load_lora_weights`, `fuse_lora`, `unload_lora_weights`, `save_pretrained`",
        file.display(), list(names)
    )]
    Adapter {
        /// The weights file.
        file: PathBuf,
        /// The names of the tensors, in alphabetical order.
        names: Vec<String>,
    },
    /// A configuration asks for something that this engine does not do.
    #[error("{}: `{option}` is {value}; supported: {supported}", file.display())]
    Unsupported {
        /// The configuration file.
        file: PathBuf,
        /// The option's name in it.
        option: String,
        /// The value it has.
        value: String,
        /// The values that work, in words.
        supported: String,
    },
    /// More steps were asked for than the model's schedule has levels of noise, or none.
    #[error("{}: this schedule supports 1 to {max} steps, not {steps}", file.display())]
    InvalidStepCount {
        /// The scheduler's configuration.
        file: PathBuf,
        /// The steps that were asked for.
        steps: usize,
        /// The most that there is room for.
        max: usize,
    },
    /// A model named `ORG/NAME` is not in the hub's cache.
    #[error("the model {name} is not in {}; to download it: {command}", cache.display())]
    NotInHubCache {
        /// The model's name.
        name: String,
        /// The cache that was looked in.
        cache: PathBuf,
        /// The one command that downloads it there.
        command: String,
    },
    /// Something that should be a model's name on the hub is not one.
    #[error("`{name}` is not the name of a model; expected ORG/NAME, or a folder that exists")]
    InvalidModelName {
        /// What was given.
        name: String,
    },
    /// The system refused to start a thread.
    #[error("cannot start the engine's threads")]
    Threads(#[source] Box<dyn Error + Send + Sync>),
    /// A component computed numbers that are not finite. Its weights are damaged, or they overflow for this request.
    #[error("the {component} computed NaN or infinity")]
    NotFinite {
        /// The first component that did.
        component: Component,
    },
    /// The tensor library refused an operation.
    #[error("a tensor operation failed")]
    Tensor(#[from] candle_core::Error),
}

/// The first names in backticks, and how many more there are.
fn list(names: &[String]) -> String {
    let shown = names.iter().take(3).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    match names.len() {
        0..=3 => shown,
        count => format!("{shown} and {} more", count - 3),
    }
}

impl ModelError {
    /// [`ModelError::Unsupported`] from anything that can be shown.
    pub fn unsupported(
        file: impl Into<PathBuf>,
        option: &str,
        value: impl ToString,
        supported: impl ToString,
    ) -> Self {
        Self::Unsupported {
            file: file.into(),
            option: option.to_owned(),
            value: value.to_string(),
            supported: supported.to_string(),
        }
    }

    /// [`ModelError::InvalidStepCount`].
    pub(crate) fn invalid_step_count(file: impl Into<PathBuf>, steps: usize, max: usize) -> Self {
        Self::InvalidStepCount { file: file.into(), steps, max }
    }

    /// [`ModelError::Malformed`] without a parser's error behind it.
    pub fn malformed(path: impl Into<PathBuf>, expected: impl ToString) -> Self {
        Self::Malformed { path: path.into(), expected: expected.to_string(), source: None }
    }
}
