//! Models that were downloaded with the Hugging Face hub's own tools, found in their cache.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::files::open_regular;
use crate::index::ModelIndex;
use crate::{ModelError, weights};

/// Bytes of a file with a revision that are read. A revision is a SHA-1 in hexadecimal.
const MAX_REVISION: u64 = 256;

/// The arguments of `hf download` after the name: patterns of all files that the loader may read, each in quotation
/// marks for the shell. They are no options, because those differ between the tool's versions, and not the whole
/// repository, because that holds the same weights several times over.
fn patterns() -> Vec<String> {
    let mut patterns = vec![ModelIndex::FILE.to_owned(), "scheduler/scheduler_config.json".to_owned()];
    // All of the small files: their number depends on the version of transformers.
    patterns.push("tokenizer/*".to_owned());
    for component in ["text_encoder", "unet", "vae"] {
        patterns.push(format!("{component}/config.json"));
        patterns.extend(weights::patterns(component));
    }
    patterns
}

/// The command that downloads a model into the cache.
fn download(name: &str) -> String {
    let quoted = |pattern: &String| match pattern.contains('*') {
        true => format!("\"{pattern}\""),
        false => pattern.clone(),
    };
    format!("hf download {name} {}", patterns().iter().map(quoted).collect::<Vec<_>>().join(" "))
}

/// The folder of the model `ORG/NAME` in `cache`, the hub's cache folder (`$HF_HUB_CACHE`, or `hub` inside `$HF_HOME`): the
/// snapshot that its branch `main` stood at when it was downloaded.
///
/// # Errors
/// [`ModelError::InvalidModelName`] if the name cannot be one; [`ModelError::NotInHubCache`], with the command that downloads it, if it is not there.
pub fn find(cache: &Path, name: &str) -> Result<PathBuf, ModelError> {
    let Some((organisation, model)) = split(name) else {
        return Err(ModelError::InvalidModelName { name: name.to_owned() });
    };
    let repository = cache.join(format!("models--{organisation}--{model}"));
    let mut revision = String::new();
    if let Ok(file) = open_regular(&repository.join("refs/main")) {
        let _ = file.take(MAX_REVISION).read_to_string(&mut revision);
    }
    let revision = revision.trim();
    let snapshot = repository.join("snapshots").join(revision);
    if is_plain(revision) && snapshot.join("model_index.json").is_file() {
        return Ok(snapshot);
    }
    Err(ModelError::NotInHubCache { name: name.to_owned(), cache: cache.to_owned(), command: download(name) })
}

/// Whether this could be a model's name on the hub. What ends like a file of weights is taken for a path.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let file = Path::new(name).extension().is_some_and(|extension| {
        ["safetensors", "ckpt", "gguf", "bin", "pt", "pth", "json"].iter().any(|format| extension == *format)
    });
    split(name).is_some() && !file
}

fn split(name: &str) -> Option<(&str, &str)> {
    name.split_once('/').filter(|(organisation, model)| is_plain(organisation) && is_plain(model))
}

/// The characters that the hub allows, none of which leads out of a folder.
fn is_plain(part: &str) -> bool {
    !part.is_empty()
        && !part.starts_with(['.', '-'])
        && !part.contains("..")
        && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use candle_core::{DType, Device};

    use super::*;
    use crate::ModelFiles;
    use crate::pipeline::Pipeline;

    #[test]
    fn finds_the_snapshot_of_main() {
        let cache = tempfile::tempdir().expect("a temporary folder");
        let repository = cache.path().join("models--stabilityai--sd-turbo");
        fs::create_dir_all(repository.join("refs")).expect("folders");
        fs::create_dir_all(repository.join("snapshots/abc123")).expect("folders");
        fs::write(repository.join("refs/main"), "abc123").expect("a file");
        assert!(find(cache.path(), "stabilityai/sd-turbo").is_err(), "half a download was taken for a model");
        fs::write(repository.join("snapshots/abc123/model_index.json"), "{}").expect("a file");
        let found = find(cache.path(), "stabilityai/sd-turbo").expect("the snapshot");
        assert_eq!(found, repository.join("snapshots/abc123"));
        // To read a FIFO would wait for a writer.
        fs::remove_file(repository.join("refs/main")).expect("a file");
        let made = std::process::Command::new("mkfifo").arg(repository.join("refs/main")).status();
        assert!(made.expect("mkfifo").success());
        assert!(matches!(find(cache.path(), "stabilityai/sd-turbo"), Err(ModelError::NotInHubCache { .. })));
    }

    #[test]
    fn an_absent_model_comes_with_its_command() {
        let cache = tempfile::tempdir().expect("a temporary folder");
        let error = find(cache.path(), "stabilityai/sd-turbo").expect_err("an empty cache").to_string();
        assert!(error.contains("hf download stabilityai/sd-turbo model_index.json "), "{error}");
        assert!(error.contains("\"unet/diffusion_pytorch_model.safetensors*\""), "{error}");
    }

    /// Whether a name matches a pattern in which `*` is any text.
    fn matches(pattern: &str, name: &str) -> bool {
        match pattern.split_once('*') {
            None => pattern == name,
            Some((start, rest)) => name.strip_prefix(start).is_some_and(|name| {
                (0..=name.len()).any(|at| name.is_char_boundary(at) && matches(rest, &name[at..]))
            }),
        }
    }

    #[test]
    fn the_command_downloads_all_that_is_read() {
        let wanted = |name: &str| patterns().iter().any(|pattern| matches(pattern, name));
        for family in ["sd15", "turbo"] {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens/models").join(family);
            let files = ModelFiles::folder(folder).expect("a model");
            Pipeline::load(&files, &Device::Cpu, DType::F32).expect("a pipeline");
            let read = files.fingerprint().names();
            assert!(read.len() > 8, "{read:?}");
            for name in read {
                assert!(wanted(&name), "{family}: {name}");
            }
        }
        for name in [
            "unet/diffusion_pytorch_model-00001-of-00002.safetensors",
            "unet/diffusion_pytorch_model.safetensors.index.json",
            "unet/diffusion_pytorch_model.safetensors.index.fp16.json",
            "unet/diffusion_pytorch_model.fp16-00001-of-00002.safetensors",
            "unet/diffusion_pytorch_model-00001-of-00002.fp16.safetensors",
            "text_encoder/model.fp16.safetensors",
            "text_encoder/model-00001-of-00002.safetensors",
            "tokenizer/added_tokens.json",
            "tokenizer/tokenizer.json",
        ] {
            assert!(wanted(name), "{name}");
        }
        for name in [
            "unet/diffusion_pytorch_model.non_ema.safetensors",
            "unet/diffusion_pytorch_model.bin",
            "vae/diffusion_pytorch_model.msgpack",
            "safety_checker/model.safetensors",
            "sd_turbo.safetensors",
        ] {
            assert!(!wanted(name), "{name}");
        }
    }

    #[test]
    fn names_cannot_lead_out_of_the_cache() {
        assert!(is_name("a/b") && !is_name("models/x.safetensors") && !is_name("models/x.gguf"));
        for name in ["a", "a/b/c", "../b", "a/..", "a/.b", "/b", "a/", "a\\b/c", "a/b c", ""] {
            assert!(!is_name(name), "{name}");
            assert!(
                matches!(find(Path::new("/nowhere"), name), Err(ModelError::InvalidModelName { .. })),
                "{name}"
            );
        }
    }
}
