//! Files that people have in place of a model folder or of a file in it, recognized so that errors can say what to do.

use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::ModelError;

/// How every Git LFS pointer begins (<https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md>).
const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";

/// What the beginning of a file says that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A few lines of text that Git LFS leaves where the file was not downloaded.
    LfsPointer,
    /// Tensors as safetensors: a whole checkpoint, or one component's weights.
    Safetensors,
    /// A PyTorch file, which can run code when it is read.
    Pickle,
    /// llama.cpp's format, as stable-diffusion.cpp reads it.
    Gguf,
    /// Any other regular file.
    Other,
    /// A FIFO, a socket or a device.
    NotRegular,
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LfsPointer => "a Git LFS pointer",
            Self::Safetensors => "a safetensors file",
            Self::Pickle => "a PyTorch file",
            Self::Gguf => "a GGUF file",
            Self::Other => "a file",
            Self::NotRegular => "not a regular file",
        })
    }
}

/// Whether a file's content is a Git LFS pointer.
pub(crate) fn is_lfs_pointer(content: &[u8]) -> bool {
    content.starts_with(LFS_POINTER)
}

/// The error for a path that should be a model's folder and is something else.
pub(crate) fn not_a_folder(path: &Path) -> ModelError {
    let kind = kind_of(path);
    let advice = match (kind, enclosing_model(path)) {
        (FileKind::LfsPointer, _) => "run `git lfs pull` in its repository".to_owned(),
        (FileKind::NotRegular, None) => "give a model's folder".to_owned(),
        (_, Some(folder)) => format!("give the model's folder, {}", folder.display()),
        (FileKind::Safetensors | FileKind::Pickle, None) => {
            let folder = path.with_extension("");
            format!("convert a Stable Diffusion checkpoint with diffusers: {}", convert_file(path, &folder))
        }
        (FileKind::Gguf, None) => {
            "GGUF is not supported; download the same model in diffusers' layout".to_owned()
        }
        (FileKind::Other, None) => "give the folder that has its model_index.json".to_owned(),
    };
    ModelError::NotAFolder { path: path.to_owned(), kind, advice }
}

/// The command that makes a folder of a checkpoint in one file.
fn convert_file(path: &Path, folder: &Path) -> String {
    format!(
        "python -c \"from diffusers import StableDiffusionPipeline as P; \
         P.from_single_file('{}').save_pretrained('{}')\"",
        path.display(),
        folder.display()
    )
}

/// The error for a component whose folder has weights only in formats that are not read; `None` if it has none.
pub(crate) fn unreadable_weights(model: &Path, component: &str) -> Option<ModelError> {
    let folder = model.join(component);
    let names = names_in(&folder, &["bin", "ckpt", "pt", "pth", "msgpack", "h5", "onnx", "gguf"]);
    let name = names.first()?;
    let torch = Path::new(name).extension().is_some_and(|extension| extension == "bin");
    let variant = if name.contains(".fp16.") { ", variant='fp16'" } else { "" };
    let model = model.display();
    let advice = match torch {
        true => format!(
            "convert the model with diffusers: python -c \"from diffusers import StableDiffusionPipeline as P; \
             P.from_pretrained('{model}'{variant}).save_pretrained('{model}-safetensors')\""
        ),
        false => "download the model's .safetensors files".to_owned(),
    };
    Some(ModelError::UnreadableWeights { folder, found: names.join(", "), advice })
}

/// The error for a folder without `model_index.json` that has a checkpoint in one file; `None` if it has none, or
/// components beside it.
pub(crate) fn folder_of_checkpoints(folder: &Path) -> Option<ModelError> {
    if folder.join("unet").is_dir() {
        return None;
    }
    let names = names_in(folder, &["safetensors", "ckpt", "gguf"]);
    names.first().map(|name| not_a_folder(&folder.join(name)))
}

/// The names in a folder that have one of these extensions, in alphabetical order.
fn names_in(folder: &Path, extensions: &[&str]) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.retain(|name| {
        Path::new(name).extension().is_some_and(|found| extensions.iter().any(|other| found == *other))
    });
    names.sort_unstable();
    names
}

/// The kind of the file at this path; [`FileKind::Other`] if it cannot be read.
fn kind_of(path: &Path) -> FileKind {
    let Ok(metadata) = fs::metadata(path) else { return FileKind::Other };
    if !metadata.is_file() {
        return FileKind::NotRegular;
    }
    let mut start = Vec::new();
    if let Ok(file) = File::open(path) {
        let _ = file.take(64).read_to_end(&mut start);
    }
    match start.as_slice() {
        start if is_lfs_pointer(start) => FileKind::LfsPointer,
        [b'G', b'G', b'U', b'F', ..] => FileKind::Gguf,
        // A ZIP archive, as PyTorch writes since 1.6, or the pickle protocol's first byte and its version.
        [b'P', b'K', 3, 4, ..] | [0x80, 2..=5, ..] => FileKind::Pickle,
        // The length of the header in 8 bytes, then JSON.
        [_, _, _, _, _, 0, 0, 0, b'{', ..] => FileKind::Safetensors,
        _ => FileKind::Other,
    }
}

/// The model folder that a path leads into.
fn enclosing_model(path: &Path) -> Option<PathBuf> {
    path.ancestors()
        .skip(1)
        .take(3)
        .find(|folder| folder.join("model_index.json").is_file())
        .map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use super::*;
    use crate::{ModelFiles, Weights};

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a temporary folder")
    }

    fn write(folder: &Path, name: &str, content: &[u8]) -> PathBuf {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        fs::write(&path, content).expect("a file");
        path
    }

    #[test]
    fn single_files_say_what_they_are_and_what_to_do() {
        let folder = folder();
        for (name, content, kind, advice) in [
            ("a.safetensors", &b"\x10\0\0\0\0\0\0\0{\"a\":1}"[..], "a safetensors file", "from_single_file"),
            ("a.ckpt", b"PK\x03\x04\0\0", "a PyTorch file", "from_single_file"),
            ("b.ckpt", b"\x80\x02}q", "a PyTorch file", "save_pretrained"),
            ("a.gguf", b"GGUF\x03\0\0\0", "a GGUF file", "not supported"),
            (
                "b.safetensors",
                b"version https://git-lfs.github.com/spec/v1\noid",
                "a Git LFS pointer",
                "git lfs pull",
            ),
            ("empty.safetensors", b"", "a file", "model_index.json"),
            ("notes.txt", b"hello", "a file", "model_index.json"),
        ] {
            let path = write(folder.path(), name, content);
            let error = ModelFiles::folder(&path).expect_err("no folder").to_string();
            assert!(error.contains(name) && error.contains(kind) && error.contains(advice), "{error}");
        }
        let error = ModelFiles::folder(folder.path()).expect_err("no index").to_string();
        assert!(error.contains("a.ckpt is a PyTorch file"), "{error}");
        write(folder.path(), "model/model_index.json", b"{}");
        let path = write(folder.path(), "model/unet/x.safetensors", b"\x10\0\0\0\0\0\0\0{");
        for path in [path, folder.path().join("model/model_index.json")] {
            let error = ModelFiles::folder(path).expect_err("no folder").to_string();
            let whole = format!("give the model's folder, {}", folder.path().join("model").display());
            assert!(error.ends_with(&whole), "{error}");
        }
    }

    #[test]
    fn weights_in_other_formats_are_named() {
        let folder = folder();
        write(folder.path(), "unet/config.json", b"{}");
        assert!(unreadable_weights(folder.path(), "unet").is_none());
        assert!(unreadable_weights(folder.path(), "vae").is_none());
        write(folder.path(), "unet/diffusion_pytorch_model.fp16.bin", b"PK");
        let error = unreadable_weights(folder.path(), "unet").expect("a pickle").to_string();
        assert!(
            error.contains("diffusion_pytorch_model.fp16.bin") && error.contains("variant='fp16'"),
            "{error}"
        );
        write(folder.path(), "vae/diffusion_flax_model.msgpack", b"");
        let error = unreadable_weights(folder.path(), "vae").expect("Flax").to_string();
        assert!(error.contains("diffusion_flax_model.msgpack") && error.contains(".safetensors"), "{error}");
    }

    /// The weights of a component with this file.
    fn load(name: &str, content: &[u8]) -> (tempfile::TempDir, Result<Weights, ModelError>) {
        let folder = folder();
        write(folder.path(), "model_index.json", b"{}");
        write(folder.path(), &format!("unet/{name}"), content);
        let files = ModelFiles::folder(folder.path()).expect("a model");
        let weights = Weights::load(&files, "unet", &Device::Cpu, DType::F32);
        (folder, weights)
    }

    #[test]
    fn quantized_weights_and_pointers_are_refused() {
        let scale = Tensor::new(&[1f32], &Device::Cpu).expect("a number");
        let of =
            |dtype: DType| Tensor::ones((2, 3), DType::F32, &Device::Cpu).and_then(|t| t.to_dtype(dtype));
        for (dtype, found) in [(DType::U8, "U8"), (DType::I64, "I64"), (DType::F8E4M3, "F8_E4M3 with scales")]
        {
            let weight = of(dtype).expect("a tensor");
            let tensors = [("conv.weight", &weight), ("conv.scale_weight", &scale)];
            let content = safetensors::serialize(tensors, None).expect("weights");
            let (_folder, weights) = load("model.safetensors", &content);
            let error =
                weights.expect("weights").get((2, 3), "conv.weight").expect_err("quantized").to_string();
            assert!(error.contains("`conv.weight`") && error.contains(found), "{error}");
        }
        let plain =
            safetensors::serialize([("w", &of(DType::F8E4M3).expect("a tensor"))], None).expect("weights");
        let (_folder, weights) = load("model.safetensors", &plain);
        let tensor = weights.expect("weights").get((2, 3), "w").expect("no scales");
        assert_eq!(tensor.to_vec2::<f32>().expect("numbers"), [[1.0; 3]; 2]);

        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
        let error = load("model.safetensors", pointer).1.err().expect("a pointer").to_string();
        assert!(error.contains("model.safetensors") && error.contains("git lfs pull"), "{error}");
        let error = load("diffusion_pytorch_model.bin", b"PK").1.err().expect("a pickle").to_string();
        assert!(
            error.contains("diffusion_pytorch_model.bin") && error.contains("save_pretrained"),
            "{error}"
        );
    }
}
