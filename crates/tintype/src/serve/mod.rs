//! `tintype serve`: API, model and object store in one process.

mod connections;
mod dispatch;
mod memory;
mod ready;
mod sweep;

use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};

use axum::http::uri::Authority;
use time::OffsetDateTime;
use tintype_core::store::ObjectStore;
use tintype_http::{CorsPolicy, HostPolicy, HttpSettings, RuntimeApi};
use tintype_ledger::Ledger;
use tintype_ledger::key::KeyRecord;
use tintype_sagemaker::sigv4::AccessKeys;
use tintype_service::{
    AnonymousAccess, LoadFailure, ModelSpec, Readiness, Service, ServiceSettings, Topology, unpriced,
};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use crate::config::{Config, LedgerChoice, LimitSettings, ServingSettings};
use crate::output::UsageError;
use crate::store::Store;
use crate::telemetry::{Metrics, Traces};
use crate::{engine, ledger, logging, output, store};

use connections::{ConnectionContext, Connections};
use dispatch::Dispatch;

/// Maximum time for sending the last responses to their clients after all jobs have finished.
const RESPONSE_FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// Maximum time for returning running jobs to the ledger after a second signal.
const SECOND_SIGNAL_TIMEOUT: Duration = Duration::from_secs(2);

/// Raises the soft limit of file descriptors to the hard limit, because every connection needs one. The soft
/// limit of shells is 1,024, for the sake of programs that use `select`.
fn raise_file_descriptor_limit() {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => tracing::debug!(limit, "raised file descriptor limit"),
        Err(error) => tracing::warn!(%error, "failed to raise file descriptor limit"),
    }
}

/// Serves requests until SIGTERM or SIGINT.
///
/// # Errors
/// If the address cannot be bound, the data folder cannot be used, or the model cannot be loaded.
pub(crate) fn run(config: Config) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let traces = config.log.traces.then(|| Traces::start(runtime.handle().clone())).transpose()?;
    logging::start(&config.log, traces.as_ref());
    raise_file_descriptor_limit();
    let model_config = Arc::new(config.clone());
    let outcome = runtime.block_on(async {
        let mut stop = StopSignals::new()?;
        let (server, loaded) = start(&config, move |objects| {
            let results_config = model_config.clone();
            let results = move || store::results(&results_config, objects.clone());
            engine::specs(&model_config, Arc::new(results))
        })
        .await?;
        let metrics = config.log.metrics.as_ref();
        let metrics =
            metrics.map(|collector| Metrics::start(server.service.clone(), collector)).transpose()?;
        let ready = async {
            loaded.await.context("the task that loads the models panicked")??;
            output::line(&server.ready_line)
        };
        tokio::select! {
            ready = ready => ready?,
            () = stop.next() => return Ok(()),
        }
        stop.next().await;
        let service = server.service.clone();
        let grace = config.serving.grace;
        match service.begin_drain() {
            0 => tracing::info!("stopping"),
            jobs => tracing::info!(
                jobs,
                ?grace,
                "stopping, waiting for running jobs; press Ctrl-C again to stop them at once"
            ),
        }
        let stopped = async {
            server.stop().await;
            if let Some(metrics) = metrics {
                metrics.finish().await;
            }
        };
        tokio::select! {
            () = stopped => Ok(()),
            () = stop.next() => {
                // Jobs that are not recorded in this time are recovered at the next start, as after a crash.
                let recorded = tokio::time::timeout(SECOND_SIGNAL_TIMEOUT, service.stop_now()).await.is_ok();
                tracing::warn!(recorded, "stopped by a second signal");
                anyhow::bail!("stopped by a second signal before all jobs had finished")
            }
        }
    });
    if let Some(traces) = traces {
        traces.finish();
    }
    // Do not wait for a model that is still being loaded.
    runtime.shutdown_background();
    outcome
}

/// A running server.
pub(crate) struct Server {
    /// The line to print when the model is loaded.
    pub(crate) ready_line: String,
    service: Arc<Service>,
    connections: Connections,
    grace: Duration,
    /// Locks the data folder until it is closed.
    _lock: Option<File>,
}

impl Server {
    /// Stops accepting requests, and waits for running jobs within the grace period.
    pub(crate) async fn stop(self) {
        let closed = self.connections.close();
        self.service.drain(self.grace).await;
        if tokio::time::timeout(RESPONSE_FLUSH_TIMEOUT, closed).await.is_err() {
            tracing::warn!(
                timeout = ?RESPONSE_FLUSH_TIMEOUT,
                "stopped before all clients received their responses"
            );
        }
    }
}

/// Starts to serve requests, and to load the model in a thread. The receiver gets the outcome of loading.
///
/// # Errors
/// If the address cannot be bound, or the store or the ledger cannot be opened.
pub(crate) async fn start(
    config: &Config,
    models: impl FnOnce(Arc<dyn ObjectStore>) -> Vec<ModelSpec>,
) -> Result<(Server, oneshot::Receiver<Result<()>>)> {
    let listen = config.serving.listen;
    // A ledger in a bucket may be shared with other processes, and so are its jobs.
    let topology = match config.ledger.choice {
        LedgerChoice::Sqlite => Topology::SingleProcess,
        LedgerChoice::Bucket => Topology::Cluster,
    };
    let lock = match topology {
        Topology::SingleProcess => Some(ledger::lock(&config.store.data_dir, "set a different `data_dir`")?),
        Topology::Cluster | Topology::Serverless => None,
    };
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let address = listener.local_addr()?;
    let url = ready::own_url(config, address);
    let store = store::open(config, &url).await?;
    let ledger = ledger::open(config, store.objects()).await?;
    let anonymous = anonymous_access(&config.serving);
    check_keys(&*ledger, config, anonymous).await?;
    ready::warn_about_link_origin(config, address, &url);
    if config.serving.cors == CorsPolicy::Any {
        tracing::warn!(
            "cors_origins is *, every web page can use this server with an API key or a signed URL that it knows"
        );
    }
    let settings = ServiceSettings { anonymous, topology, ..service_settings(config) };
    let models = models(store.objects());
    let service = Service::with_models(settings, models, store.objects(), ledger);
    let runtime_api = runtime_api(config, &store);
    let http_settings = http_settings(&config.serving, address, &url);
    let api = match &runtime_api {
        _ if config.serving.sagemaker => tintype_http::container(service.clone()),
        Some(runtime_api) => {
            tintype_http::router_with_runtime(service.clone(), http_settings, runtime_api.clone())
        }
        None => tintype_http::router(service.clone(), http_settings),
    };
    sweep::start(&store, config.store.keep, config.store.keep_bytes);

    let (done, loaded) = oneshot::channel();
    let (loading, failures) = (service.clone(), service.start_loading());
    tokio::spawn(async move {
        let outcome = report_failures(&loading, failures.await.unwrap_or_default());
        if let (Ok(()), Some(api)) = (&outcome, runtime_api) {
            api.resume(&loading).await;
        }
        // Sending fails only if the server is stopping.
        let _ = done.send(outcome);
    });

    let ready_line = ready::line(&url, config);
    let embedded = match store {
        // SageMaker's container protocol has no store.
        Store::Embedded(embedded) if !config.serving.sagemaker => Some(embedded),
        Store::Embedded(_) | Store::S3(_) => None,
    };
    let context = ConnectionContext {
        settings: Arc::new(config.connections.clone()),
        service: service.clone(),
        cors: config.serving.cors.clone(),
    };
    let connections = Connections::accept(listener, Dispatch::new(api, embedded), context);
    let grace = config.serving.grace;
    Ok((Server { ready_line, service, connections, grace, _lock: lock }, loaded))
}

/// Logs the models that could not be loaded.
///
/// # Errors
/// The first failure, if no model is left.
fn report_failures(service: &Service, failures: Vec<LoadFailure>) -> Result<()> {
    if let (Readiness::Failed, [failure, ..]) = (service.readiness(), failures.as_slice()) {
        anyhow::bail!("{}", failure.error);
    }
    for LoadFailure { model, error } in failures {
        tracing::error!(model, error, "failed to load model");
    }
    Ok(())
}

/// SageMaker's Runtime API; none without the embedded store, whose access keys sign its requests.
fn runtime_api(config: &Config, store: &Store) -> Option<RuntimeApi> {
    let Store::Embedded(embedded) = store else { return None };
    if config.serving.sagemaker {
        return None;
    }
    let keys =
        AccessKeys { id: embedded.access_key_id().to_owned(), secret: embedded.secret_access_key().clone() };
    let buckets = embedded.clone();
    let public = config.serving.public_url.as_deref().and_then(authority);
    Some(RuntimeApi {
        keys,
        host: public.and_then(|host| host.as_str().parse().ok()),
        bucket: store::BUCKET.to_owned(),
        store: embedded.store(),
        buckets: Arc::new(move |name| buckets.bucket(name)),
    })
}

/// The host and port of an origin.
fn authority(origin: &str) -> Option<Authority> {
    origin.split("//").nth(1)?.parse().ok()
}

/// How requests without a key are served: trusted if only this machine can reach the server, public if the
/// operator allows it, or else denied. With a public URL, a proxy makes the server reachable from other
/// machines.
fn anonymous_access(serving: &ServingSettings) -> AnonymousAccess {
    let local = |url: &String| {
        let host = authority(url);
        let host = host.as_ref().map_or("", Authority::host);
        let ip = host.trim_matches(['[', ']']).parse::<IpAddr>();
        host == "localhost" || host.ends_with(".localhost") || ip.is_ok_and(|ip| ip.is_loopback())
    };
    let loopback = serving.listen.ip().is_loopback() && serving.public_url.as_ref().is_none_or(local);
    match (loopback, serving.allow_anonymous) {
        (true, _) => AnonymousAccess::Trusted,
        (false, true) => AnonymousAccess::Public,
        (false, false) => AnonymousAccess::Denied,
    }
}

/// Checks that a server that needs keys has one. Warns about keys whose requests will be refused, because a
/// budget of theirs has a currency without a price.
async fn check_keys(ledger: &dyn Ledger, config: &Config, anonymous: AnonymousAccess) -> Result<()> {
    let now = OffsetDateTime::now_utc();
    let is_valid = |key: &KeyRecord| key.revoked.is_none() && key.expires.is_none_or(|at| at > now);
    let keys: Vec<_> = ledger.keys().await?.into_iter().filter(is_valid).collect();
    // The ledger has just logged the records of keys that it cannot read.
    let has_no_key = keys.is_empty() && ledger.unreadable_records() == 0;
    if has_no_key && anonymous == AnonymousAccess::Denied {
        let serving = &config.serving;
        let address = serving.public_url.clone().unwrap_or_else(|| serving.listen.to_string());
        let message = format!(
            "{address} can be reached from other machines, but there is no API key: create one with `tintype \
             keys create --name NAME`, listen on 127.0.0.1 without `public_url`, or pass --allow-anonymous to \
             serve requests without a key"
        );
        return Err(UsageError(message).into());
    }
    let prices = config.models.prices();
    for KeyRecord { id, name, policy, .. } in keys {
        if let Some(currency) = unpriced(&policy.budgets, &prices) {
            tracing::warn!(
                key = %id,
                name,
                %currency,
                fix = "set `price` in the currency of the budget, or revoke the key",
                "API key has a budget in a currency without a price, its requests are refused with status 402"
            );
        }
    }
    Ok(())
}

/// The service's settings that the server and the Lambda function share.
pub(crate) fn service_settings(config: &Config) -> ServiceSettings {
    let LimitSettings { queue, backlog, watchers_per_job, watchers_per_owner, max_job, max_memory, .. } =
        config.limits;
    ServiceSettings {
        queue,
        backlog,
        watchers_per_job,
        watchers_per_owner,
        abandon_after: config.serving.abandon_after,
        max_memory: max_memory.or_else(memory::half_of_available),
        max_job,
        models_memory: config.models.memory.or_else(memory::three_quarters_of_available),
        keep_jobs: config.ledger.keep,
        log_prompts: config.log.prompts,
        ..ServiceSettings::default()
    }
}

fn http_settings(serving: &ServingSettings, address: SocketAddr, origin: &str) -> HttpSettings {
    let hosts = if address.ip().is_loopback() {
        HostPolicy::Loopback {
            port: address.port(),
            public: serving.public_url.as_deref().and_then(authority),
        }
    } else {
        HostPolicy::Any
    };
    HttpSettings {
        get_enabled: !serving.no_get,
        hosts,
        time_budget: serving.respond_within,
        origin: origin.to_owned(),
        cors: serving.cors.clone(),
    }
}

/// SIGTERM (from a supervisor) and SIGINT (Ctrl-C).
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    fn new() -> Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self { terminate, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests;
