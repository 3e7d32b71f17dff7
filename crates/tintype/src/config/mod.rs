//! Settings, merged from the defaults file, `tintype.toml`, the environment and flags. Each value records its
//! source.

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
use tintype_http::{Alias, CorsPolicy};
use tintype_ledger::Synchronous;
use tintype_ledger::money::Amount;
use tintype_sagemaker::wire::Dialect;
use tracing_subscriber::filter::Targets;

pub(crate) use collector::Collector;
pub(crate) use environment::Environment;
pub(crate) use flags::{AllFlags, GenerateFlags, LedgerFlags};
pub(crate) use layers::{Flags, Layers};
pub(crate) use show::{as_json, as_toml};
pub(crate) use values::model as parse_model;
pub(crate) use values::{Device, LambdaResponse, LedgerChoice, LogFormat, ModelChoice, StoreChoice};

/// The value of the setting `model` for the built-in model, which is also an alias of it.
const BUILTIN: &str = "builtin";

/// All settings, validated.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Settings of the server and the Lambda function.
    pub(crate) serving: ServingSettings,
    /// Limits of client connections.
    pub(crate) connections: ConnectionSettings,
    /// Settings of the model.
    pub(crate) model: ModelSettings,
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

/// Settings of the server and the Lambda function.
#[derive(Clone, Debug)]
pub(crate) struct ServingSettings {
    /// The address to listen on.
    pub(crate) listen: SocketAddr,
    /// The origin at which clients reach this server, if it differs from `listen`.
    pub(crate) public_url: Option<String>,
    /// Serve requests without a key even if other machines can reach the server.
    pub(crate) allow_anonymous: bool,
    /// Run as the container of a SageMaker endpoint.
    pub(crate) sagemaker: bool,
    /// Disable `GET /generate`.
    pub(crate) no_get: bool,
    /// How long a job continues after its last client has disconnected.
    pub(crate) abandon_after: Duration,
    /// Maximum time for running jobs after SIGTERM.
    pub(crate) grace: Duration,
    /// Maximum time that a request waits for its images; none means no limit.
    pub(crate) respond_within: Option<Duration>,
    /// Model names that OpenAI-compatible requests may use.
    pub(crate) aliases: Vec<Alias>,
    /// The web pages of other origins that may use the server.
    pub(crate) cors: CorsPolicy,
    /// How the Lambda function returns responses.
    pub(crate) lambda_response: LambdaResponse,
}

/// Limits of client connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionSettings {
    /// Time after which a connection without requests is closed.
    pub(crate) keep_alive: Duration,
    /// Maximum time between the first byte of a request and the end of its headers.
    pub(crate) header_timeout: Duration,
    /// Maximum time for which a transfer makes no progress.
    pub(crate) stall_timeout: Duration,
    /// Maximum number of open connections.
    pub(crate) max_connections: usize,
    /// Maximum time for discarding the rest of a request body after the response.
    pub(crate) drain_time: Duration,
    /// Maximum number of bytes to discard of a request body after the response.
    pub(crate) drain_bytes: u64,
}

/// Settings of the ledger: keys, jobs and usage.
#[derive(Clone, Debug)]
pub(crate) struct LedgerSettings {
    /// The kind of storage.
    pub(crate) choice: LedgerChoice,
    /// Durability of SQLite commits.
    pub(crate) sync: Synchronous,
    /// The price of one second of engine time.
    pub(crate) price: Option<Amount>,
    /// How long records of finished jobs are kept; none means forever.
    pub(crate) keep: Option<Duration>,
}

/// Settings of the model.
#[derive(Clone, Debug)]
pub(crate) struct ModelSettings {
    /// The model.
    pub(crate) choice: ModelChoice,
    /// The device.
    pub(crate) device: Device,
    /// Number of CPU threads; none means one per core.
    pub(crate) threads: Option<usize>,
    /// The folder of the Hugging Face cache.
    pub(crate) hub_cache: Option<PathBuf>,
    /// Settings of the SageMaker endpoint, if `choice` is one.
    pub(crate) endpoint: SageMakerSettings,
}

/// Settings of a SageMaker endpoint that runs the model.
#[derive(Clone, Debug)]
pub(crate) struct SageMakerSettings {
    /// The endpoint is asynchronous and writes its results to the store's bucket.
    pub(crate) asynchronous: bool,
    /// The request format of its model.
    pub(crate) dialect: Dialect,
    /// Custom attributes sent with every call.
    pub(crate) attributes: Option<String>,
    /// The inference component to call.
    pub(crate) component: Option<String>,
    /// Native image width and height of its model, in pixels.
    pub(crate) size: u32,
    /// Denoising steps, if the request does not specify them.
    pub(crate) steps: u32,
    /// Maximum number of concurrent calls.
    pub(crate) slots: usize,
}

/// Settings of the image store.
#[derive(Clone, Debug)]
pub(crate) struct StoreSettings {
    /// The folder for images, credentials and the SQLite ledger.
    pub(crate) data_dir: PathBuf,
    /// The kind of store.
    pub(crate) choice: StoreChoice,
    /// How to connect to an S3 service.
    pub(crate) s3: S3Connection,
    /// How long the embedded store keeps images; none means forever.
    pub(crate) keep: Option<Duration>,
    /// Size in bytes above which the embedded store deletes its oldest images; none means no limit.
    pub(crate) keep_bytes: Option<u64>,
}

/// How to connect to an S3 service.
#[derive(Clone, Debug)]
pub(crate) struct S3Connection {
    /// Its origin; none means AWS.
    pub(crate) endpoint: Option<String>,
    /// Its origin in links for clients; none means `endpoint`.
    pub(crate) public_endpoint: Option<String>,
    /// The bucket's region; none means the region of the AWS configuration.
    pub(crate) region: Option<String>,
    /// Access key id and secret; none means the AWS credential chain.
    pub(crate) credentials: Option<(String, Secret)>,
    /// Maximum lifetime of links signed with temporary credentials whose expiry is unknown.
    pub(crate) link_cap: Duration,
}

/// Limits of requests.
#[derive(Clone, Debug)]
pub(crate) struct LimitSettings {
    /// Maximum number of queued requests whose clients wait for the response.
    pub(crate) queue: usize,
    /// Maximum number of queued asynchronous jobs of one owner.
    pub(crate) backlog: u32,
    /// Maximum number of event streams of one job.
    pub(crate) watchers_per_job: usize,
    /// Maximum number of event streams of all jobs of one owner.
    pub(crate) watchers_per_owner: usize,
    /// Maximum engine time of one job.
    pub(crate) max_job: Duration,
    /// Maximum width × height; none means a limit derived from the model.
    pub(crate) max_pixels: Option<u64>,
    /// Maximum width × height × steps × n; none means a limit derived from the model.
    pub(crate) max_work: Option<u64>,
    /// Maximum memory of one request in bytes; none means half of the available memory.
    pub(crate) max_memory: Option<u64>,
}

/// Settings of logs, traces and metrics.
#[derive(Clone, Debug)]
pub(crate) struct LogSettings {
    /// The levels to log, per module.
    pub(crate) filter: Targets,
    /// `log` is set by a file, a variable or a flag.
    pub(crate) explicit: bool,
    /// The format of log messages.
    pub(crate) format: LogFormat,
    /// Log the prompts of accepted jobs.
    pub(crate) prompts: bool,
    /// Send traces to the collector of OpenTelemetry's variables.
    pub(crate) traces: bool,
    /// Send metrics to this collector.
    pub(crate) metrics: Option<Collector>,
    /// Use colours on a terminal.
    pub(crate) colors: bool,
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
        let text = |text: &str| Ok(text.to_owned());
        let auto_count = units::or_keyword("auto", units::count);
        let mut serving = ServingSettings {
            listen: layers.read("listen", values::address)?,
            public_url: layers.read_optional("public_url", values::origin)?,
            allow_anonymous: layers.read("allow_anonymous", units::boolean)?,
            sagemaker: layers.read("sagemaker", units::boolean)?,
            no_get: layers.read("no_get", units::boolean)?,
            abandon_after: layers.read("abandon_after", units::duration)?,
            grace: layers.read("grace", units::duration)?,
            respond_within: layers.read_optional("respond_within", units::duration)?,
            aliases: layers.read_optional("aliases", values::aliases)?.unwrap_or_default(),
            cors: layers.read_optional("cors_origins", values::cors_origins)?.unwrap_or_default(),
            lambda_response: layers.read("lambda_response", values::response)?,
        };
        let connections = ConnectionSettings {
            keep_alive: layers.read("keep_alive", units::timeout)?,
            header_timeout: layers.read("header_timeout", units::timeout)?,
            stall_timeout: layers.read("stall_timeout", units::timeout)?,
            max_connections: layers.read("max_connections", units::positive_count)? as usize,
            drain_time: layers.read("drain_time", units::duration)?,
            drain_bytes: layers.read("drain_bytes", units::size)?,
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
        if model.choice == ModelChoice::Builtin && !serving.aliases.iter().any(|alias| alias.covers(BUILTIN))
        {
            serving.aliases.extend(BUILTIN.parse::<Alias>());
        }
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
            watchers_per_job: layers.read("watchers_per_job", units::positive_count)? as usize,
            watchers_per_owner: layers.read("watchers_per_owner", units::positive_count)? as usize,
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
        Ok(Self { serving, connections, model, store, ledger, limits, api_key, log })
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
            .context("only one of `s3_access_key_id` and `s3_secret_access_key` is set: set both or neither"),
    }
}

#[cfg(test)]
mod tests;
