//! Settings, merged from the defaults file, `tintype.toml`, the environment and flags. Each value records
//! its source.
//!
//! The layers become one tree of values ([`Layers`]). The structs in `sections.rs` and `models` read it with
//! serde. Their types are the only description of the settings: which keys exist, which are lists or tables,
//! and which are secrets.

mod collector;
mod container;
mod environment;
mod fields;
mod file;
mod flags;
mod known;
mod layers;
mod models;
mod reader;
mod schema;
mod sections;
mod shape;
mod show;
mod tree;
mod units;
mod values;
mod variables;

use anyhow::Result;
use tintype_core::secret::Secret;

pub(crate) use collector::Collector;
pub(crate) use environment::Environment;
pub(crate) use flags::{AllFlags, GenerateFlags, LedgerFlags};
pub(crate) use layers::{Flags, Layers};
pub(crate) use models::{ModelChoice, ModelDefaults, ModelEntry, ModelLimits, Models};
pub(crate) use sections::{
    ConnectionSettings, LedgerSettings, LimitSettings, LogSettings, ModelSettings, S3Connection,
    SageMakerSettings, ServingSettings, StoreSettings,
};
pub(crate) use show::{as_json, as_toml};
pub(crate) use values::{Device, LambdaResponse, LedgerChoice, LogFormat, StoreChoice};

use models::Common;
use sections::ClientSettings;

/// All settings, validated.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Settings of the server and the Lambda function.
    pub(crate) serving: ServingSettings,
    /// Limits of client connections.
    pub(crate) connections: ConnectionSettings,
    /// Settings of the device and of the models' files.
    pub(crate) model: ModelSettings,
    /// The models.
    pub(crate) models: Models,
    /// Settings of the image store.
    pub(crate) store: StoreSettings,
    /// Settings of the ledger: keys, jobs and usage.
    pub(crate) ledger: LedgerSettings,
    /// Limits of requests.
    pub(crate) limits: LimitSettings,
    /// The API key that `tintype generate --server` sends.
    pub(crate) api_key: Option<Secret>,
    /// Settings of logs, traces and metrics.
    pub(crate) log: LogSettings,
}

impl Config {
    /// Gathers the layers and validates all values.
    ///
    /// # Errors
    /// If a layer cannot be read or a value is invalid. The message has the setting, its source and the
    /// allowed values.
    pub(crate) fn load(environment: &Environment, flags: &Flags) -> Result<Self> {
        Self::check(&Layers::gather(environment, flags)?, environment)
    }

    /// Validates all values.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub(crate) fn check(layers: &Layers, environment: &Environment) -> Result<Self> {
        let serving: ServingSettings = layers.section()?;
        let mut model: ModelSettings = layers.section()?;
        model.hub_cache = model.hub_cache.or_else(|| environment.hub_cache.clone());
        let s3: S3Connection = layers.section()?;
        s3.credentials()?;
        let store = StoreSettings { s3, ..layers.section()? };
        let ledger: LedgerSettings = layers.section()?;
        let limits: LimitSettings = layers.section()?;
        let common = Common {
            model: &model.choice,
            aliases: &serving.aliases,
            price: ledger.price,
            limits: ModelLimits { max_pixels: limits.max_pixels, max_work: limits.max_work, max_steps: None },
            endpoint: layers.section()?,
        };
        let models = Models::read(layers, &common)?;
        let log = LogSettings {
            explicit: layers.is_set("log"),
            traces: environment.traces,
            metrics: environment.metrics.clone(),
            colors: environment.colors,
            ..layers.section()?
        };
        let ClientSettings { api_key } = layers.section()?;
        Ok(Self {
            serving,
            connections: layers.section()?,
            model,
            models,
            store,
            ledger,
            limits,
            api_key,
            log,
        })
    }
}

#[cfg(test)]
mod tests;
