//! The tensors of one component of a model.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Display;
use std::io;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::safetensors::Load;
use candle_core::{DType, Device, Shape, Tensor};
use memmap2::Mmap;
use safetensors::tensor::{Metadata, TensorView};
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use crate::files::open_regular;
use crate::model_hash::{FileStamp, HashSource};
use crate::revision::{FileIdentity, Fingerprint};
use crate::{ModelError, ModelFiles, foreign};

/// The names that weights go by in the layout, without `.safetensors` or `.fp16.safetensors`: diffusers',
/// transformers'.
const STEMS: [&str; 2] = ["diffusion_pytorch_model", "model"];

/// A component's weights, seen from some level of its module tree. Cheap to clone.
///
/// Tensors are copied out of the file when asked for, to the device and in the type given at the start;
/// tensors that are not requested cost nothing.
#[derive(Clone)]
pub struct Weights {
    files: Arc<Vec<WeightsFile>>,
    prefix: String,
    device: Device,
    dtype: DType,
}

impl Weights {
    /// The weights of `component`, for example `unet`: the first of `diffusion_pytorch_model` and `model`
    /// that is there, as one `.safetensors` file or several with an index, or the `.fp16` variant of either. For
    /// a 16-bit `dtype` the variant is preferred.
    ///
    /// # Errors
    /// [`ModelError::MissingFile`] if there is none; [`ModelError::Unreadable`] or [`ModelError::Malformed`]
    /// if it cannot be opened; [`ModelError::Adapter`] if it holds more than the network.
    pub fn load(
        files: &ModelFiles,
        component: &str,
        device: &Device,
        dtype: DType,
    ) -> Result<Self, ModelError> {
        let opened = find(files, component, dtype)?
            .iter()
            .map(|name| WeightsFile::open(files, name))
            .collect::<Result<Vec<_>, _>>()?;
        opened.iter().try_for_each(WeightsFile::check_adapters)?;
        Ok(Self::new(opened, device, dtype))
    }

    /// The weights in one file that is no part of a model folder.
    ///
    /// # Errors
    /// As [`Weights::load`].
    pub fn open(path: &Path, device: &Device, dtype: DType) -> Result<Self, ModelError> {
        Ok(Self::new(vec![WeightsFile::map(path.to_owned())?], device, dtype))
    }

    fn new(files: Vec<WeightsFile>, device: &Device, dtype: DType) -> Self {
        Self { files: Arc::new(files), prefix: String::new(), device: device.clone(), dtype }
    }

    /// The same weights one level further in: names are looked up below `name`.
    #[must_use]
    pub fn pp(&self, name: impl Display) -> Self {
        Self { prefix: self.full_name(&name.to_string()), ..self.clone() }
    }

    /// The same weights, converted to another type.
    #[must_use]
    pub fn with_dtype(&self, dtype: DType) -> Self {
        Self { dtype, ..self.clone() }
    }

    /// The tensor of this name below the current level, which must have this shape.
    ///
    /// # Errors
    /// [`ModelError::MissingTensor`], [`ModelError::WrongShape`], or [`ModelError::WrongType`] if it does not
    /// hold floating-point numbers.
    pub fn get(&self, shape: impl Into<Shape>, name: &str) -> Result<Tensor, ModelError> {
        let (expected, full) = (shape.into(), self.full_name(name));
        let Some(file) = self.file_with(&full) else {
            let file = self.files.first().map(|file| file.path.clone()).unwrap_or_default();
            return Err(ModelError::MissingTensor { file, name: full, expected: expected.into_dims() });
        };
        let found = file.shape(&full).unwrap_or_default();
        if found != expected.dims() {
            return Err(ModelError::WrongShape {
                file: file.path.clone(),
                name: full,
                expected: expected.into_dims(),
                found,
            });
        }
        file.check_type(&full)?;
        Ok(file.tensor(&full, &self.device)?.to_dtype(self.dtype)?)
    }

    /// Whether there is a tensor of this name below the current level. For names that changed between
    /// versions of the layout.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.file_with(&self.full_name(name)).is_some()
    }

    /// The shape of the tensor of this name below the current level.
    #[must_use]
    pub fn shape(&self, name: &str) -> Option<Vec<usize>> {
        let full = self.full_name(name);
        self.file_with(&full)?.shape(&full)
    }

    /// The memory of all tensors in the type that they are converted to, in bytes.
    #[must_use]
    pub(crate) fn memory(&self) -> u64 {
        let size = self.dtype.size_in_bytes() as u64;
        let elements = |file: &WeightsFile| -> u64 {
            let infos = file.metadata.tensors().into_values();
            infos.map(|info| info.shape.iter().map(|side| *side as u64).product::<u64>()).sum()
        };
        self.files.iter().map(|file| elements(file) * size).sum()
    }

    /// The file that the weights came from, or the first of them.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.files.first().map_or(Path::new(""), |file| &file.path)
    }

    /// The files, for their hash.
    pub(crate) fn hash_sources(&self) -> Vec<HashSource> {
        self.files.iter().map(WeightsFile::hash_source).collect()
    }

    /// Where tensors are copied to.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The type that tensors are converted to.
    #[must_use]
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    fn full_name(&self, name: &str) -> String {
        if self.prefix.is_empty() { name.to_owned() } else { format!("{}.{name}", self.prefix) }
    }

    fn file_with(&self, full: &str) -> Option<&WeightsFile> {
        self.files.iter().find(|file| file.metadata.info(full).is_some())
    }
}

/// The names of the files that hold a component's weights.
fn find(files: &ModelFiles, component: &str, dtype: DType) -> Result<Vec<String>, ModelError> {
    let half = matches!(dtype, DType::F16 | DType::BF16);
    let [full, variant] = [("safetensors", "json"), ("fp16.safetensors", "fp16.json")];
    for stem in STEMS {
        for (extension, index) in if half { [variant, full] } else { [full, variant] } {
            let name = format!("{component}/{stem}.{extension}");
            if files.exists(&name) {
                return Ok(vec![name]);
            }
            let index = format!("{component}/{stem}.safetensors.index.{index}");
            if files.exists(&index) {
                let index: ShardIndex = files.read_json(&index)?;
                let shards: BTreeSet<String> = index.weight_map.into_values().collect();
                return Ok(shards.into_iter().map(|shard| format!("{component}/{shard}")).collect());
            }
        }
    }
    let stem = usual_stem(component);
    Err(files.missing_weights(component, &format!("{stem}.safetensors")))
}

/// The stem that the library writes which a component belongs to: transformers or diffusers.
fn usual_stem(component: &str) -> &'static str {
    if component.contains("text") { STEMS[1] } else { STEMS[0] }
}

/// Patterns of all files that [`Weights::load`] may read of a component in a published folder, with `*` for any text:
/// the whole and the 16-bit weights, in one file or several, and the indexes of the latter. Other variants, such as
/// `non_ema`, do not match.
pub(crate) fn patterns(component: &str) -> [String; 3] {
    let stem = usual_stem(component);
    [".safetensors*", ".fp16*.safetensors", "-*.safetensors"].map(|end| format!("{component}/{stem}{end}"))
}

#[derive(Deserialize)]
struct ShardIndex {
    weight_map: HashMap<String, String>,
}

/// One `.safetensors` file, opened: its table of contents and its bytes.
struct WeightsFile {
    path: PathBuf,
    metadata: Metadata,
    /// Where the tensors' bytes begin.
    start: usize,
    bytes: Bytes,
}

enum Bytes {
    /// A file, and its state when it was opened.
    Mapped(Mmap, FileStamp),
    Embedded(&'static [u8]),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Mapped(map, _) => map,
            Bytes::Embedded(bytes) => bytes,
        }
    }
}

impl WeightsFile {
    fn open(files: &ModelFiles, name: &str) -> Result<Self, ModelError> {
        let opened = match files.embedded_bytes(name) {
            Some(bytes) => Self::parse(files.path(name), Bytes::Embedded(bytes)),
            None if files.exists(name) => Self::map(files.path(name)),
            None => Err(files.missing(name)),
        }?;
        opened.enter(name, &files.fingerprint());
        Ok(opened)
    }

    #[expect(
        unsafe_code,
        reason = "a memory map: weights are gigabytes, and most of a file may never be asked for"
    )]
    fn map(path: PathBuf) -> Result<Self, ModelError> {
        let opened = open_regular(&path).and_then(|file| {
            // SAFETY: the map is read-only, and private to this value. Its bytes are undefined only if
            // another process changes or truncates the file while it is loaded, which the documentation
            // forbids for a model folder (and every program that maps weights relies on). All bytes are read
            // as plain numbers, of which every pattern is valid.
            let map = unsafe { Mmap::map(&file) }?;
            Ok((map, FileStamp::of(&file.metadata()?)))
        });
        match opened {
            Ok((map, stamp)) => Self::parse(path, Bytes::Mapped(map, stamp)),
            Err(source) if source.kind() == io::ErrorKind::NotFound => Err(ModelError::MissingFile {
                path,
                expected: "the component's weights as safetensors".to_owned(),
            }),
            Err(source) => Err(ModelError::Unreadable { path, source }),
        }
    }

    fn parse(path: PathBuf, bytes: Bytes) -> Result<Self, ModelError> {
        if foreign::is_lfs_pointer(&bytes) {
            return Err(ModelError::LfsPointer { path });
        }
        match SafeTensors::read_metadata(&bytes) {
            Ok((header, metadata)) => Ok(Self { path, metadata, start: size_of::<u64>() + header, bytes }),
            Err(source) => Err(ModelError::Malformed {
                path,
                expected: "weights as safetensors, whole".to_owned(),
                source: Some(Box::new(source)),
            }),
        }
    }

    /// Enters the whole file into the model's fingerprint, in chunks, so that little of it is in memory at a time.
    fn enter(&self, name: &str, fingerprint: &Fingerprint) {
        let identity = match &self.bytes {
            Bytes::Mapped(..) => FileIdentity::of(&self.path),
            Bytes::Embedded(bytes) => Some(FileIdentity::of_embedded(bytes)),
        };
        fingerprint
            .add_file(name, identity, &self.bytes, |offset, length| self.release_pages(offset, length));
    }

    fn hash_source(&self) -> HashSource {
        match &self.bytes {
            Bytes::Mapped(_, stamp) => HashSource::File { path: self.path.clone(), stamp: stamp.clone() },
            Bytes::Embedded(bytes) => HashSource::Embedded(bytes),
        }
    }

    /// Refuses tensors that a training program has put beside the network's, and that would change the images:
    /// low-rank updates, by any library, and attention processors with weights.
    fn check_adapters(&self) -> Result<(), ModelError> {
        let is_adapter = |name: &str| {
            name.split('.').any(|part| part == "processor" || part.to_ascii_lowercase().contains("lora"))
        };
        let mut names = self.metadata.offset_keys();
        names.retain(|name| is_adapter(name));
        names.sort_unstable();
        if names.is_empty() { Ok(()) } else { Err(ModelError::Adapter { file: self.path.clone(), names }) }
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.metadata.info(name).map(|info| info.shape.clone())
    }

    /// Refuses what is no floating-point number: the parts of a quantized weight would pass for one.
    fn check_type(&self, name: &str) -> Result<(), ModelError> {
        let Some(info) = self.metadata.info(name) else { return Ok(()) };
        let module = name.strip_suffix(".weight").unwrap_or(name);
        let scales = [format!("{module}.scale_weight"), format!("{name}_scale"), format!("{name}_scale_inv")];
        let scaled = || scales.iter().any(|scale| self.metadata.info(scale).is_some());
        let found = match info.dtype {
            Dtype::F16 | Dtype::BF16 | Dtype::F32 | Dtype::F64 => return Ok(()),
            Dtype::F8_E4M3 if !scaled() => return Ok(()),
            Dtype::F8_E4M3 => "F8_E4M3 with scales".to_owned(),
            other => other.to_string(),
        };
        Err(ModelError::WrongType { file: self.path.clone(), name: name.to_owned(), found })
    }

    fn tensor(&self, name: &str, device: &Device) -> Result<Tensor, ModelError> {
        let malformed = |source: Option<Box<dyn std::error::Error + Send + Sync>>| ModelError::Malformed {
            path: self.path.clone(),
            expected: format!("tensor `{name}` inside the file"),
            source,
        };
        let info = self.metadata.info(name).ok_or_else(|| malformed(None))?;
        let range = self.start + info.data_offsets.0..self.start + info.data_offsets.1;
        let bytes = self.bytes.get(range.clone()).ok_or_else(|| malformed(None))?;
        let view = TensorView::new(info.dtype, info.shape.clone(), bytes)
            .map_err(|e| malformed(Some(Box::new(e))))?;
        let tensor = view.load(device)?;
        self.release_pages(range.start, range.len());
        Ok(tensor)
    }

    /// Tells the system that these bytes were copied and need not stay in memory, or loading a model would
    /// take twice its size. A refusal changes nothing that matters.
    #[cfg(unix)]
    #[expect(unsafe_code, reason = "advice on a memory map")]
    fn release_pages(&self, offset: usize, length: usize) {
        if let Bytes::Mapped(map, _) = &self.bytes {
            // SAFETY: the map is read-only and backed by its file, so dropped pages are read from the file
            // again when they are touched: no reference into the map sees other bytes than before.
            let _ = unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, offset, length) };
        }
    }

    #[cfg(not(unix))]
    fn release_pages(&self, _offset: usize, _length: usize) {}
}

#[cfg(test)]
mod tests;
