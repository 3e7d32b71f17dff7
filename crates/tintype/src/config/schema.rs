//! Which settings there are. `tintype.default.toml` is the only list: keys, defaults and help come from it, and so do the
//! flags and the names of the environment's variables.

use std::sync::LazyLock;

use toml::Table;

use super::layers::as_text;

/// The file of defaults, part of the binary.
const DEFAULTS: &str = include_str!("../../../../tintype.default.toml");

/// One setting.
#[derive(Debug)]
pub(crate) struct Setting {
    /// Its name, as in the file: `data_dir`.
    pub(crate) key: &'static str,
    /// The line above it in the file.
    pub(crate) help: &'static str,
    /// The section of the file that it is in.
    pub(crate) heading: &'static str,
    /// Its default, as text.
    pub(crate) default: String,
    /// True or false, so that its flag needs no value.
    pub(crate) is_boolean: bool,
}

impl Setting {
    /// Its variable in the environment: `TINTYPE_DATA_DIR`.
    pub(crate) fn variable(&self) -> String {
        format!("TINTYPE_{}", self.key.to_ascii_uppercase())
    }

    /// Its flag on the command line: `data-dir`.
    pub(crate) fn flag(&self) -> String {
        self.key.replace('_', "-")
    }

    /// Its value must not be shown.
    pub(crate) fn is_secret(&self) -> bool {
        self.key.contains("secret") || self.key == "api_key"
    }
}

/// Every setting, in the file's order.
pub(crate) fn settings() -> &'static [Setting] {
    static SETTINGS: LazyLock<Vec<Setting>> = LazyLock::new(read_defaults);
    &SETTINGS
}

fn read_defaults() -> Vec<Setting> {
    let values: Table = DEFAULTS.parse().expect("the file is part of the program and of its tests");
    let (mut heading, mut help) = ("", "");
    let mut found = Vec::new();
    for line in DEFAULTS.lines() {
        if let Some(text) = line.strip_prefix("## ") {
            heading = text;
        } else if let Some(text) = line.strip_prefix("# ") {
            help = text;
        } else if let Some((key, _)) = line.split_once(" = ") {
            let value = &values[key];
            let default = as_text(value).expect("the file is part of the program and of its tests");
            found.push(Setting { key, help, heading, default, is_boolean: value.is_bool() });
            help = "";
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_of_the_file_is_found_with_its_help() {
        let values: Table = DEFAULTS.parse().expect("valid TOML");
        assert_eq!(settings().len(), values.len());
        for setting in settings() {
            assert!(values.contains_key(setting.key));
            assert!(!setting.help.is_empty() && !setting.heading.is_empty(), "{}", setting.key);
            assert!(!setting.help.ends_with('.'), "{}: help has no full stop", setting.key);
        }
    }
}
