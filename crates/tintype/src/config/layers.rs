//! Merges the layers of settings. Each one overrides the previous: defaults, file, environment, flags.

use std::fmt;
use std::path::PathBuf;

use anyhow::{Result, anyhow};
use serde::de::DeserializeOwned;

use super::environment::Environment;
use super::reader::TableReader;
use super::schema::{Setting, settings};
use super::sections::shape;
use super::tree::{Leaf, Node, SettingSource, Table};
use super::{container, file, known, models, variables};

/// The variable that names the settings file. It is not a setting.
const FILE_VARIABLE: &str = "TINTYPE_CONFIG";
/// Defaults that differ on AWS Lambda, which has no persistent disk and parses JSON logs.
const ON_LAMBDA: [(&str, &str); 2] = [("ledger", "bucket"), ("log_format", "json")];

/// The settings on the command line.
#[derive(Clone, Default)]
pub(crate) struct Flags {
    /// The settings file given by `--config`.
    pub(crate) file: Option<PathBuf>,
    /// Keys and values of the settings.
    pub(crate) values: Vec<(&'static str, String)>,
}

impl Flags {
    /// Removes a flag and returns its value.
    pub(crate) fn take(&mut self, key: &str) -> Option<String> {
        let index = self.values.iter().position(|(name, _)| *name == key)?;
        Some(self.values.remove(index).1)
    }
}

/// Without the values, which may be secrets.
impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<_> = self.values.iter().map(|(key, _)| key).collect();
        f.debug_struct("Flags").field("file", &self.file).field("keys", &keys).finish_non_exhaustive()
    }
}

/// All values after all layers, not yet parsed.
#[derive(Clone, Debug)]
pub(crate) struct Layers(Table);

impl Layers {
    /// Merges the layers: defaults, file, environment, flags.
    ///
    /// # Errors
    /// If the file cannot be read or is not valid TOML, or if the file or the environment contains
    /// an unknown setting.
    pub(crate) fn gather(environment: &Environment, flags: &Flags) -> Result<Self> {
        let mut tree = Table::new(SettingSource::Default);
        for setting in settings() {
            let leaf = Leaf { value: setting.default.clone(), source: SettingSource::Default };
            tree.set(setting.key, Node::Leaf(leaf));
        }
        if environment.on_lambda {
            for (key, text) in ON_LAMBDA {
                tree.set(key, Node::Leaf(Leaf::text(text, SettingSource::Default)));
            }
        }
        let named =
            flags.file.clone().or_else(|| environment.variables.get(FILE_VARIABLE).map(PathBuf::from));
        if let Some(file) = file::read(&environment.working_folder, named.as_deref())? {
            known::check(&file, shape(), "")?;
            models::check_file(&file)?;
            tree.extend(file);
        }
        for (name, text) in environment.variables.iter().filter(|(name, _)| *name != FILE_VARIABLE) {
            let path = variables::path(name, shape(), &tree)?;
            tree.set_at(&path, Leaf::text(text, SettingSource::Variable(name.clone())));
        }
        for (key, text) in &flags.values {
            let known = settings().iter().find(|setting| setting.key == *key);
            let setting = known.ok_or_else(|| anyhow!("unknown setting `{key}`"))?;
            tree.set(key, Node::Leaf(Leaf::text(text, SettingSource::Flag(setting.flag()))));
        }
        let mut layers = Self(tree);
        if layers.sagemaker() {
            for (key, text) in container::defaults(environment) {
                if !layers.is_set(key) {
                    layers.0.set(key, Node::Leaf(Leaf::text(text, SettingSource::Default)));
                }
            }
        }
        models::select(&mut layers.0)?;
        Ok(layers)
    }

    /// Whether the setting `sagemaker` is true; an invalid value is reported later.
    fn sagemaker(&self) -> bool {
        self.section::<super::sections::ContainerSetting>().is_ok_and(|section| section.sagemaker)
    }

    /// Reads a struct of settings.
    ///
    /// # Errors
    /// If a value is invalid. The message has the setting, its value, the value's source and the allowed
    /// values.
    pub(crate) fn section<T: DeserializeOwned>(&self) -> Result<T> {
        let reader = TableReader { table: &self.0, shape: shape(), path: String::new() };
        T::deserialize(reader).map_err(Into::into)
    }

    /// Whether a file, a variable or a flag sets it.
    pub(crate) fn is_set(&self, key: &str) -> bool {
        self.0.leaf(key).is_some_and(|leaf| leaf.source != SettingSource::Default)
    }

    /// The settings that have one value, in the order of the defaults file. With tables of models, `model`
    /// is not among them, because its value has become a table.
    pub(crate) fn values(&self) -> impl Iterator<Item = (&'static Setting, &Leaf)> {
        let has_models = models::has_tables(&self.0);
        let settings =
            settings().iter().filter(move |setting| !has_models || setting.key != models::SHORT_FORM);
        settings.filter_map(|setting| Some((setting, self.0.leaf(setting.key)?)))
    }

    /// The tables.
    pub(crate) fn tables(&self) -> impl Iterator<Item = (&str, &Table)> {
        self.0.iter().filter_map(|(key, node)| match node {
            Node::Table(table) => Some((key, table)),
            Node::Leaf(_) => None,
        })
    }

    /// The source of a value, for error messages.
    pub(super) fn source(&self, path: &[&str]) -> String {
        let mut table = &self.0;
        for key in path {
            match table.get(key) {
                Some(Node::Table(inner)) => table = inner,
                Some(Node::Leaf(leaf)) => return leaf.source.with_line(),
                None => break,
            }
        }
        table.source.with_line()
    }
}
