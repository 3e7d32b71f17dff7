//! The models of a server: one by the setting `model`, or several by tables `[models.NAME]`.

mod build;
mod choice;
mod select;
mod table;

use tintype_http::Alias;
use tintype_ledger::money::Price;

use super::sections::SageMakerSettings;

pub(super) use build::Common;
pub(crate) use choice::{LoadTime, ModelChoice};
pub(super) use select::{SHORT_FORM, check_file, has_tables, select};
pub(super) use table::ModelsSection;

/// The models of a server; at least one.
#[derive(Clone, Debug)]
pub(crate) struct Models {
    /// The name of the model for requests that name none.
    pub(crate) default: String,
    /// The models, in the order of the file.
    pub(crate) entries: Vec<ModelEntry>,
    /// Maximum memory of loaded models in bytes; none means three quarters of the available memory.
    pub(crate) memory: Option<u64>,
}

impl Models {
    /// The model for requests that name none.
    pub(crate) fn default_entry(&self) -> &ModelEntry {
        let entry = self.entries.iter().find(|entry| entry.name == self.default);
        entry.expect("the default is the name of an entry")
    }
}

/// A model of a server.
#[derive(Clone, Debug)]
pub(crate) struct ModelEntry {
    /// Its name in requests and responses.
    pub(crate) name: String,
    /// What runs it.
    pub(crate) engine: ModelChoice,
    /// Other names of it in requests.
    pub(crate) aliases: Vec<Alias>,
    /// Its price.
    pub(crate) price: Option<Price>,
    /// The parameters of requests that do not specify them.
    pub(crate) defaults: ModelDefaults,
    /// The limits of its requests.
    pub(crate) limits: ModelLimits,
    /// Settings of the SageMaker endpoint, if `engine` is one.
    pub(crate) endpoint: SageMakerSettings,
    /// When it is loaded.
    pub(crate) load: LoadTime,
}

/// Default parameters of a model's requests; none means the model's own.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ModelDefaults {
    /// Image width in pixels.
    pub(crate) width: Option<u32>,
    /// Image height in pixels.
    pub(crate) height: Option<u32>,
    /// Number of denoising steps.
    pub(crate) steps: Option<u32>,
    /// Guidance scale.
    pub(crate) guidance: Option<f64>,
}

/// Limits of a model's requests; none means a limit derived from the model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ModelLimits {
    /// Maximum width × height.
    pub(crate) max_pixels: Option<u64>,
    /// Maximum width × height × steps × n.
    pub(crate) max_work: Option<u64>,
    /// Maximum number of denoising steps.
    pub(crate) max_steps: Option<u32>,
}
