//! The list of settings. `tintype.default.toml` is its only source: keys, defaults and help texts come from
//! that file, and the names of flags and environment variables come from the keys.

use std::sync::LazyLock;

use toml::{Table, Value};

use super::tree::as_text;

/// The file of defaults, part of the binary.
const DEFAULTS: &str = include_str!("../../../../tintype.default.toml");

/// A section of the defaults file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    /// The HTTP server.
    Serving,
    /// Client connections.
    Connections,
    /// The AWS Lambda function.
    Lambda,
    /// The model and its device.
    Model,
    /// The SageMaker endpoint that runs the model.
    SageMakerEndpoint,
    /// The image store.
    Store,
    /// API keys, jobs and usage.
    Ledger,
    /// Limits of requests.
    Limits,
    /// `tintype generate` as a client of a server.
    Client,
    /// The log.
    Log,
    /// Several models in one server.
    Models,
}

impl Section {
    /// Every section, in the order of the file.
    const ALL: [Self; 11] = [
        Self::Serving,
        Self::Connections,
        Self::Lambda,
        Self::Model,
        Self::SageMakerEndpoint,
        Self::Store,
        Self::Ledger,
        Self::Limits,
        Self::Client,
        Self::Log,
        Self::Models,
    ];

    /// The heading in the defaults file, in `--help` and in the output of `tintype config`.
    pub(crate) fn heading(self) -> &'static str {
        match self {
            Self::Serving => "Serving",
            Self::Connections => "Connections",
            Self::Lambda => "AWS Lambda",
            Self::Model => "Model",
            Self::SageMakerEndpoint => "SageMaker endpoint",
            Self::Store => "Store",
            Self::Ledger => "Ledger",
            Self::Limits => "Limits",
            Self::Client => "Client",
            Self::Log => "Log",
            Self::Models => "Several models",
        }
    }

    fn from_heading(heading: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|section| section.heading() == heading)
    }
}

/// One setting.
#[derive(Debug)]
pub(crate) struct Setting {
    /// Its name in the file: `data_dir`.
    pub(crate) key: &'static str,
    /// The comment above it in the file, on one line.
    pub(crate) help: String,
    /// The section of the file that contains it.
    pub(crate) section: Section,
    /// Its default.
    pub(crate) default: Value,
}

impl Setting {
    /// Its command-line flag, without the dashes in front: `data-dir`.
    pub(crate) fn flag(&self) -> String {
        self.key.replace('_', "-")
    }

    /// Its default as the flag accepts it: the elements of a list have commas between them.
    pub(crate) fn default_text(&self) -> String {
        match &self.default {
            Value::Array(elements) => elements.iter().filter_map(as_text).collect::<Vec<_>>().join(", "),
            scalar => as_text(scalar).unwrap_or_default(),
        }
    }

    /// The value is `true` or `false`, so the flag needs no value.
    pub(crate) fn is_boolean(&self) -> bool {
        self.default.is_bool()
    }
}

/// Every setting, in the order of the file.
pub(crate) fn settings() -> &'static [Setting] {
    static SETTINGS: LazyLock<Vec<Setting>> = LazyLock::new(read_defaults);
    &SETTINGS
}

fn read_defaults() -> Vec<Setting> {
    let values: Table = DEFAULTS.parse().expect("the defaults file is valid TOML");
    let mut section = Section::Serving;
    let mut help = Vec::new();
    let mut settings = Vec::new();
    for line in DEFAULTS.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            section = Section::from_heading(heading).expect("every heading names a section");
            help.clear();
        } else if let Some(text) = line.strip_prefix("# ") {
            help.push(text);
        } else if let Some((key, _)) = line.split_once(" = ") {
            settings.push(Setting { key, help: help.join(" "), section, default: values[key].clone() });
            help.clear();
        }
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::super::known::keys;
    use super::super::sections::shape;
    use super::*;

    #[test]
    fn the_structs_read_exactly_the_settings_of_the_file() {
        let mut read: Vec<_> = keys(shape()).into_iter().filter(|key| *key != "models").collect();
        let mut in_file: Vec<_> = settings().iter().map(|setting| setting.key).collect();
        read.sort_unstable();
        in_file.sort_unstable();
        assert_eq!(read, in_file);
    }

    #[test]
    fn every_setting_of_the_file_is_found_with_its_help() {
        let values: Table = DEFAULTS.parse().expect("valid TOML");
        assert_eq!(settings().len(), values.len());
        for setting in settings() {
            assert!(values.contains_key(setting.key));
            assert!(!setting.help.is_empty(), "{}", setting.key);
            assert!(!setting.help.ends_with('.'), "{}: help has no full stop", setting.key);
        }
        for section in Section::ALL {
            assert!(settings().iter().any(|setting| setting.section == section), "{section:?}");
        }
    }
}
