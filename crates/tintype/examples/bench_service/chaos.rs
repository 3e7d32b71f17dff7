//! Clients that send random requests to a server that is killed at random times, and record what it responds.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::client::{ApiRequest, Client, ConnectionLost, Response};

/// What responses reported about a job.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReportedJob {
    /// The server must finish the job even without a waiting client: it is asynchronous or has an idempotency
    /// key.
    pub(crate) must_finish: bool,
    /// A client has requested its cancellation.
    pub(crate) cancel_requested: bool,
    /// Its final status, if a response reported one.
    pub(crate) final_status: Option<String>,
}

/// What all clients observed.
#[derive(Default)]
pub(crate) struct Observations {
    /// The jobs of all responses, by id.
    pub(crate) jobs: HashMap<String, ReportedJob>,
    /// The job ids in responses to each idempotency key.
    pub(crate) idempotent: HashMap<String, HashSet<String>>,
    /// Contradictions: accepted jobs that later were 404, and jobs whose final status changed.
    pub(crate) contradictions: Vec<String>,
    /// Number of error responses, by status and title.
    pub(crate) errors: BTreeMap<String, u64>,
    /// Number of responses.
    pub(crate) responses: u64,
    /// Number of requests without a response.
    pub(crate) lost: u64,
}

impl Observations {
    fn count(&mut self, response: &Result<Response, ConnectionLost>) {
        match response {
            Ok(response) => {
                self.responses += 1;
                if !response.status.is_success() {
                    let title = response.json()["title"].as_str().unwrap_or_default().to_owned();
                    *self.errors.entry(format!("{} {title}", response.status.as_u16())).or_default() += 1;
                }
            }
            Err(ConnectionLost) => self.lost += 1,
        }
    }
}

/// The load of the clients of one API key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Number of clients per API key.
    pub(crate) clients_per_key: usize,
    /// Pause of a client between two requests.
    pub(crate) pause: Duration,
}

/// The clients.
pub(crate) struct ChaosClients {
    keys: Vec<String>,
    pause: Duration,
    /// The address of the running server.
    server: watch::Receiver<Option<SocketAddr>>,
    observations: Mutex<Observations>,
    /// A counter that gives concurrent clients the same seed, so that they send identical requests.
    seed_counter: AtomicU64,
    stopped: AtomicBool,
}

impl ChaosClients {
    /// Starts the clients of these keys. They send requests until [`stop`](Self::stop).
    pub(crate) fn start(
        keys: &[String],
        load: Load,
        server: watch::Receiver<Option<SocketAddr>>,
    ) -> (Arc<Self>, JoinSet<()>) {
        let clients = Arc::new(Self {
            keys: keys.to_vec(),
            pause: load.pause,
            server,
            observations: Mutex::default(),
            seed_counter: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
        });
        let mut tasks = JoinSet::new();
        for index in 0..load.clients_per_key * keys.len() {
            tasks.spawn(clients.clone().run_client(index % keys.len()));
        }
        (clients, tasks)
    }

    /// Stops the clients after their current requests.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }

    pub(crate) fn observations(&self) -> MutexGuard<'_, Observations> {
        self.observations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run_client(self: Arc<Self>, key: usize) {
        let mut client = ChaosClient { key: self.keys[key].clone(), clients: self, connection: None };
        while !client.clients.stopped.load(Ordering::SeqCst) {
            // A lost connection is expected here.
            let _ = client.send_random_request().await;
            tokio::time::sleep(client.clients.pause).await;
        }
    }
}

/// One client.
struct ChaosClient {
    clients: Arc<ChaosClients>,
    key: String,
    connection: Option<(SocketAddr, Client)>,
}

impl ChaosClient {
    async fn send_random_request(&mut self) -> Result<(), ConnectionLost> {
        let prompt = format!("picture {}", fastrand::u64(..));
        match fastrand::u32(..100) {
            0..25 => {
                self.create(ApiRequest::create_image(&json!({"prompt": prompt})), JobKind::Abandonable)
                    .await?;
            }
            25..45 => {
                self.create(asynchronous(&json!({"prompt": prompt})), JobKind::MustFinish).await?;
            }
            45..65 => self.create_idempotently(&prompt).await,
            65..75 => {
                let seed = self.clients.seed_counter.fetch_add(1, Ordering::Relaxed) / 8;
                let body = json!({"prompt": "the same", "seed": seed});
                if fastrand::bool() {
                    self.create(asynchronous(&body), JobKind::MustFinish).await?;
                } else {
                    self.create(ApiRequest::create_image(&body), JobKind::Abandonable).await?;
                }
            }
            75..85 => self.cancel(&prompt).await?,
            _ => self.read_job().await?,
        }
        Ok(())
    }

    /// Generates an image, and records and returns the job of the response.
    async fn create(&mut self, request: ApiRequest, kind: JobKind) -> Result<Option<String>, ConnectionLost> {
        let response = self.send(request).await?;
        let body = response.json();
        let id = body["id"].as_str().filter(|_| response.status.is_success()).map(str::to_owned);
        if let Some(id) = &id {
            self.record(id, &body, kind);
        }
        Ok(id)
    }

    /// Generates an image with an idempotency key, and retries until there is a response. Sometimes repeats the
    /// request after the response.
    async fn create_idempotently(&mut self, prompt: &str) {
        let body = json!({"prompt": prompt});
        let request = if fastrand::bool() { asynchronous(&body) } else { ApiRequest::create_image(&body) };
        let mut repetitions = 1 + fastrand::u32(..2);
        while repetitions > 0 {
            let request = request.clone().header("idempotency-key", prompt.replace(' ', "-"));
            // This loop ends: when the clients are stopped, the last server runs until all clients have
            // finished.
            match self.create(request, JobKind::MustFinish).await {
                Ok(Some(id)) => {
                    let mut observations = self.clients.observations();
                    observations.idempotent.entry(prompt.to_owned()).or_default().insert(id);
                }
                Ok(None) => {}
                Err(ConnectionLost) => continue,
            }
            repetitions -= 1;
        }
    }

    /// Creates a job and cancels it.
    async fn cancel(&mut self, prompt: &str) -> Result<(), ConnectionLost> {
        let request = asynchronous(&json!({"prompt": prompt, "steps": 20}));
        let Some(id) = self.create(request, JobKind::MustFinish).await? else {
            return Ok(());
        };
        if let Some(job) = self.clients.observations().jobs.get_mut(&id) {
            job.cancel_requested = true;
        }
        let response = self.send(ApiRequest::post(format!("/v1/images/{id}/cancel"), &json!({}))).await?;
        if response.status.is_success() {
            self.record(&id, &response.json(), JobKind::MustFinish);
        }
        Ok(())
    }

    /// Lists the jobs of this client's key, and requests one of them.
    async fn read_job(&mut self) -> Result<(), ConnectionLost> {
        let page = self.send(ApiRequest::get("/v1/images?limit=10")).await?.json();
        let listed = page["data"].as_array().cloned().unwrap_or_default();
        let Some(id) = fastrand::choice(&listed).and_then(|job| job["id"].as_str()) else { return Ok(()) };
        let is_known = self.clients.observations().jobs.contains_key(id);
        let response = self.send(ApiRequest::get(format!("/v1/images/{id}"))).await?;
        match response.status.as_u16() {
            200 if is_known => self.record(id, &response.json(), JobKind::Abandonable),
            404 => self.clients.observations().contradictions.push(format!("{id} was listed and is 404")),
            _ => {}
        }
        Ok(())
    }

    fn record(&self, id: &str, body: &Value, kind: JobKind) {
        let mut observations = self.clients.observations();
        let job = observations.jobs.entry(id.to_owned()).or_default();
        job.must_finish |= kind == JobKind::MustFinish;
        let status = body["status"].as_str().unwrap_or_default();
        if !is_final(status) {
            return;
        }
        let before = job.final_status.replace(status.to_owned());
        if let Some(before) = before.filter(|before| before != status) {
            observations.contradictions.push(format!("{id} was {before} and is {status}"));
        }
    }

    /// Sends a request to the running server once. If the connection is lost, waits up to 1 s for the next
    /// server.
    async fn send(&mut self, request: ApiRequest) -> Result<Response, ConnectionLost> {
        let mut server = self.clients.server.clone();
        let Ok(Some(address)) = server.wait_for(Option::is_some).await.map(|address| *address) else {
            return Err(ConnectionLost);
        };
        if self.connection.as_ref().is_none_or(|(known, _)| *known != address) {
            self.connection = Some((address, Client::new(address)));
        }
        let Some((_, client)) = &self.connection else { return Err(ConnectionLost) };
        let response = client.send(request.key(&self.key)).await;
        self.clients.observations().count(&response);
        if response.is_err() {
            self.connection = None;
            // The next server has another address. If only this connection broke, the timeout ends the wait.
            let restarted = server.wait_for(|current| *current != Some(address));
            let _ = tokio::time::timeout(Duration::from_secs(1), restarted).await;
        }
        response
    }
}

/// Whether a server may abandon a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum JobKind {
    /// The server may cancel the job when its client disconnects.
    Abandonable,
    /// The server has promised to finish the job.
    MustFinish,
}

/// A request for an image that is not in the response.
fn asynchronous(body: &Value) -> ApiRequest {
    ApiRequest::create_image(body).header("prefer", "respond-async")
}

/// Whether a job with this status has finished.
pub(crate) fn is_final(status: &str) -> bool {
    matches!(status, "succeeded" | "failed" | "canceled")
}
