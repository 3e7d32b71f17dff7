//! `model_index.json`: the pipeline of a model folder and the classes of its components.

use serde_json::{Value, json};

use crate::options::Options;
use crate::{ModelError, ModelFiles};

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
}
