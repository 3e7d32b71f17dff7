//! `tintype serve`: API, model and store in one process.

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
use axum::Router;
use axum::http::uri::Authority;
use time::OffsetDateTime;
use tintype_core::engine::Engine;
use tintype_core::store::ObjectStore;
use tintype_http::{HostPolicy, HttpSettings, RuntimeApi};
use tintype_ledger::Ledger;
use tintype_ledger::key::KeyRecord;
use tintype_sagemaker::sigv4::AccessKeys;
use tintype_service::{AnonymousAccess, Service, ServiceSettings, unpriced};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use crate::config::{Config, LedgerChoice, LimitSettings, ServingSettings};
use crate::output::UsageError;
use crate::store::Store;
use crate::telemetry::{Metrics, Traces};
use crate::{engine, ledger, logging, output, store};

use connections::Connections;
use dispatch::Dispatch;

/// How long answers that are ready may take to reach their clients once the work is over.
const RESPONSE_FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// Every connection takes a file descriptor. Shells allow 1,024, for programs that could not take more; this one takes as many as
/// the system allows it.
fn allow_connections() {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(allowed) => tracing::debug!(allowed, "file descriptors"),
        Err(error) => tracing::warn!(%error, "no more file descriptors could be had than there were"),
    }
}

/// Serves until it is told to stop.
///
/// # Errors
/// When the address or the data folder is not to be had, or the model cannot be loaded.
pub(crate) fn run(config: Config) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let traces = config.log.traces.then(|| Traces::start(runtime.handle().clone())).transpose()?;
    logging::start(&config.log, traces.as_ref());
    allow_connections();
    let wanted = config.clone();
    let outcome = runtime.block_on(async {
        let mut stop = StopSignals::new()?;
        let (server, loaded) =
            start(&config, move |objects| engine::load(&wanted.model, || store::results(&wanted, objects)))
                .await?;
        let metrics = config.log.metrics.as_ref();
        let metrics =
            metrics.map(|collector| Metrics::start(server.service.clone(), collector)).transpose()?;
        let ready = async {
            loaded.await.context("the thread that loaded the model ended early")??;
            output::line(&server.ready_line)
        };
        tokio::select! {
            ready = ready => ready?,
            () = stop.next() => return Ok(()),
        }
        stop.next().await;
        tracing::info!(grace = ?config.serving.grace, "stopping; a second signal stops at once");
        let stopped = async {
            server.stop().await;
            if let Some(metrics) = metrics {
                metrics.finish().await;
            }
        };
        tokio::select! {
            () = stopped => Ok(()),
            () = stop.next() => anyhow::bail!("stopped at once by a second signal"),
        }
    });
    if let Some(traces) = traces {
        traces.finish();
    }
    // A model that is still being loaded is nothing to wait for.
    runtime.shutdown_background();
    outcome
}

/// A server that takes requests.
pub(crate) struct Server {
    /// What is printed once it is ready.
    pub(crate) ready_line: String,
    service: Arc<Service>,
    connections: Connections,
    grace: Duration,
    /// The data folder is ours as long as this is open.
    _lock: Option<File>,
}

impl Server {
    /// Takes nothing new, and lets what runs finish within the grace period.
    pub(crate) async fn stop(self) {
        let closed = self.connections.close();
        self.service.drain(self.grace).await;
        if tokio::time::timeout(RESPONSE_FLUSH_TIMEOUT, closed).await.is_err() {
            tracing::warn!("some clients did not take their answers in time");
        }
    }
}

/// Begins to serve, and to load the model. The second value arrives when that is done.
///
/// # Errors
/// When the address or the store is not to be had.
pub(crate) async fn start(
    config: &Config,
    load: impl FnOnce(Arc<dyn ObjectStore>) -> Result<Arc<dyn Engine>> + Send + 'static,
) -> Result<(Server, oneshot::Receiver<Result<()>>)> {
    let listen = config.serving.listen;
    // With a ledger that others share, so are its jobs.
    let single_process = config.ledger.choice == LedgerChoice::Sqlite;
    let lock = if single_process { Some(ledger::lock(&config.store.data_dir)?) } else { None };
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let address = listener.local_addr()?;
    let url = ready::own_url(config, address);
    let store = store::open(config, &url).await?;
    let ledger = ledger::open(config, store.objects()).await?;
    let anonymous = anonymous_access(&config.serving);
    check_keys(&*ledger, config, anonymous).await?;
    ready::warn_about_link_origin(config, address, &url);
    let settings = ServiceSettings { anonymous, single_process, ..service_settings(config) };
    let service = Service::new(settings, store.objects(), ledger);
    let runtime_api = runtime_api(config, &store);
    let api = api(&service, http_settings(&config.serving, (address, &url)), (config, runtime_api.clone()));
    sweep::start(&store, config.store.keep, config.store.keep_bytes);

    let (done, loaded) = oneshot::channel();
    let (loading, objects, runtime) = (service.clone(), store.objects(), Handle::current());
    std::thread::Builder::new().name("load-model".to_owned()).spawn(move || {
        // The receiver is gone only when the server is stopping.
        let _ = done.send(load(objects).map(|engine| {
            loading.engine_ready(engine);
            if let Some(api) = runtime_api {
                runtime.block_on(api.resume(&loading));
            }
        }));
    })?;

    let ready_line = ready::line(&url, config);
    let embedded = match store {
        // A container's clients know nothing of a store.
        Store::Embedded(embedded) if !config.serving.sagemaker => Some(embedded),
        Store::Embedded(_) | Store::S3(_) => None,
    };
    let connections = Connections::accept(listener, Dispatch::new(api, embedded));
    let grace = config.serving.grace;
    Ok((Server { ready_line, service, connections, grace, _lock: lock }, loaded))
}

/// What is served: a SageMaker container's two routes, or the whole API.
fn api(
    service: &Arc<Service>,
    settings: HttpSettings,
    (config, runtime_api): (&Config, Option<RuntimeApi>),
) -> Router {
    match runtime_api {
        _ if config.serving.sagemaker => tintype_http::container(service.clone()),
        Some(runtime_api) => tintype_http::router_with_runtime(service.clone(), settings, runtime_api),
        None => tintype_http::router(service.clone(), settings),
    }
}

/// SageMaker's Runtime API needs keys to sign with, and those are the embedded store's.
fn runtime_api(config: &Config, store: &Store) -> Option<RuntimeApi> {
    let Store::Embedded(embedded) = store else { return None };
    if config.serving.sagemaker {
        return None;
    }
    let keys =
        AccessKeys { id: embedded.access_key_id().to_owned(), secret: embedded.secret_access_key().clone() };
    let buckets = embedded.clone();
    let public = config.serving.public_url.as_ref().and_then(|url| url.split("//").nth(1));
    Some(RuntimeApi {
        keys,
        host: public.and_then(|host| host.parse().ok()),
        bucket: store::BUCKET.to_owned(),
        store: embedded.store(),
        buckets: Arc::new(move |name| buckets.bucket(name)),
    })
}

/// Whether requests without a key are served: to this machine alone, or because the operator said so. A public URL means that
/// something before us lets others in.
fn anonymous_access(serving: &ServingSettings) -> AnonymousAccess {
    let local = |url: &String| {
        let host = url.split("//").nth(1).and_then(|rest| rest.parse::<Authority>().ok());
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

/// Where others can come, somebody must be able to get in, and not just anybody; and a budget must be one that can be used up.
async fn check_keys(ledger: &dyn Ledger, config: &Config, anonymous: AnonymousAccess) -> Result<()> {
    let now = OffsetDateTime::now_utc();
    let works = |key: &KeyRecord| key.revoked.is_none() && key.expires.is_none_or(|at| at > now);
    let keys: Vec<_> = ledger.keys().await?.into_iter().filter(works).collect();
    if keys.is_empty() && anonymous == AnonymousAccess::Denied {
        let serving = &config.serving;
        let place = serving.public_url.clone().unwrap_or_else(|| serving.listen.to_string());
        let message = format!(
            "{place} can be reached from other machines, and there is no key yet: make one with `tintype keys create \
             --name NAME`, listen on 127.0.0.1 without a public URL, or give --allow-anonymous if anybody may make pictures"
        );
        return Err(UsageError(message).into());
    }
    let price = config.ledger.price;
    for KeyRecord { id, name, policy, .. } in keys {
        if let Some(currency) = unpriced(&policy.budgets, price) {
            let message = format!(
                "the key {id} ({name}) has a budget in {currency}, and `price` is not in {currency}, so it would never be used \
                 up: set `price`, for example 0.0005{currency}, or revoke the key"
            );
            return Err(UsageError(message).into());
        }
    }
    Ok(())
}

/// What both servers and functions do.
pub(crate) fn service_settings(config: &Config) -> ServiceSettings {
    let LimitSettings { queue, backlog, max_job, max_pixels, max_work, max_memory } = config.limits;
    ServiceSettings {
        queue,
        backlog,
        abandon_after: config.serving.abandon_after,
        max_pixels,
        max_work,
        max_memory: max_memory.or_else(memory::half_of_available),
        max_job,
        price: config.ledger.price,
        keep_jobs: config.ledger.keep,
        log_prompts: config.log.prompts,
        ..ServiceSettings::default()
    }
}

fn http_settings(serving: &ServingSettings, (address, url): (SocketAddr, &str)) -> HttpSettings {
    let authority = |url: &String| url.split("//").nth(1)?.parse::<Authority>().ok();
    let hosts = if address.ip().is_loopback() {
        HostPolicy::Loopback { port: address.port(), public: serving.public_url.as_ref().and_then(authority) }
    } else {
        HostPolicy::Any
    };
    HttpSettings {
        get_enabled: !serving.no_get,
        hosts,
        time_budget: serving.respond_within,
        origin: url.to_owned(),
        aliases: serving.aliases.clone(),
    }
}

/// SIGTERM (a supervisor) and SIGINT (Ctrl-C).
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
