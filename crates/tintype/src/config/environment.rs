//! Reads the process environment, once. `clippy.toml` forbids it in every other module.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};

use super::collector::Collector;

/// What the process was started with.
#[derive(Clone, Default)]
pub(crate) struct Environment {
    /// Every variable whose name begins with `TINTYPE_`.
    pub(crate) variables: BTreeMap<String, String>,
    /// The cache folder of the Hugging Face tools.
    pub(crate) hub_cache: Option<PathBuf>,
    /// `NO_COLOR` is not set (no-color.org).
    pub(crate) colors: bool,
    /// AWS Lambda or an emulator of it has started this process.
    pub(crate) on_lambda: bool,
    /// OpenTelemetry's variables configure a collector for traces, and do not disable traces.
    pub(crate) traces: bool,
    /// The collector for metrics that OpenTelemetry's variables configure.
    pub(crate) metrics: Option<Collector>,
    /// The port on which SageMaker expects the container's server, if SageMaker has set one.
    pub(crate) sagemaker_port: Option<String>,
    /// The base of relative paths.
    pub(crate) working_folder: PathBuf,
}

/// Without the values of variables, which may be secrets.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.variables.keys().collect();
        f.debug_struct("Environment").field("variables", &names).finish_non_exhaustive()
    }
}

impl Environment {
    /// Reads this process's environment.
    ///
    /// # Errors
    /// If a `TINTYPE_` variable is not UTF-8, or the working folder does not exist.
    #[expect(clippy::disallowed_methods, reason = "this is the module that reads the environment")]
    pub(crate) fn read() -> Result<Self> {
        let mut variables = BTreeMap::new();
        for (name, value) in env::vars_os() {
            let Some(name) = name.to_str().filter(|name| name.starts_with("TINTYPE_")) else { continue };
            let value =
                value.into_string().map_err(|_| anyhow!("environment variable {name} is not valid UTF-8"))?;
            variables.insert(name.to_owned(), value);
        }
        let hub_cache =
            hub_cache(env::var_os("HF_HUB_CACHE"), env::var_os("HF_HOME"), env::home_dir().as_deref());
        let colors = env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let on_lambda = env::var_os("AWS_LAMBDA_RUNTIME_API").is_some();
        let variable = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let collector = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];
        let traces = collector.iter().any(|name| variable(name).is_some())
            && variable("OTEL_SDK_DISABLED").is_none_or(|value| !value.eq_ignore_ascii_case("true"))
            && variable("OTEL_TRACES_EXPORTER").is_none_or(|value| value != "none");
        let metrics = Collector::from_variables(variable);
        let sagemaker_port = env::var("SAGEMAKER_BIND_TO_PORT").ok();
        let working_folder = env::current_dir()?;
        Ok(Self { variables, hub_cache, colors, on_lambda, traces, metrics, sagemaker_port, working_folder })
    }
}

/// The cache folder, by the rules of the hub's own library (`huggingface_hub/constants.py`).
fn hub_cache(cache: Option<OsString>, home: Option<OsString>, user: Option<&Path>) -> Option<PathBuf> {
    let given = |value: Option<OsString>| value.filter(|value| !value.is_empty()).map(PathBuf::from);
    given(cache)
        .or_else(|| given(home).map(|home| home.join("hub")))
        .or_else(|| user.map(|user| user.join(".cache/huggingface/hub")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hub_cache_follows_the_rules_of_the_hubs_tools() {
        let user = Some(Path::new("/home/u"));
        assert_eq!(hub_cache(Some("/c".into()), Some("/h".into()), user), Some("/c".into()));
        assert_eq!(hub_cache(Some("".into()), Some("/h".into()), user), Some("/h/hub".into()));
        assert_eq!(hub_cache(None, None, user), Some("/home/u/.cache/huggingface/hub".into()));
        assert_eq!(hub_cache(None, None, None), None);
    }
}
