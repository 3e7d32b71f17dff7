//! Clients that ask for everything a client may, of a server that is killed now and then.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::client::{Answer, Ask, Client, Gone};

/// What a client was told of a job.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    /// It is to be made whether anybody waits or not.
    pub(crate) kept: bool,
    /// Somebody asked for it to be canceled.
    pub(crate) canceled: bool,
    /// How it ended, if that was told.
    pub(crate) ended: Option<String>,
}

/// What all clients were told.
#[derive(Default)]
pub(crate) struct Heard {
    /// Jobs that an answer named, by id.
    pub(crate) jobs: HashMap<String, Told>,
    /// The jobs that each idempotency key was answered with.
    pub(crate) named: HashMap<String, HashSet<String>>,
    /// Answers 404 for a job that had been accepted, and jobs that ended once more and otherwise.
    pub(crate) wrong: Vec<String>,
    /// Answers that are no success, by status and title.
    pub(crate) refused: BTreeMap<String, u64>,
    pub(crate) answers: u64,
    /// Requests without an answer.
    pub(crate) cut: u64,
}

impl Heard {
    fn count(&mut self, answer: &Result<Answer, Gone>) {
        match answer {
            Ok(answer) => {
                self.answers += 1;
                if !answer.status.is_success() {
                    let title = answer.json()["title"].as_str().unwrap_or_default().to_owned();
                    *self.refused.entry(format!("{} {title}", answer.status.as_u16())).or_default() += 1;
                }
            }
            Err(Gone) => self.cut += 1,
        }
    }
}

/// The clients.
pub(crate) struct Crowd {
    keys: Vec<String>,
    /// Between two requests of a client.
    pause: Duration,
    server: watch::Receiver<Option<SocketAddr>>,
    heard: Mutex<Heard>,
    /// What is asked for by seed: the same for those who come at about the same time.
    moment: AtomicU64,
    over: AtomicBool,
}

impl Crowd {
    /// So many clients of each key. They ask until [`go_home`](Self::go_home).
    pub(crate) fn gather(
        keys: &[String],
        (each, pause): (usize, Duration),
        server: watch::Receiver<Option<SocketAddr>>,
    ) -> (Arc<Self>, JoinSet<()>) {
        let (heard, moment, over) = (Mutex::default(), AtomicU64::new(0), AtomicBool::new(false));
        let crowd = Arc::new(Self { keys: keys.to_vec(), pause, server, heard, moment, over });
        let mut clients = JoinSet::new();
        for at in 0..each * keys.len() {
            clients.spawn(crowd.clone().visit(at % keys.len()));
        }
        (crowd, clients)
    }

    /// What they ask for now is answered, if there is a server, and nothing more is asked for.
    pub(crate) fn go_home(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    pub(crate) fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn visit(self: Arc<Self>, at: usize) {
        let mut visitor = Visitor { key: self.keys[at].clone(), crowd: self, server: None };
        while !visitor.crowd.over.load(Ordering::SeqCst) {
            // A server that is gone is the point of it all.
            let _ = visitor.something().await;
            tokio::time::sleep(visitor.crowd.pause).await;
        }
    }
}

/// One client.
struct Visitor {
    crowd: Arc<Crowd>,
    key: String,
    server: Option<(SocketAddr, Client)>,
}

impl Visitor {
    async fn something(&mut self) -> Result<(), Gone> {
        let prompt = format!("picture {}", fastrand::u64(..));
        match fastrand::u32(..100) {
            0..25 => drop(self.create(Ask::picture(&json!({"prompt": prompt})), false).await?),
            25..45 => drop(self.create(later(&json!({"prompt": prompt})), true).await?),
            45..65 => self.create_once(&prompt).await,
            65..75 => {
                let moment = self.crowd.moment.fetch_add(1, Ordering::Relaxed) / 8;
                let body = json!({"prompt": "the same", "seed": moment});
                let kept = fastrand::bool();
                let ask = if kept { later(&body) } else { Ask::picture(&body) };
                drop(self.create(ask, kept).await?);
            }
            75..85 => self.cancel(&prompt).await?,
            _ => self.look().await?,
        }
        Ok(())
    }

    /// Asks for a picture, and notes the job that it is answered with.
    async fn create(&mut self, ask: Ask, kept: bool) -> Result<Option<String>, Gone> {
        let answer = self.send(ask).await?;
        let body = answer.json();
        let id = body["id"].as_str().filter(|_| answer.status.is_success()).map(str::to_owned);
        if let Some(id) = &id {
            self.note(id, &body, kept);
        }
        Ok(id)
    }

    /// Asks with an idempotency key until there is an answer, whatever happens to the server; sometimes once more.
    async fn create_once(&mut self, prompt: &str) {
        let body = json!({"prompt": prompt});
        let ask = if fastrand::bool() { later(&body) } else { Ask::picture(&body) };
        let mut times = 1 + fastrand::u32(..2);
        while times > 0 {
            let ask = ask.clone().header("idempotency-key", prompt.replace(' ', "-"));
            // Until the crowd goes home: then the server is up, and stays so until everybody has left.
            match self.create(ask, true).await {
                Ok(Some(id)) => {
                    self.crowd.heard().named.entry(prompt.to_owned()).or_default().insert(id);
                }
                Ok(None) => {}
                Err(Gone) => continue,
            }
            times -= 1;
        }
    }

    /// Asks for a picture and does not want it any more.
    async fn cancel(&mut self, prompt: &str) -> Result<(), Gone> {
        let Some(id) = self.create(later(&json!({"prompt": prompt, "steps": 20})), true).await? else {
            return Ok(());
        };
        if let Some(told) = self.crowd.heard().jobs.get_mut(&id) {
            told.canceled = true;
        }
        let answer = self.send(Ask::post(format!("/v1/images/{id}/cancel"), &json!({}))).await?;
        if answer.status.is_success() {
            self.note(&id, &answer.json(), true);
        }
        Ok(())
    }

    /// Looks at a job that was accepted for this client's key, and at the list.
    async fn look(&mut self) -> Result<(), Gone> {
        let page = self.send(Ask::get("/v1/images?limit=10")).await?.json();
        let listed = page["data"].as_array().cloned().unwrap_or_default();
        let Some(id) = fastrand::choice(&listed).and_then(|job| job["id"].as_str()) else { return Ok(()) };
        let known = self.crowd.heard().jobs.contains_key(id);
        let answer = self.send(Ask::get(format!("/v1/images/{id}"))).await?;
        match answer.status.as_u16() {
            200 if known => self.note(id, &answer.json(), false),
            404 => self.crowd.heard().wrong.push(format!("{id} is not there")),
            _ => {}
        }
        Ok(())
    }

    fn note(&self, id: &str, body: &Value, kept: bool) {
        let mut heard = self.crowd.heard();
        let told = heard.jobs.entry(id.to_owned()).or_default();
        told.kept |= kept;
        let status = body["status"].as_str().unwrap_or_default();
        if !is_final(status) {
            return;
        }
        let before = told.ended.replace(status.to_owned());
        if let Some(before) = before.filter(|before| before != status) {
            heard.wrong.push(format!("{id} was {before} and is {status}"));
        }
    }

    /// Asks the server that there is, once; waits for the next one if it is gone.
    async fn send(&mut self, ask: Ask) -> Result<Answer, Gone> {
        let mut server = self.crowd.server.clone();
        let Ok(Some(address)) = server.wait_for(Option::is_some).await.map(|address| *address) else {
            return Err(Gone);
        };
        if self.server.as_ref().is_none_or(|(known, _)| *known != address) {
            self.server = Some((address, Client::new(address)));
        }
        let Some((_, client)) = &self.server else { return Err(Gone) };
        let answer = client.send(ask.key(&self.key)).await;
        self.crowd.heard().count(&answer);
        if answer.is_err() {
            self.server = None;
            // The next one is elsewhere; or it is the same, and only this connection broke.
            let moved = server.wait_for(|now| *now != Some(address));
            let _ = tokio::time::timeout(Duration::from_secs(1), moved).await;
        }
        answer
    }
}

/// A picture that is fetched later.
fn later(body: &Value) -> Ask {
    Ask::picture(body).header("prefer", "respond-async")
}

/// Whether a job with this status has ended.
pub(crate) fn is_final(status: &str) -> bool {
    matches!(status, "succeeded" | "failed" | "canceled")
}
