//! The models that the service offers. Each has a queue, slots and estimates of its own.

mod alias;
mod availability;
mod model;
mod saved_times;
mod view;

use std::error::Error as StdError;
use std::sync::Arc;

use tintype_core::engine::{Engine, EngineInfo};
use tintype_core::model::ModelCard;
use tintype_core::request::RequestLimits;
use tintype_ledger::money::Price;

pub use alias::{Alias, InvalidAlias};
pub use model::ModelState;
pub use view::ModelView;

pub(crate) use model::Model;

use crate::error::ServiceError;

/// The operator's settings of a model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelSettings {
    /// The name in the API and in the ledger. Empty: the name on the engine's card.
    pub name: String,
    /// Other names by which requests can select the model.
    pub aliases: Vec<Alias>,
    /// The price.
    pub price: Option<Price>,
    /// Defaults that replace those of the engine's card.
    pub defaults: ModelDefaults,
    /// Limits of one request.
    pub limits: ModelLimits,
}

/// Default parameters of a model; `None` leaves the engine's.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ModelDefaults {
    /// Width in pixels.
    pub width: Option<u32>,
    /// Height in pixels.
    pub height: Option<u32>,
    /// Denoising steps.
    pub steps: Option<u32>,
    /// Guidance scale.
    pub guidance: Option<f64>,
}

/// Limits of one request; `None` leaves the model's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModelLimits {
    /// Maximum `width × height`.
    pub max_pixels: Option<u64>,
    /// Maximum `width × height × steps × n`.
    pub max_work: Option<u64>,
    /// Maximum number of denoising steps.
    pub max_steps: Option<u32>,
}

/// When a model is loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LoadTime {
    /// At the start. The model stays in memory.
    #[default]
    AtStart,
    /// When a job needs it. The model is unloaded when the memory is needed for another one.
    OnDemand,
}

/// A cause why a model cannot be planned or loaded.
pub type LoadError = Box<dyn StdError + Send + Sync>;

/// Loads a model. The methods block; the service calls them on a thread of their own.
pub trait EngineLoader: Send + Sync {
    /// What is known of the engine before it is loaded; `None` if nothing is, so that requests for the model are
    /// refused until it is loaded. Reads configurations, and loads no weights.
    ///
    /// # Errors
    /// Why the model cannot be used.
    fn plan(&self) -> Result<Option<EngineInfo>, LoadError>;

    /// Loads the engine. It may have been loaded and dropped before.
    ///
    /// # Errors
    /// Why the model cannot be loaded.
    fn load(&self) -> Result<Arc<dyn Engine>, LoadError>;
}

/// A model that could not be planned or loaded at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadFailure {
    /// The name of the model.
    pub model: String,
    /// The error with its causes.
    pub error: String,
}

/// A model for the service.
pub struct ModelSpec {
    /// The operator's settings.
    pub settings: ModelSettings,
    /// Loads the model. `None`: the engine is set by [`Service::engine_ready`](crate::Service::engine_ready).
    pub loader: Option<Arc<dyn EngineLoader>>,
    /// When the model is loaded.
    pub load: LoadTime,
}

/// All models. The first one is the default.
pub(crate) struct Models(Vec<Arc<Model>>);

impl ModelSettings {
    /// The engine's data with the operator's name, defaults and limits.
    pub(crate) fn apply(&self, mut info: EngineInfo) -> EngineInfo {
        let card = &mut info.model;
        if !self.name.is_empty() {
            card.name.clone_from(&self.name);
        }
        card.width = self.defaults.width.unwrap_or(card.width);
        card.height = self.defaults.height.unwrap_or(card.height);
        card.guidance = self.defaults.guidance.unwrap_or(card.guidance);
        let max_steps = &mut card.sampling.max_steps;
        *max_steps = self.limits.max_steps.map_or(*max_steps, |max| max.min(*max_steps));
        card.steps = self.defaults.steps.unwrap_or(card.steps).min(card.sampling.max_steps);
        info.slots = info.slots.max(1);
        info
    }

    /// The limits of one request for this card.
    pub(crate) fn request_limits(&self, card: &ModelCard) -> RequestLimits {
        let own = RequestLimits::for_model(card);
        RequestLimits {
            max_pixels: self.limits.max_pixels.unwrap_or(own.max_pixels),
            max_work: self.limits.max_work.unwrap_or(own.max_work),
        }
    }
}

impl Models {
    /// At least one model.
    pub(crate) fn new(models: Vec<Arc<Model>>) -> Self {
        Self(models)
    }

    /// The model that requests without a model name use.
    pub(crate) fn default_model(&self) -> &Arc<Model> {
        self.0.first().expect("a service has a model")
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Model>> {
        self.0.iter()
    }

    /// The model with this name in the ledger.
    pub(crate) fn by_name(&self, name: &str) -> Option<&Arc<Model>> {
        self.0.iter().find(|model| model.name() == name)
    }

    /// The model that a request selects: by its name, by an alias, or the default one.
    ///
    /// # Errors
    /// [`ServiceError::UnknownModel`].
    pub(crate) fn resolve(&self, requested: Option<&str>) -> Result<&Arc<Model>, ServiceError> {
        let Some(requested) = requested else { return Ok(self.default_model()) };
        let has_alias =
            |model: &&Arc<Model>| model.settings.aliases.iter().any(|alias| alias.covers(requested));
        // An alias without `*` is more specific than one that also covers other names.
        let exact =
            |model: &&Arc<Model>| model.settings.aliases.iter().any(|alias| alias.to_string() == requested);
        self.by_name(requested)
            .or_else(|| self.0.iter().find(exact))
            .or_else(|| self.0.iter().find(has_alias))
            .ok_or_else(|| ServiceError::UnknownModel(requested.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn model(name: &str, aliases: &[&str]) -> Arc<Model> {
        let aliases = aliases.iter().map(|alias| alias.parse().expect("an alias")).collect();
        let settings = ModelSettings { name: name.into(), aliases, ..ModelSettings::default() };
        let spec = ModelSpec { settings, loader: None, load: LoadTime::AtStart };
        Arc::new(Model::new(spec, 8, Duration::from_secs(600)))
    }

    #[test]
    fn names_and_exact_aliases_come_before_patterns() {
        let models =
            Models::new(vec![model("a", &["gpt-*"]), model("b", &["gpt-b", "d"]), model("gpt-c", &[])]);
        let resolved = |name| models.resolve(name).map(|model| model.name());
        for (requested, expected) in [
            (None, "a"),
            (Some("b"), "b"),
            (Some("gpt-x"), "a"),
            (Some("gpt-b"), "b"),
            (Some("gpt-c"), "gpt-c"),
        ] {
            assert_eq!(resolved(requested).ok().as_deref(), Some(expected), "{requested:?}");
        }
        assert!(matches!(resolved(Some("e")), Err(ServiceError::UnknownModel(name)) if name == "e"));
    }

    #[test]
    fn the_operators_settings_replace_those_of_the_card() {
        let settings = ModelSettings {
            name: "fast".into(),
            defaults: ModelDefaults { width: Some(128), steps: Some(90), ..ModelDefaults::default() },
            limits: ModelLimits {
                max_pixels: Some(1_000_000),
                max_steps: Some(20),
                ..ModelLimits::default()
            },
            ..ModelSettings::default()
        };
        let info = settings.apply(EngineInfo::new(ModelCard::default()));
        let card = &info.model;
        assert_eq!((card.name.as_str(), card.width, card.height), ("fast", 128, 512));
        assert_eq!((card.steps, card.sampling.max_steps), (20, 20));
        assert_eq!(settings.request_limits(card).max_pixels, 1_000_000);
    }
}
