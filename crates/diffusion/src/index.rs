//! `model_index.json`: the pipeline of a model folder and the classes of its components.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::options::Options;
use crate::{ModelError, ModelFiles};

/// A component's class, and which option of which file names it.
pub(crate) struct Class {
    name: Option<String>,
    file: PathBuf,
    option: String,
}

impl Class {
    /// `None` if no file names it.
    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The error for a class that is not supported, or is not named where there are several.
    pub(crate) fn unsupported(&self, supported: &str) -> ModelError {
        let name = self.name().unwrap_or("missing");
        ModelError::unsupported(&self.file, &self.option, name, supported)
    }
}

/// A model folder's list of components.
pub(crate) struct ModelIndex {
    options: Options,
}

impl ModelIndex {
    /// Its name.
    pub(crate) const FILE: &str = "model_index.json";

    /// Reads the file.
    pub(crate) fn load(files: &ModelFiles) -> Result<Self, ModelError> {
        Ok(Self { options: Options::load(files, Self::FILE)? })
    }

    /// Refuses the pipelines that this engine does not run. A file without a class is taken for Stable Diffusion.
    pub(crate) fn check_pipeline(&mut self) -> Result<(), ModelError> {
        self.options.require("_class_name", &[json!("StableDiffusionPipeline")])
    }

    /// The class that this component is loaded as: the one that this file lists, as in diffusers, or the one that the
    /// component was saved from.
    pub(crate) fn class_of(files: &ModelFiles, component: &str, own: &Options) -> Result<Class, ModelError> {
        let index = Self::load(files)?;
        Ok(match (index.class(component), own.class()) {
            (Some(listed), _) => Class {
                name: Some(listed.to_owned()),
                file: files.path(Self::FILE),
                option: component.to_owned(),
            },
            (None, saved) => Class {
                name: saved.map(str::to_owned),
                file: own.file().to_owned(),
                option: "_class_name".to_owned(),
            },
        })
    }

    /// The class of this component, if the file lists it: components are `[LIBRARY, CLASS]`, or two `null`.
    pub(crate) fn class(&self, component: &str) -> Option<&str> {
        self.options.value(component)?.get(1).and_then(Value::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_may_be_absent_or_null() {
        let files = ModelFiles::embedded(&[(
            ModelIndex::FILE,
            br#"{"tokenizer":["transformers","CLIPTokenizer"],"vae":[null,null],"unet":null,"_class_name":null}"#,
        )]);
        let mut index = ModelIndex::load(&files.expect("a model")).expect("an index");
        index.check_pipeline().expect("no class is Stable Diffusion");
        assert_eq!(index.class("tokenizer"), Some("CLIPTokenizer"));
        for component in ["vae", "unet", "scheduler"] {
            assert_eq!(index.class(component), None, "{component}");
        }
    }

    #[test]
    fn the_listed_class_comes_first() {
        let class = |index: &'static [u8], own: &'static [u8]| {
            let files = vec![(ModelIndex::FILE, index), ("vae/config.json", own)].leak();
            let files = ModelFiles::embedded(files).expect("a model");
            let options = Options::load(&files, "vae/config.json").expect("options");
            ModelIndex::class_of(&files, "vae", &options).expect("an index")
        };
        let index = br#"{"vae":["diffusers","AutoencoderTiny"]}"#;
        let saved = br#"{"_class_name":"AutoencoderKL"}"#;
        let listed = class(index, saved);
        assert_eq!(listed.name(), Some("AutoencoderTiny"));
        let error = listed.unsupported("X").to_string();
        assert!(error.contains("model_index.json") && error.contains("`vae` is AutoencoderTiny"), "{error}");
        assert_eq!(class(index, b"{}").name(), Some("AutoencoderTiny"));
        assert_eq!(class(b"{}", saved).name(), Some("AutoencoderKL"));
        let unknown = class(b"{}", b"{}");
        assert_eq!(unknown.name(), None);
        let error = unknown.unsupported("X").to_string();
        assert!(error.contains("vae/config.json") && error.contains("`_class_name` is missing"), "{error}");
    }
}
