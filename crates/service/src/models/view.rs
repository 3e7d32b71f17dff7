//! What callers of the service see of a model.

use std::sync::Arc;

use tintype_core::engine::EngineInfo;
use tintype_core::model::ModelCard;
use tintype_core::request::RequestLimits;
use tintype_ledger::money::Price;

use super::{Alias, Model, ModelState};

/// A model of the service.
#[derive(Clone)]
pub struct ModelView<'a> {
    pub(crate) model: &'a Model,
    pub(crate) info: Arc<EngineInfo>,
}

impl<'a> ModelView<'a> {
    pub(crate) fn new(model: &'a Model) -> Option<Self> {
        Some(Self { model, info: model.known_info()? })
    }

    /// The model's name, defaults and limits.
    pub fn card(&self) -> &ModelCard {
        &self.info.model
    }

    /// The request limits of the model and the operator.
    pub fn limits(&self) -> RequestLimits {
        self.model.limits(&self.info)
    }

    /// Other names by which requests can select the model.
    pub fn aliases(&self) -> &'a [Alias] {
        &self.model.settings.aliases
    }

    /// The price.
    pub fn price(&self) -> Option<Price> {
        self.model.settings.price
    }

    /// Whether the model can run jobs.
    pub fn state(&self) -> ModelState {
        self.model.state()
    }
}
