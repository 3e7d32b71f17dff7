//! The settings by section. Each struct reads the keys that its fields have; the field's type states how a
//! value is parsed, whether it is a list, and whether it is a secret.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::{Result, bail};
use serde::Deserialize;
use tintype_core::secret::Secret;
use tintype_http::CorsPolicy;
use tintype_ledger::money::Price;
use tintype_ledger_sqlite::Synchronous;
use tintype_sagemaker::wire::Dialect;
use tintype_service::Alias;
use tracing_subscriber::filter::Targets;

use super::collector::Collector;
use super::fields;
use super::models::{ModelChoice, ModelsSection};
use super::shape::{Shape, fields_of};
use super::values::{Device, LambdaResponse, LedgerChoice, LogFormat, StoreChoice};

/// The keys of all sections, with the shapes of their values.
pub(super) fn shape() -> &'static Shape {
    static SHAPE: LazyLock<Shape> = LazyLock::new(|| {
        let sections = [
            fields_of::<ServingSettings>(),
            fields_of::<ConnectionSettings>(),
            fields_of::<ModelSettings>(),
            fields_of::<SageMakerSettings>(),
            fields_of::<StoreSettings>(),
            fields_of::<S3Connection>(),
            fields_of::<LedgerSettings>(),
            fields_of::<LimitSettings>(),
            fields_of::<ClientSettings>(),
            fields_of::<LogSettings>(),
            fields_of::<ModelsSection>(),
        ];
        Shape::Table(sections.concat())
    });
    &SHAPE
}

/// Settings of the server and the Lambda function.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ServingSettings {
    /// The address to listen on.
    #[serde(deserialize_with = "fields::address")]
    pub(crate) listen: SocketAddr,
    /// The origin at which clients reach this server, if it differs from `listen`.
    #[serde(deserialize_with = "fields::optional_origin")]
    pub(crate) public_url: Option<String>,
    /// Serve requests without a key even if other machines can reach the server.
    pub(crate) allow_anonymous: bool,
    /// Run as the container of a SageMaker endpoint.
    pub(crate) sagemaker: bool,
    /// Disable `GET /generate`.
    pub(crate) no_get: bool,
    /// How long a job continues after its last client has disconnected.
    #[serde(deserialize_with = "fields::duration")]
    pub(crate) abandon_after: Duration,
    /// Maximum time for running jobs after SIGTERM.
    #[serde(deserialize_with = "fields::duration")]
    pub(crate) grace: Duration,
    /// Maximum time that a request waits for its images; none means no limit.
    #[serde(deserialize_with = "fields::optional_duration")]
    pub(crate) respond_within: Option<Duration>,
    /// The web pages of other origins that may use the server.
    #[serde(rename = "cors_origins", deserialize_with = "fields::cors_origins")]
    pub(crate) cors: CorsPolicy,
    /// Model names that OpenAI-compatible requests may use for the default model.
    #[serde(deserialize_with = "fields::aliases")]
    pub(crate) aliases: Vec<Alias>,
    /// How the Lambda function returns responses.
    #[serde(deserialize_with = "fields::lambda_response")]
    pub(crate) lambda_response: LambdaResponse,
}

/// The setting that decides about the defaults of others.
#[derive(Debug, Deserialize)]
pub(super) struct ContainerSetting {
    /// As [`ServingSettings::sagemaker`].
    pub(super) sagemaker: bool,
}

/// Limits of client connections.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct ConnectionSettings {
    /// Time after which a connection without requests is closed.
    #[serde(deserialize_with = "fields::timeout")]
    pub(crate) keep_alive: Duration,
    /// Maximum time between the first byte of a request and the end of its headers.
    #[serde(deserialize_with = "fields::timeout")]
    pub(crate) header_timeout: Duration,
    /// Maximum time for which a transfer makes no progress.
    #[serde(deserialize_with = "fields::timeout")]
    pub(crate) stall_timeout: Duration,
    /// Maximum number of open connections.
    #[serde(deserialize_with = "fields::positive_count")]
    pub(crate) max_connections: usize,
    /// Maximum time for discarding the rest of a request body after the response.
    #[serde(deserialize_with = "fields::duration")]
    pub(crate) drain_time: Duration,
    /// Maximum number of bytes to discard of a request body after the response.
    #[serde(deserialize_with = "fields::size")]
    pub(crate) drain_bytes: u64,
}

/// Settings of the ledger: keys, jobs and usage.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct LedgerSettings {
    /// The kind of storage.
    #[serde(rename = "ledger", deserialize_with = "fields::ledger")]
    pub(crate) choice: LedgerChoice,
    /// Durability of SQLite commits.
    #[serde(rename = "ledger_sync", deserialize_with = "fields::synchronous")]
    pub(crate) sync: Synchronous,
    /// The price of models that have no price of their own.
    #[serde(deserialize_with = "fields::optional_price")]
    pub(crate) price: Option<Price>,
    /// How long records of finished jobs are kept; none means forever.
    #[serde(rename = "keep_jobs", deserialize_with = "fields::duration_or_forever")]
    pub(crate) keep: Option<Duration>,
}

/// Settings of the device and of the model's files.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ModelSettings {
    /// The only model, if no table `[models.NAME]` exists.
    #[serde(rename = "model", deserialize_with = "fields::model")]
    pub(crate) choice: ModelChoice,
    /// The device.
    #[serde(deserialize_with = "fields::device")]
    pub(crate) device: Device,
    /// Number of CPU threads; none means one per core.
    #[serde(deserialize_with = "fields::threads")]
    pub(crate) threads: Option<usize>,
    /// The folder of the Hugging Face cache.
    pub(crate) hub_cache: Option<PathBuf>,
}

/// Settings of a SageMaker endpoint that runs the model.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct SageMakerSettings {
    /// The endpoint is asynchronous and writes its results to the store's bucket.
    #[serde(rename = "sagemaker_async")]
    pub(crate) asynchronous: bool,
    /// The request format of its model.
    #[serde(rename = "sagemaker_dialect", deserialize_with = "fields::dialect")]
    pub(crate) dialect: Dialect,
    /// Custom attributes sent with every call.
    #[serde(rename = "sagemaker_attributes")]
    pub(crate) attributes: Option<String>,
    /// The inference component to call.
    #[serde(rename = "sagemaker_component")]
    pub(crate) component: Option<String>,
    /// Native image width and height of its model, in pixels.
    #[serde(rename = "sagemaker_size", deserialize_with = "fields::side")]
    pub(crate) size: u32,
    /// Denoising steps, if the request does not specify them.
    #[serde(rename = "sagemaker_steps", deserialize_with = "fields::steps")]
    pub(crate) steps: u32,
    /// Maximum number of concurrent calls.
    #[serde(rename = "sagemaker_slots", deserialize_with = "fields::slots")]
    pub(crate) slots: usize,
}

/// Settings of the image store.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct StoreSettings {
    /// The folder for images, credentials and the SQLite ledger.
    #[serde(deserialize_with = "fields::folder")]
    pub(crate) data_dir: PathBuf,
    /// The kind of store.
    #[serde(rename = "store", deserialize_with = "fields::store")]
    pub(crate) choice: StoreChoice,
    /// How to connect to an S3 service.
    #[serde(skip)]
    pub(crate) s3: S3Connection,
    /// How long the embedded store keeps images; none means forever.
    #[serde(deserialize_with = "fields::duration_or_forever")]
    pub(crate) keep: Option<Duration>,
    /// Size in bytes above which the embedded store deletes its oldest images; none means no limit.
    #[serde(deserialize_with = "fields::size_or_unlimited")]
    pub(crate) keep_bytes: Option<u64>,
}

/// How to connect to an S3 service.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct S3Connection {
    /// Its origin; none means AWS.
    #[serde(rename = "s3_endpoint", deserialize_with = "fields::optional_origin")]
    pub(crate) endpoint: Option<String>,
    /// Its origin in links for clients; none means `endpoint`.
    #[serde(rename = "s3_public_endpoint", deserialize_with = "fields::optional_origin")]
    pub(crate) public_endpoint: Option<String>,
    /// The bucket's region; none means the region of the AWS configuration.
    #[serde(rename = "s3_region")]
    pub(crate) region: Option<String>,
    /// The access key id; none means the AWS credential chain.
    #[serde(rename = "s3_access_key_id")]
    access_key_id: Option<String>,
    /// The secret access key.
    #[serde(rename = "s3_secret_access_key")]
    secret_access_key: Option<Secret>,
    /// Maximum lifetime of links signed with temporary credentials whose expiry is unknown.
    #[serde(deserialize_with = "fields::duration")]
    pub(crate) link_cap: Duration,
}

impl S3Connection {
    /// Access key id and secret; none means the AWS credential chain.
    ///
    /// # Errors
    /// If only one of them is set.
    pub(crate) fn credentials(&self) -> Result<Option<(String, Secret)>> {
        match (&self.access_key_id, &self.secret_access_key) {
            (None, None) => Ok(None),
            (Some(id), Some(secret)) => Ok(Some((id.clone(), secret.clone()))),
            (None, Some(_)) | (Some(_), None) => {
                bail!("only one of `s3_access_key_id` and `s3_secret_access_key` is set: set both or neither")
            }
        }
    }
}

/// Limits of requests.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct LimitSettings {
    /// Maximum number of queued requests whose clients wait for the response.
    #[serde(deserialize_with = "fields::count")]
    pub(crate) queue: usize,
    /// Maximum number of queued asynchronous jobs of one owner.
    #[serde(deserialize_with = "fields::count_u32")]
    pub(crate) backlog: u32,
    /// Maximum number of event streams of one job.
    #[serde(deserialize_with = "fields::positive_count")]
    pub(crate) watchers_per_job: usize,
    /// Maximum number of event streams of all jobs of one owner.
    #[serde(deserialize_with = "fields::positive_count")]
    pub(crate) watchers_per_owner: usize,
    /// Maximum engine time of one job.
    #[serde(deserialize_with = "fields::duration")]
    pub(crate) max_job: Duration,
    /// Maximum width × height; none means a limit derived from the model.
    #[serde(deserialize_with = "fields::auto_count")]
    pub(crate) max_pixels: Option<u64>,
    /// Maximum width × height × steps × n; none means a limit derived from the model.
    #[serde(deserialize_with = "fields::auto_count")]
    pub(crate) max_work: Option<u64>,
    /// Maximum memory of one request in bytes; none means half of the available memory.
    #[serde(deserialize_with = "fields::auto_size")]
    pub(crate) max_memory: Option<u64>,
}

/// Settings of `tintype generate` as a client of a server.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ClientSettings {
    /// The API key to send.
    pub(crate) api_key: Option<Secret>,
}

/// Settings of logs, traces and metrics.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct LogSettings {
    /// The levels to log, per module.
    #[serde(rename = "log", deserialize_with = "fields::log_filter")]
    pub(crate) filter: Targets,
    /// `log` is set by a file, a variable or a flag.
    #[serde(skip)]
    pub(crate) explicit: bool,
    /// The format of log messages.
    #[serde(rename = "log_format", deserialize_with = "fields::log_format")]
    pub(crate) format: LogFormat,
    /// Log the prompts of accepted jobs.
    #[serde(rename = "log_prompts")]
    pub(crate) prompts: bool,
    /// Send traces to the collector of OpenTelemetry's variables.
    #[serde(skip)]
    pub(crate) traces: bool,
    /// Send metrics to this collector.
    #[serde(skip)]
    pub(crate) metrics: Option<Collector>,
    /// Use colours on a terminal.
    #[serde(skip)]
    pub(crate) colors: bool,
}
