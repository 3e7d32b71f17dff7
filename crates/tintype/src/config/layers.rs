//! Merges the layers of settings. Each one overrides the previous: defaults, file, environment, flags.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use toml::{Table, Value};

use super::container;
use super::environment::Environment;
use super::schema::{Setting, settings};
use crate::regular_file;

/// The settings file, if neither the flag nor the variable names another one. It may be absent.
const DEFAULT_FILE: &str = "tintype.toml";
/// The variable that names the settings file. It is not a setting.
const FILE_VARIABLE: &str = "TINTYPE_CONFIG";
/// Maximum size of the settings file, in bytes. What the shell opens is read too, but not without end.
const MAX_FILE: u64 = 1 << 20;
/// Defaults that differ on AWS Lambda, which has no persistent disk and parses JSON logs.
const ON_LAMBDA: [(&str, &str); 2] = [("ledger", "bucket"), ("log_format", "json")];

/// The origin of a setting's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SettingSource {
    /// No layer sets it.
    Default,
    /// A settings file.
    File(PathBuf),
    /// A variable in the environment.
    Variable(String),
    /// A flag on the command line.
    Flag(String),
}

impl fmt::Display for SettingSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(name) => write!(f, "--{name}"),
        }
    }
}

/// The settings on the command line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flags {
    /// The settings file given by `--config`.
    pub(crate) file: Option<PathBuf>,
    /// Keys and values of the settings.
    pub(crate) values: Vec<(&'static str, String)>,
}

/// A setting's value after all layers.
#[derive(Clone, Debug)]
pub(crate) struct Effective {
    /// The setting.
    pub(crate) setting: &'static Setting,
    /// Its value, as text.
    pub(crate) text: String,
    /// The layer that it came from.
    pub(crate) source: SettingSource,
}

/// All values after all layers, not yet parsed.
#[derive(Clone, Debug)]
pub(crate) struct Layers(Vec<Effective>);

impl Layers {
    /// Merges the layers: defaults, file, environment, flags.
    ///
    /// # Errors
    /// If the file cannot be read or is not valid TOML, or if the file or the environment contains an unknown
    /// setting.
    pub(crate) fn gather(environment: &Environment, flags: &Flags) -> Result<Self> {
        let effective = |setting: &'static Setting| Effective {
            setting,
            text: setting.default.clone(),
            source: SettingSource::Default,
        };
        let mut layers = Self(settings().iter().map(effective).collect());
        if environment.on_lambda {
            for (key, text) in ON_LAMBDA {
                layers.set(key, text.to_owned(), |_| SettingSource::Default)?;
            }
        }
        let file = flags.file.clone().or_else(|| environment.variables.get(FILE_VARIABLE).map(PathBuf::from));
        layers.apply_file(&environment.working_folder, file.as_deref())?;
        layers.apply_environment(environment)?;
        for (key, text) in &flags.values {
            layers.set(key, text.clone(), |setting| SettingSource::Flag(setting.flag()))?;
        }
        if layers.get("sagemaker").text == "true" {
            for (key, text) in container::defaults(environment) {
                if !layers.is_set(key) {
                    layers.set(key, text, |_| SettingSource::Default)?;
                }
            }
        }
        Ok(layers)
    }

    /// Applies the settings file. `explicit` is the path that the user gave; that file must exist.
    fn apply_file(&mut self, folder: &Path, explicit: Option<&Path>) -> Result<()> {
        let path = explicit.unwrap_or(Path::new(DEFAULT_FILE));
        let content = match read_settings(&folder.join(path)) {
            Err(error) if explicit.is_none() && error.kind() == io::ErrorKind::NotFound => return Ok(()),
            read => read.with_context(|| format!("cannot read the settings file {}", path.display()))?,
        };
        let table: Table =
            content.parse().map_err(|error: toml::de::Error| malformed(path, &content, &error))?;
        for (key, value) in &table {
            let text = as_text(value).with_context(|| {
                format!("`{key}` in {} must be a string, a number, true or false", path.display())
            })?;
            self.set(key, text, |_| SettingSource::File(path.to_owned()))
                .with_context(|| format!("in {}", path.display()))?;
        }
        Ok(())
    }

    fn apply_environment(&mut self, environment: &Environment) -> Result<()> {
        for (name, text) in environment.variables.iter().filter(|(name, _)| *name != FILE_VARIABLE) {
            let known = settings().iter().find(|setting| setting.variable() == *name);
            let Some(setting) = known else {
                bail!("unknown setting in environment variable {name}; `tintype config` lists all settings");
            };
            self.set(setting.key, text.clone(), |_| SettingSource::Variable(name.clone()))?;
        }
        Ok(())
    }

    fn set(&mut self, key: &str, text: String, source: impl Fn(&Setting) -> SettingSource) -> Result<()> {
        let effective = self
            .0
            .iter_mut()
            .find(|effective| effective.setting.key == key)
            .ok_or_else(|| anyhow!("unknown setting `{key}`; `tintype config` lists all settings"))?;
        effective.source = source(effective.setting);
        effective.text = text;
        Ok(())
    }

    /// Parses one setting. The error of `parse` describes the values that are allowed.
    ///
    /// # Errors
    /// If the value is invalid. The message has the setting, its value, the value's source and the allowed
    /// values.
    pub(crate) fn read<T>(&self, key: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<T> {
        let effective = self.get(key);
        parse(&effective.text).map_err(|expected| {
            let shown = if effective.setting.is_secret() { "[redacted]" } else { &effective.text };
            anyhow!("`{key}` is `{shown}` ({}); it must be {expected}", effective.source)
        })
    }

    /// Parses a setting for which an empty string means "not set".
    ///
    /// # Errors
    /// As [`Layers::read`].
    pub(crate) fn read_optional<T>(
        &self,
        key: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>> {
        self.read(key, |text| if text.is_empty() { Ok(None) } else { parse(text).map(Some) })
    }

    /// Whether a file, a variable or a flag sets it.
    pub(crate) fn is_set(&self, key: &str) -> bool {
        self.get(key).source != SettingSource::Default
    }

    /// The value of an existing setting.
    fn get(&self, key: &str) -> &Effective {
        self.0
            .iter()
            .find(|effective| effective.setting.key == key)
            .expect("the defaults file has the setting")
    }

    /// All values, in the order of the defaults file.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Effective> {
        self.0.iter()
    }
}

/// A TOML scalar as text; none for the other types, which no setting has.
pub(crate) fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Boolean(boolean) => Some(boolean.to_string()),
        Value::Datetime(_) | Value::Array(_) | Value::Table(_) => None,
    }
}

/// The TOML parser's error on one line, with the line number.
fn malformed(path: &Path, content: &str, error: &toml::de::Error) -> anyhow::Error {
    let before = error.span().and_then(|span| content.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    anyhow!("{}, line {line}: {}", path.display(), error.message().replace('\n', ", "))
}

/// The content of the settings file.
fn read_settings(path: &Path) -> io::Result<String> {
    // `--config <(…)` is a pipe that the shell has opened, so it does not wait for a writer.
    let is_open =
        ["/dev/fd", "/dev/stdin", "/proc/self/fd", "/dev/null"].iter().any(|open| path.starts_with(open));
    let file = if is_open { File::open(path)? } else { regular_file::open(path)? };
    let mut content = String::new();
    file.take(MAX_FILE + 1).read_to_string(&mut content)?;
    if content.len() as u64 > MAX_FILE {
        let message = format!("it has more than {MAX_FILE} bytes, the maximum of a settings file");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(content)
}
