//! Builds the list of models from the settings, and checks them against each other.

use std::fmt::Display;

use anyhow::{Result, anyhow, ensure};
use tintype_ledger::money::Price;
use tintype_service::Alias;

use super::table::ModelTable;
use super::{LoadTime, ModelChoice, ModelDefaults, ModelEntry, ModelLimits, Models, ModelsSection};
use crate::config::layers::Layers;
use crate::config::reader::join;
use crate::config::sections::SageMakerSettings;

/// The value of the setting `model` for the built-in model, which is also an alias of it.
const BUILTIN: &str = "builtin";

/// The settings at the top level that apply to models without settings of their own.
pub(in crate::config) struct Common<'a> {
    /// The only model, if there are no tables.
    pub(in crate::config) model: &'a ModelChoice,
    /// Aliases of the default model.
    pub(in crate::config) aliases: &'a [Alias],
    /// The price.
    pub(in crate::config) price: Option<Price>,
    /// The limits.
    pub(in crate::config) limits: ModelLimits,
    /// Settings of SageMaker endpoints.
    pub(in crate::config) endpoint: SageMakerSettings,
}

impl Models {
    /// The models of the tables, or else the only model.
    ///
    /// # Errors
    /// If a value in a table is invalid, or two tables contradict each other.
    pub(in crate::config) fn read(layers: &Layers, common: &Common<'_>) -> Result<Self> {
        let section: ModelsSection = layers.section()?;
        let tables = section.models.0;
        let tables_with_default: Vec<_> = tables.iter().filter(|(_, table)| table.default).collect();
        if let [(first, _), (second, _), ..] = &tables_with_default[..] {
            return Err(at(
                layers,
                second,
                "default",
                format_args!("is true, and so is `{}`", path(first, "default")),
            ));
        }
        let first = tables_with_default.first().copied().or(tables.first());
        let default = first.map_or_else(|| common.model.default_name(), |(name, _)| name.clone());
        let mut entries = Vec::new();
        for (name, table) in &tables {
            entries.push(entry(layers, common, name, table)?);
        }
        check_names(layers, &entries)?;
        if entries.is_empty() {
            entries.push(only_entry(common));
        }
        add_general_aliases(&mut entries, &default, common.aliases);
        Ok(Self { default, entries, memory: section.memory })
    }
}

/// The path of a key in a model's table.
fn path(model: &str, key: &str) -> String {
    join(&join("models", model), key)
}

/// An error about a key in a model's table: `models.NAME.KEY (SOURCE) PROBLEM`.
fn at(layers: &Layers, model: &str, key: &str, problem: impl Display) -> anyhow::Error {
    anyhow!("`{}` ({}) {problem}", path(model, key), layers.source(&["models", model, key]))
}

/// The model of the setting `model`.
fn only_entry(common: &Common<'_>) -> ModelEntry {
    ModelEntry {
        name: common.model.default_name(),
        engine: common.model.clone(),
        aliases: Vec::new(),
        price: common.price,
        defaults: ModelDefaults::default(),
        limits: common.limits,
        endpoint: common.endpoint.clone(),
        load: LoadTime::AtStart,
    }
}

/// The model of a table.
fn entry(layers: &Layers, common: &Common<'_>, name: &str, table: &ModelTable) -> Result<ModelEntry> {
    ensure!(
        name.parse::<Alias>().is_ok() && !name.ends_with('*'),
        "`{}` ({}) has an invalid name; the name of a model has visible ASCII characters other than `*` and `,`",
        join("models", name),
        layers.source(&["models", name])
    );
    let limits = ModelLimits {
        max_pixels: table.max_pixels.unwrap_or(common.limits.max_pixels),
        max_work: table.max_work.unwrap_or(common.limits.max_work),
        max_steps: table.max_steps.or(common.limits.max_steps),
    };
    let defaults = table.defaults();
    if let (Some(steps), Some(max)) = (defaults.steps, limits.max_steps)
        && steps > max
    {
        return Err(at(layers, name, "steps", format_args!("is {steps}; the maximum is `max_steps`, {max}")));
    }
    if let (Some(width), Some(height), Some(max)) = (defaults.width, defaults.height, limits.max_pixels) {
        let pixels = u64::from(width) * u64::from(height);
        if pixels > max {
            let problem =
                format_args!("and `height` are {pixels} pixels; the maximum is `max_pixels`, {max}");
            return Err(at(layers, name, "width", problem));
        }
    }
    Ok(ModelEntry {
        name: name.to_owned(),
        engine: table.engine.clone(),
        aliases: table.aliases.clone(),
        price: table.price.unwrap_or(common.price),
        defaults,
        limits,
        endpoint: table.endpoint(&common.endpoint),
        load: table.load,
    })
}

/// Checks that each name and alias means one model.
fn check_names(layers: &Layers, entries: &[ModelEntry]) -> Result<()> {
    for (index, entry) in entries.iter().enumerate() {
        for alias in &entry.aliases {
            let text = alias.to_string();
            if let Some(other) = entries.iter().find(|other| other.name == text && other.name != entry.name) {
                let problem = format_args!(
                    "has `{text}`, which is the name of another model, `{}`",
                    join("models", &other.name)
                );
                return Err(at(layers, &entry.name, "aliases", problem));
            }
            if let Some(other) = entries[..index].iter().find(|other| other.aliases.contains(alias)) {
                let problem = format_args!("has `{text}`, and so has `{}`", path(&other.name, "aliases"));
                return Err(at(layers, &entry.name, "aliases", problem));
            }
        }
    }
    Ok(())
}

/// Adds the aliases of the setting `aliases` to the default model, except those that a table uses, and the alias
/// `builtin` to the built-in model.
fn add_general_aliases(entries: &mut [ModelEntry], default: &str, general: &[Alias]) {
    let is_used = |entries: &[ModelEntry], alias: &Alias| {
        entries.iter().any(|entry| entry.aliases.contains(alias) || entry.name == alias.to_string())
    };
    let free: Vec<_> = general.iter().filter(|alias| !is_used(entries, alias)).cloned().collect();
    let (mut builtin, mut is_covered) = (None, false);
    for (index, entry) in entries.iter_mut().enumerate() {
        let is_default = entry.name == default;
        if is_default {
            entry.aliases.extend(free.iter().cloned());
        }
        is_covered |= entry.name == BUILTIN || entry.aliases.iter().any(|alias| alias.covers(BUILTIN));
        if entry.engine == ModelChoice::Builtin && (is_default || builtin.is_none()) {
            builtin = Some(index);
        }
    }
    if let Some(entry) = builtin.and_then(|index| entries.get_mut(index)).filter(|_| !is_covered) {
        entry.aliases.extend(BUILTIN.parse::<Alias>());
    }
}
