//! Where a setting's value can come from, one layer over the other.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use toml::{Table, Value};

use super::container;
use super::environment::Environment;
use super::schema::{Setting, settings};

/// The file that is read if there is one and no other was named.
const DEFAULT_FILE: &str = "tintype.toml";
/// The variable that names a file; not a setting.
const FILE_VARIABLE: &str = "TINTYPE_CONFIG";
/// Defaults that are others on AWS Lambda: there is no disk that lasts, and the log is read by machines.
const ON_LAMBDA: [(&str, &str); 2] = [("ledger", "bucket"), ("log_format", "json")];

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SettingSource {
    /// Nobody set it.
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

/// What was said on the command line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flags {
    /// The settings file that was named.
    pub(crate) file: Option<PathBuf>,
    /// Keys and values.
    pub(crate) values: Vec<(&'static str, String)>,
}

/// A setting's value in force.
#[derive(Clone, Debug)]
pub(crate) struct Effective {
    /// The setting.
    pub(crate) setting: &'static Setting,
    /// Its value, as text.
    pub(crate) text: String,
    /// Where it came from.
    pub(crate) source: SettingSource,
}

/// All values in force, not yet understood.
#[derive(Clone, Debug)]
pub(crate) struct Layers(Vec<Effective>);

impl Layers {
    /// Puts the layers over each other: defaults, file, environment, flags.
    ///
    /// # Errors
    /// A file that cannot be read, is not TOML or has a key that is no setting; a `TINTYPE_` variable that is no setting.
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
        let named =
            flags.file.clone().or_else(|| environment.variables.get(FILE_VARIABLE).map(PathBuf::from));
        layers.file(&environment.working_folder, named.as_deref())?;
        layers.environment(environment)?;
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

    fn file(&mut self, folder: &Path, named: Option<&Path>) -> Result<()> {
        let path = named.unwrap_or(Path::new(DEFAULT_FILE));
        let content = match fs::read_to_string(folder.join(path)) {
            Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            read => read.with_context(|| format!("cannot read the settings file {}", path.display()))?,
        };
        let table: Table =
            content.parse().map_err(|error: toml::de::Error| malformed(path, &content, &error))?;
        for (key, value) in &table {
            let text = as_text(value).with_context(|| {
                format!("`{key}` in {} must be text, a number, true or false", path.display())
            })?;
            self.set(key, text, |_| SettingSource::File(path.to_owned()))
                .with_context(|| format!("in {}", path.display()))?;
        }
        Ok(())
    }

    fn environment(&mut self, environment: &Environment) -> Result<()> {
        for (name, text) in environment.variables.iter().filter(|(name, _)| *name != FILE_VARIABLE) {
            let known = settings().iter().find(|setting| setting.variable() == *name);
            let Some(setting) = known else {
                bail!("the environment has {name}, which is no setting; `tintype config` lists them");
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
            .ok_or_else(|| anyhow!("`{key}` is no setting; `tintype config` lists them"))?;
        effective.source = source(effective.setting);
        effective.text = text;
        Ok(())
    }

    /// Reads one setting. `parse` gives what the value must be when it is not that.
    ///
    /// # Errors
    /// A sentence that names the setting, its value, where that came from and what it must be.
    pub(crate) fn read<T>(&self, key: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<T> {
        let effective = self.get(key);
        parse(&effective.text).map_err(|expected| {
            let shown = if effective.setting.is_secret() { "[redacted]" } else { &effective.text };
            anyhow!("`{key}` is `{shown}` ({}); it must be {expected}", effective.source)
        })
    }

    /// Reads a setting for which empty text means "not set".
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

    /// Whether somebody set it.
    pub(crate) fn is_set(&self, key: &str) -> bool {
        self.get(key).source != SettingSource::Default
    }

    /// The value of a setting that there is.
    fn get(&self, key: &str) -> &Effective {
        self.0.iter().find(|effective| effective.setting.key == key).expect("a test reads every setting")
    }

    /// Every value in force, in the order of the defaults file.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Effective> {
        self.0.iter()
    }
}

/// A scalar of TOML as text; nothing else can be a setting's value.
pub(crate) fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Boolean(switch) => Some(switch.to_string()),
        Value::Datetime(_) | Value::Array(_) | Value::Table(_) => None,
    }
}

/// The parser's complaint on one line.
fn malformed(path: &Path, content: &str, error: &toml::de::Error) -> anyhow::Error {
    let before = error.span().and_then(|span| content.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    anyhow!("{}, line {line}: {}", path.display(), error.message().replace('\n', ", "))
}
