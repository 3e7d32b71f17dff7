//! Models that were downloaded with the Hugging Face hub's own tools, found in their cache.

use std::fs;
use std::path::{Path, PathBuf};

use crate::ModelError;

/// The files of a published model that are used here. The command names them one by one: a repository holds the same
/// weights several times over, and the tools' patterns differ between their versions.
const FILES: [&str; 12] = [
    "model_index.json",
    "scheduler/scheduler_config.json",
    "tokenizer/vocab.json",
    "tokenizer/merges.txt",
    "tokenizer/tokenizer_config.json",
    "tokenizer/special_tokens_map.json",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
];

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
    let revision = fs::read_to_string(repository.join("refs/main")).unwrap_or_default();
    let revision = revision.trim();
    let snapshot = repository.join("snapshots").join(revision);
    if is_plain(revision) && snapshot.join("model_index.json").is_file() {
        return Ok(snapshot);
    }
    Err(ModelError::NotInHubCache {
        name: name.to_owned(),
        cache: cache.to_owned(),
        command: format!("hf download {name} {}", FILES.join(" ")),
    })
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
    use super::*;

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
    }

    #[test]
    fn an_absent_model_comes_with_its_command() {
        let cache = tempfile::tempdir().expect("a temporary folder");
        let error = find(cache.path(), "stabilityai/sd-turbo").expect_err("an empty cache").to_string();
        assert!(error.contains("hf download stabilityai/sd-turbo model_index.json "), "{error}");
        assert!(error.contains("unet/diffusion_pytorch_model.safetensors"), "{error}");
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
