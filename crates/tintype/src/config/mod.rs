//! Settings: defaults file, `tintype.toml`, environment, flags; each value knows where it came from.

mod collector;
mod container;
mod environment;
mod flags;
mod layers;
mod schema;
mod show;
mod units;
mod values;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use tintype_core::secret::Secret;
use tintype_http::Alias;
use tintype_ledger::Synchronous;
use tintype_ledger::money::Amount;
use tintype_sagemaker::wire::Dialect;
use tracing_subscriber::filter::Targets;

pub(crate) use collector::Collector;
pub(crate) use environment::Environment;
pub(crate) use flags::{AllFlags, LedgerFlags, ModelFlags};
pub(crate) use layers::{Flags, Layers};
pub(crate) use show::{as_json, as_toml};
pub(crate) use values::{Device, LedgerChoice, LogFormat, ModelChoice, LambdaResponse, StoreChoice};

/// Every setting, checked.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// How clients are served.
    pub(crate) serving: ServingSettings,
    /// Which model computes, and on what.
    pub(crate) model: ModelSettings,
    /// Where pictures are kept.
    pub(crate) store: StoreSettings,
    /// What is kept of customers and their jobs.
    pub(crate) ledger: LedgerSettings,
    /// What may be asked for.
    pub(crate) limits: LimitSettings,
    /// The key that we show to other servers.
    pub(crate) api_key: Option<Secret>,
    /// What is logged.
    pub(crate) log: LogSettings,
}

/// How clients are served.
#[derive(Clone, Debug)]
pub(crate) struct ServingSettings {
    /// Where to listen.
    pub(crate) listen: SocketAddr,
    /// The origin under which clients reach this server, if it is not `listen`.
    pub(crate) public_url: Option<String>,
    /// Serve anyone, also beyond loopback.
    pub(crate) allow_anonymous: bool,
    /// Be the container of a SageMaker endpoint.
    pub(crate) sagemaker: bool,
    /// Refuse pictures by GET.
    pub(crate) no_get: bool,
    /// How long work goes on that nobody waits for.
    pub(crate) abandon_after: Duration,
    /// How long running work may take after SIGTERM.
    pub(crate) grace: Duration,
    /// How long a GET waits for its picture; none means to the end.
    pub(crate) respond_within: Option<Duration>,
    /// Names under which OpenAI's clients get the model.
    pub(crate) aliases: Vec<Alias>,
    /// How a Lambda function hands its answers over.
    pub(crate) lambda_response: LambdaResponse,
}

/// What is kept of customers and their jobs.
#[derive(Clone, Debug)]
pub(crate) struct LedgerSettings {
    /// Where.
    pub(crate) choice: LedgerChoice,
    /// What a commit of SQLite waits for.
    pub(crate) sync: Synchronous,
    /// What a second of engine time costs.
    pub(crate) price: Option<Amount>,
    /// How long ended jobs are kept; none means for ever.
    pub(crate) keep: Option<Duration>,
}

/// Which model computes, and on what.
#[derive(Clone, Debug)]
pub(crate) struct ModelSettings {
    /// The model.
    pub(crate) choice: ModelChoice,
    /// The device.
    pub(crate) device: Device,
    /// Threads; none means one per core.
    pub(crate) threads: Option<usize>,
    /// The hub's cache folder.
    pub(crate) hub_cache: Option<PathBuf>,
    /// How a SageMaker endpoint is called.
    pub(crate) endpoint: SageMakerSettings,
}

/// How a SageMaker endpoint is called.
#[derive(Clone, Debug)]
pub(crate) struct SageMakerSettings {
    /// It leaves its results in the store.
    pub(crate) asynchronous: bool,
    /// What its model understands.
    pub(crate) dialect: Dialect,
    /// What is sent along with every call.
    pub(crate) attributes: Option<String>,
    /// The component that is called.
    pub(crate) component: Option<String>,
    /// Width and height that its model is best at.
    pub(crate) size: u32,
    /// Steps if the client does not say.
    pub(crate) steps: u32,
    /// Calls at the same time.
    pub(crate) slots: usize,
}

/// Where pictures are kept.
#[derive(Clone, Debug)]
pub(crate) struct StoreSettings {
    /// Our own folder.
    pub(crate) data_dir: PathBuf,
    /// Which store.
    pub(crate) choice: StoreChoice,
    /// How to reach an S3 service.
    pub(crate) s3: S3Connection,
    /// How long the embedded store keeps pictures; none means for ever.
    pub(crate) keep: Option<Duration>,
    /// Bytes above which the embedded store deletes the oldest pictures; none means no limit.
    pub(crate) keep_bytes: Option<u64>,
}

/// How to reach an S3 service.
#[derive(Clone, Debug)]
pub(crate) struct S3Connection {
    /// Its origin; none means AWS.
    pub(crate) endpoint: Option<String>,
    /// Its origin as those see it who follow the links.
    pub(crate) public_endpoint: Option<String>,
    /// The bucket's region.
    pub(crate) region: Option<String>,
    /// Access key and secret; none means AWS's own chain.
    pub(crate) credentials: Option<(String, Secret)>,
    /// The longest life of a link signed by a session of unknown end.
    pub(crate) link_cap: Duration,
}

/// What may be asked for.
#[derive(Clone, Debug)]
pub(crate) struct LimitSettings {
    /// Requests that may wait, with clients that wait too.
    pub(crate) queue: usize,
    /// Jobs of one owner that may wait without.
    pub(crate) backlog: u32,
    /// Engine time that one job may take.
    pub(crate) max_job: Duration,
    /// Most pixels; none means by the model.
    pub(crate) max_pixels: Option<u64>,
    /// Most pixel-steps; none means by the model.
    pub(crate) max_work: Option<u64>,
    /// Most bytes for one request; none means by what is free.
    pub(crate) max_memory: Option<u64>,
}

/// What is logged.
#[derive(Clone, Debug)]
pub(crate) struct LogSettings {
    /// Which lines.
    pub(crate) filter: Targets,
    /// Somebody asked for them; it is not only the default.
    pub(crate) explicit: bool,
    /// How they look.
    pub(crate) format: LogFormat,
    /// Prompts are written to it.
    pub(crate) prompts: bool,
    /// Traces are sent to a collector.
    pub(crate) traces: bool,
    /// Metrics are sent to this one.
    pub(crate) metrics: Option<Collector>,
    /// Colours are welcome on a terminal.
    pub(crate) colors: bool,
}

impl Config {
    /// Gathers the layers and checks every value.
    ///
    /// # Errors
    /// One sentence that names the setting, where its value came from, and what it must be.
    pub(crate) fn load(environment: &Environment, flags: &Flags) -> Result<Self> {
        Self::check(&Layers::gather(environment, flags)?, environment)
    }

    /// Checks every value.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub(crate) fn check(layers: &Layers, environment: &Environment) -> Result<Self> {
        let text = |text: &str| Ok(text.to_owned());
        let auto_count = units::or_keyword("auto", units::count);
        let serving = ServingSettings {
            listen: layers.read("listen", values::address)?,
            public_url: layers.read_optional("public_url", values::origin)?,
            allow_anonymous: layers.read("allow_anonymous", units::boolean)?,
            sagemaker: layers.read("sagemaker", units::boolean)?,
            no_get: layers.read("no_get", units::boolean)?,
            abandon_after: layers.read("abandon_after", units::duration)?,
            grace: layers.read("grace", units::duration)?,
            respond_within: layers.read_optional("respond_within", units::duration)?,
            aliases: layers.read_optional("aliases", values::aliases)?.unwrap_or_default(),
            lambda_response: layers.read("lambda_response", values::response)?,
        };
        let hub_cache = layers.read_optional("hub_cache", text)?.map(PathBuf::from);
        let model = ModelSettings {
            choice: layers.read("model", values::model)?,
            device: layers.read("device", values::device)?,
            threads: Some(layers.read("threads", units::count)? as usize).filter(|&threads| threads > 0),
            hub_cache: hub_cache.or_else(|| environment.hub_cache.clone()),
            endpoint: SageMakerSettings {
                asynchronous: layers.read("sagemaker_async", units::boolean)?,
                dialect: layers.read("sagemaker_dialect", values::dialect)?,
                attributes: layers.read_optional("sagemaker_attributes", text)?,
                component: layers.read_optional("sagemaker_component", text)?,
                size: layers.read("sagemaker_size", values::side)?,
                steps: layers.read("sagemaker_steps", values::steps)?,
                slots: layers.read("sagemaker_slots", values::slots)?,
            },
        };
        let store = StoreSettings {
            data_dir: layers.read("data_dir", values::folder)?,
            choice: layers.read("store", values::store)?,
            s3: S3Connection {
                endpoint: layers.read_optional("s3_endpoint", values::origin)?,
                public_endpoint: layers.read_optional("s3_public_endpoint", values::origin)?,
                region: layers.read_optional("s3_region", text)?,
                credentials: credentials(layers)?,
                link_cap: layers.read("link_cap", units::duration)?,
            },
            keep: layers.read("keep", units::or_keyword("forever", units::duration))?,
            keep_bytes: layers.read("keep_bytes", units::or_keyword("unlimited", units::size))?,
        };
        let ledger = LedgerSettings {
            choice: layers.read("ledger", values::ledger)?,
            sync: layers.read("ledger_sync", values::synchronous)?,
            price: layers.read_optional("price", values::price)?,
            keep: layers.read("keep_jobs", units::or_keyword("forever", units::duration))?,
        };
        let limits = LimitSettings {
            queue: layers.read("queue", units::count)? as usize,
            backlog: u32::try_from(layers.read("backlog", units::count)?).unwrap_or(u32::MAX),
            max_job: layers.read("max_job", units::duration)?,
            max_pixels: layers.read("max_pixels", &auto_count)?,
            max_work: layers.read("max_work", &auto_count)?,
            max_memory: layers.read("max_memory", units::or_keyword("auto", units::size))?,
        };
        let log = LogSettings {
            filter: layers.read("log", values::log_filter)?,
            explicit: layers.is_set("log"),
            format: layers.read("log_format", values::log_format)?,
            prompts: layers.read("log_prompts", units::boolean)?,
            traces: environment.traces,
            metrics: environment.metrics.clone(),
            colors: environment.colors,
        };
        let api_key = layers.read_optional("api_key", |text| Ok(Secret::new(text)))?;
        Ok(Self { serving, model, store, ledger, limits, api_key, log })
    }
}

fn credentials(layers: &Layers) -> Result<Option<(String, Secret)>> {
    let id = layers.read_optional("s3_access_key_id", |text| Ok(text.to_owned()))?;
    let secret = layers.read_optional("s3_secret_access_key", |text| Ok(Secret::new(text)))?;
    match (id, secret) {
        (None, None) => Ok(None),
        (id, secret) => id
            .zip(secret)
            .map(Some)
            .context("`s3_access_key_id` and `s3_secret_access_key` belong together: set both or neither"),
    }
}

#[cfg(test)]
mod tests;
