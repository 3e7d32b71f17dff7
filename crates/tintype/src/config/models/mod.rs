//! The models of a server: one by the setting `model`, or several by tables `[models.NAME]`.

mod build;
mod choice;
mod select;
mod table;

use tintype_ledger::money::Price;
pub(crate) use tintype_service::{Alias, LoadTime, ModelDefaults, ModelLimits};

use super::sections::SageMakerSettings;

pub(super) use build::Common;
pub(crate) use choice::ModelChoice;
pub(super) use choice::parse_load_time;
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

    /// The prices of all models that have one.
    pub(crate) fn prices(&self) -> Vec<Price> {
        self.entries.iter().filter_map(|entry| entry.price).collect()
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
