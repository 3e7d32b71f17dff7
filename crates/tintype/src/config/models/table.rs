//! The tables `[models.NAME]` as the settings file has them.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use tintype_ledger::money::Price;
use tintype_sagemaker::wire::Dialect;
use tintype_service::Alias;

use super::super::fields;
use super::{LoadTime, ModelChoice, ModelDefaults};
use crate::config::sections::SageMakerSettings;

/// The settings of several models.
#[derive(Debug, Deserialize)]
pub(in crate::config) struct ModelsSection {
    /// The tables, in the order of the file.
    #[serde(default)]
    pub(super) models: Named<ModelTable>,
    /// Maximum memory of loaded models in bytes; none means three quarters of the available memory.
    #[serde(rename = "models_memory", deserialize_with = "fields::auto_size")]
    pub(super) memory: Option<u64>,
}

/// One table. A key that is absent has the value of the setting of the same name at the top level, or of the
/// model itself.
#[derive(Debug, Deserialize)]
pub(super) struct ModelTable {
    /// What runs the model.
    #[serde(deserialize_with = "fields::model")]
    pub(super) engine: ModelChoice,
    /// Other names of the model in requests.
    #[serde(default, deserialize_with = "fields::aliases")]
    pub(super) aliases: Vec<Alias>,
    /// The price; `Some(None)` means none.
    #[serde(default, deserialize_with = "fields::given_price")]
    pub(super) price: Option<Option<Price>>,
    #[serde(default, deserialize_with = "fields::optional_side")]
    width: Option<u32>,
    #[serde(default, deserialize_with = "fields::optional_side")]
    height: Option<u32>,
    #[serde(default, deserialize_with = "fields::optional_steps")]
    steps: Option<u32>,
    #[serde(default, deserialize_with = "fields::optional_guidance")]
    guidance: Option<f64>,
    /// As the setting `max_pixels`; `Some(None)` is `auto`.
    #[serde(default, deserialize_with = "fields::given_auto_count")]
    pub(super) max_pixels: Option<Option<u64>>,
    /// As the setting `max_work`; `Some(None)` is `auto`.
    #[serde(default, deserialize_with = "fields::given_auto_count")]
    pub(super) max_work: Option<Option<u64>>,
    /// Maximum number of denoising steps of a request.
    #[serde(default, deserialize_with = "fields::optional_steps")]
    pub(super) max_steps: Option<u32>,
    /// When the model is loaded.
    #[serde(default, deserialize_with = "fields::load_time")]
    pub(super) load: LoadTime,
    /// The model is for requests that name none.
    #[serde(default)]
    pub(super) default: bool,
    sagemaker_async: Option<bool>,
    #[serde(default, deserialize_with = "fields::optional_dialect")]
    sagemaker_dialect: Option<Dialect>,
    #[serde(default, deserialize_with = "fields::given")]
    sagemaker_attributes: Option<Option<String>>,
    #[serde(default, deserialize_with = "fields::given")]
    sagemaker_component: Option<Option<String>>,
    #[serde(default, deserialize_with = "fields::optional_side")]
    sagemaker_size: Option<u32>,
    #[serde(default, deserialize_with = "fields::optional_steps")]
    sagemaker_steps: Option<u32>,
    #[serde(default, deserialize_with = "fields::optional_slots")]
    sagemaker_slots: Option<usize>,
}

impl ModelTable {
    /// The default parameters of requests.
    pub(super) fn defaults(&self) -> ModelDefaults {
        ModelDefaults { width: self.width, height: self.height, steps: self.steps, guidance: self.guidance }
    }

    /// The settings of the endpoint: the table's, or else the general ones.
    pub(super) fn endpoint(&self, general: &SageMakerSettings) -> SageMakerSettings {
        SageMakerSettings {
            asynchronous: self.sagemaker_async.unwrap_or(general.asynchronous),
            dialect: self.sagemaker_dialect.unwrap_or(general.dialect),
            attributes: self.sagemaker_attributes.clone().unwrap_or_else(|| general.attributes.clone()),
            component: self.sagemaker_component.clone().unwrap_or_else(|| general.component.clone()),
            size: self.sagemaker_size.unwrap_or(general.size),
            steps: self.sagemaker_steps.unwrap_or(general.steps),
            slots: self.sagemaker_slots.unwrap_or(general.slots),
        }
    }
}

/// Tables whose names the user chooses, in the order of the file.
#[derive(Debug)]
pub(super) struct Named<T>(pub(super) Vec<(String, T)>);

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(NamedVisitor(PhantomData))
    }
}

struct NamedVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for NamedVisitor<T> {
    type Value = Named<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table for each name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Named<T>, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Named(entries))
    }
}
