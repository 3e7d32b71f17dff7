//! The contract of [`Ledger`], as test suites for its implementations. A suite panics at the first failed
//! assertion.

mod accepting;
mod backups;
pub mod before_0_2;
mod keys;
mod lifecycle;
mod limits;
mod queue;
mod races;
mod remote_jobs;
pub mod unreadable;

use std::sync::Arc;

use serde_json::json;
use time::macros::datetime;
use time::{Duration, OffsetDateTime};
use tintype_core::picture::Format;

use tintype_ledger::accept::{Acceptance, Idempotency, NewJob, PictureKeys, Reuse};
use tintype_ledger::account::DayUsage;
use tintype_ledger::id::{Fingerprint, JobId, KeyId, OwnerId};
use tintype_ledger::job::{JobRecord, Lease, OnWorkerLoss, Outcome, StoredImage};
use tintype_ledger::key::NewKey;
use tintype_ledger::money::Spend;
use tintype_ledger::policy::Policy;
use tintype_ledger::{ClaimReply, FinishReply, Ledger};

/// Runs the whole contract on an empty ledger.
pub async fn ledger_contract(ledger: &dyn Ledger) {
    keys::contract(ledger).await;
    accepting::contract(ledger).await;
    limits::contract(ledger).await;
    lifecycle::contract(ledger).await;
    remote_jobs::contract(ledger).await;
    queue::contract(ledger).await;
}

/// Tests concurrent calls with a hundred threads. The ledgers must share their records; several ledgers act
/// as several processes. Blocks the calling thread.
pub fn race_contract(ledgers: &[Arc<dyn Ledger>]) {
    races::contract(ledgers);
}

/// Tests backups of an empty ledger while a thread accepts and ends jobs: each restored ledger is readable, has every
/// job that was accepted before its backup, and has its open jobs in the queue. `back_up_and_restore` makes a backup
/// of `ledger` and returns a ledger that was restored from it. Blocks the calling thread.
pub fn backup_contract<L: Ledger>(ledger: &dyn Ledger, back_up_and_restore: impl FnMut() -> L) {
    backups::contract(ledger, back_up_and_restore);
}

/// The model of [`new_job`].
pub const MODEL: &str = "test";

/// The picture key of jobs that ended with [`succeeded`].
pub fn picture_keys() -> PictureKeys {
    PictureKeys { current: Fingerprint::of(b"picture"), before_0_2: None }
}

/// Every kind of reuse except that of retries.
pub fn any_reuse() -> Reuse {
    Reuse { in_flight: true, stored: Some(picture_keys()), retry: None }
}

/// A time so many seconds after an arbitrary noon.
pub fn at(seconds: i64) -> OffsetDateTime {
    datetime!(2026-11-23 12:00 UTC) + Duration::seconds(seconds)
}

/// An owner with this name.
pub fn owner(name: &str) -> OwnerId {
    name.parse().expect("an owner's name")
}

/// A key with this id.
pub fn key_id(name: &str) -> KeyId {
    name.parse().expect("a key's name")
}

/// A job of an owner and a key with the same name, without limits and reuse. It reserves 1 s.
pub fn new_job(name: &str, prompt: &str) -> NewJob {
    NewJob {
        owner: owner(name),
        key: key_id(name),
        policy: Policy::default(),
        reserve: Spend { engine_ms: 1_000, amount: "0.01usd".parse().ok() },
        model: MODEL.to_owned(),
        request: json!({"prompt": prompt}),
        request_key: Fingerprint::of(prompt.as_bytes()),
        reuse: Reuse::default(),
        idempotency: None,
        on_worker_loss: OnWorkerLoss::Requeue,
        waiter: None,
        deadline: None,
        events_key: None,
        queue: None,
        start_with: None,
    }
}

/// An API key with a rate limit, and a new owner of its own.
fn new_key(name: &str) -> NewKey {
    NewKey {
        name: name.to_owned(),
        owner: None,
        expires: None,
        admin: false,
        policy: Policy { rate: "60/min".parse().ok(), ..Policy::default() },
    }
}

/// Like [`new_job`], with an idempotency key. The request body is the prompt.
pub fn new_job_with_key(name: &str, prompt: &str, key: &str) -> NewJob {
    let idempotency = Idempotency { key: key.to_owned(), body: Fingerprint::of(prompt.as_bytes()) };
    NewJob { idempotency: Some(idempotency), ..new_job(name, prompt) }
}

/// A lease until [`at`] this time.
pub fn lease(worker: &str, until: i64) -> Lease {
    Lease { worker: worker.parse().expect("a worker's name"), until: at(until) }
}

/// The cost of 700 ms of engine time.
pub fn cost() -> Spend {
    Spend { engine_ms: 700, amount: "0.007usd".parse().ok() }
}

/// A successful outcome with `count` images of this job.
pub fn succeeded(id: JobId, count: u64) -> Outcome {
    let image = |seed| StoredImage {
        key: format!("images/{id}-{seed}.jpg"),
        seed,
        width: 64,
        height: 64,
        format: Format::Jpeg,
    };
    Outcome::Succeeded {
        images: (0..count).map(image).collect(),
        warnings: vec![json!("cut")],
        picture_key: Some(picture_keys().current),
    }
}

/// Accepts a job [`at`] this time, and panics if the ledger does not accept it as a new job.
pub async fn accepted(ledger: &dyn Ledger, new: NewJob, seconds: i64) -> JobRecord {
    match ledger.accept(new, at(seconds)).await.expect("accept") {
        Acceptance::Accepted { job, .. } => job,
        other => panic!("not accepted: {other:?}"),
    }
}

/// Claims a queued job [`at`] this time for 60 s.
pub async fn claimed(ledger: &dyn Ledger, job: &JobRecord, seconds: i64) -> JobRecord {
    let claim = ledger.claim(&job.owner, job.id, lease("w", seconds + 60), at(seconds)).await.expect("claim");
    match claim {
        ClaimReply::Granted(job) => job,
        other => panic!("not claimed: {other:?}"),
    }
}

/// Runs a queued job, which succeeds with one image.
pub async fn completed(ledger: &dyn Ledger, job: &JobRecord, seconds: i64) -> JobRecord {
    let running = claimed(ledger, job, seconds).await;
    let end = ledger.finish(&running.run(), succeeded(job.id, 1), cost(), at(seconds)).await.expect("finish");
    match end {
        FinishReply::Recorded(job) => job,
        other => panic!("not recorded: {other:?}"),
    }
}

/// The usage of a key on the day of `at(0)`.
pub async fn usage_today(ledger: &dyn Ledger, name: &str) -> DayUsage {
    let day = at(0).date();
    let days = ledger.usage(&key_id(name), day, day).await.expect("usage");
    days.into_iter().next().map(|(_, usage)| usage).unwrap_or_default()
}
