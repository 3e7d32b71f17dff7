//! What runs a model, and when it is loaded.

use std::path::{Path, PathBuf};

use tintype_service::LoadTime;

/// The name of the built-in model.
const BUILTIN_NAME: &str = "emoji";

/// What runs a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ModelChoice {
    /// The model inside the binary.
    Builtin,
    /// A folder in the diffusers layout.
    Folder(PathBuf),
    /// `ORG/NAME` of a model in the Hugging Face cache.
    Hub(String),
    /// The name of a SageMaker endpoint that runs the model.
    Endpoint(String),
}

impl ModelChoice {
    /// `builtin`, a folder (an existing path, or any text that starts with `/` or `.`), `ORG/NAME`, or
    /// `sagemaker:ENDPOINT`. A path to a file is passed on, because the engine says what the file is.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let path = Path::new(text);
        if text == "builtin" {
            Ok(Self::Builtin)
        } else if let Some(endpoint) = text.strip_prefix("sagemaker:").filter(|endpoint| !endpoint.is_empty())
        {
            Ok(Self::Endpoint(endpoint.to_owned()))
        } else if path.exists() || path.is_absolute() || text.starts_with('.') {
            Ok(Self::Folder(path.to_owned()))
        } else if tintype_diffusion::hub::is_name(text) {
            Ok(Self::Hub(text.to_owned()))
        } else {
            Err("`builtin`, an existing folder, ORG/NAME, or sagemaker:ENDPOINT".to_owned())
        }
    }

    /// The model's name if the settings do not give it one: of a folder, the last component.
    pub(crate) fn default_name(&self) -> String {
        match self {
            Self::Builtin => BUILTIN_NAME.to_owned(),
            Self::Folder(folder) => {
                let full = folder.canonicalize().unwrap_or_else(|_| folder.clone());
                full.file_name().unwrap_or(full.as_os_str()).to_string_lossy().into_owned()
            }
            Self::Hub(name) | Self::Endpoint(name) => name.clone(),
        }
    }
}

/// `start` or `on_demand`.
pub(in crate::config) fn parse_load_time(text: &str) -> Result<LoadTime, String> {
    match text {
        "start" => Ok(LoadTime::AtStart),
        "on_demand" => Ok(LoadTime::OnDemand),
        _ => Err("start or on_demand".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().to_str().expect("UTF-8");
        let model = ModelChoice::parse;
        assert_eq!(model("builtin"), Ok(ModelChoice::Builtin));
        assert_eq!(model(path), Ok(ModelChoice::Folder(path.into())));
        assert_eq!(model("./absent"), Ok(ModelChoice::Folder("./absent".into())));
        assert_eq!(model("sagemaker:sd-21"), Ok(ModelChoice::Endpoint("sd-21".into())));
        assert_eq!(model("stabilityai/sd-turbo"), Ok(ModelChoice::Hub("stabilityai/sd-turbo".into())));
        let file = folder.path().join("model.safetensors");
        std::fs::write(&file, "").expect("a file");
        let text = file.to_str().expect("UTF-8");
        assert_eq!(model(text), Ok(ModelChoice::Folder(text.into())), "the engine says what the file is");
        for text in ["", "sd-turbo", "a/b/c", "absent/model.safetensors", "absent/model.gguf", "sagemaker:"] {
            assert!(model(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_model_is_named_after_its_source() {
        let name = |text: &str| ModelChoice::parse(text).expect(text).default_name();
        assert_eq!(name("builtin"), "emoji");
        assert_eq!(name("/absent/sd-turbo/"), "sd-turbo");
        assert_eq!(name("stabilityai/sd-turbo"), "stabilityai/sd-turbo");
        assert_eq!(name("sagemaker:sd-21"), "sd-21");
    }
}
