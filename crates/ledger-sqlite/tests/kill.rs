//! Kills a process that uses an SQLite ledger at random moments. Every job that it reported as accepted is in
//! the ledger, ends, and is charged once. This program starts itself as the child process.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use futures::executor::block_on;
use serde_json::json;
use tempfile::TempDir;
use time::{Duration, OffsetDateTime};
use tintype_ledger::Ledger;
use tintype_ledger::accept::{Acceptance, Idempotency, NewJob, Reuse};
use tintype_ledger::id::{Fingerprint, JobId, OwnerId};
use tintype_ledger::job::{Lease, OnWorkerLoss, Outcome, RecoveryScope, Status};
use tintype_ledger::money::Spend;
use tintype_ledger::policy::{Policy, utc_day};
use tintype_ledger_sqlite::{SqliteLedger, Synchronous};

const ROUNDS: u32 = 20;
const OWNERS: [&str; 3] = ["acme", "beta", "corp"];

/// The name of the test for test runners.
const NAME: &str = "accepted_jobs_survive_kills";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |option: &str| arguments.iter().any(|argument| argument == option);
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["child", path] => child(Path::new(path)),
        // Test runners list the tests of a program, and pass the name of the test to run as the first argument.
        _ if has("--list") && has("--ignored") => (),
        _ if has("--list") => report(&format!("{NAME}: test")),
        [filter, ..] if !filter.starts_with("--") && !NAME.contains(filter) => (),
        _ => parent(),
    }
}

fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

fn new_job(name: &str, key: String) -> NewJob {
    NewJob {
        owner: name.parse().expect("a name"),
        key: name.parse().expect("a name"),
        policy: Policy::default(),
        reserve: Spend { engine_ms: 1_000, amount: "0.01usd".parse().ok() },
        model: "test".to_owned(),
        request: json!({"prompt": key}),
        request_key: Fingerprint::of(key.as_bytes()),
        reuse: Reuse::default(),
        idempotency: Some(Idempotency { body: Fingerprint::of(key.as_bytes()), key }),
        on_worker_loss: OnWorkerLoss::Requeue,
        waiter: None,
        deadline: None,
        events_key: None,
        queue: None,
        start_with: None,
    }
}

fn lease(worker: &str) -> Lease {
    Lease { worker: worker.parse().expect("a name"), until: now() + Duration::minutes(1) }
}

/// Reports to the parent, with one write per line, so that a kill cannot leave an incomplete line.
fn report(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).and_then(|()| out.flush()).expect("the parent reads");
}

/// Accepts, runs and cancels jobs until it is killed. Reports each step after the ledger has confirmed it.
fn child(path: &Path) {
    let ledger = Arc::new(SqliteLedger::open(path, Synchronous::Normal).expect("open"));
    let workers = [0u64, 1].map(|i| {
        let ledger = ledger.clone();
        std::thread::spawn(move || {
            loop {
                let Some(job) =
                    block_on(ledger.claim_next("test", lease(&format!("w{i}")), now())).expect("claim")
                else {
                    std::thread::yield_now();
                    continue;
                };
                let cost = Spend { engine_ms: 100 + i, amount: None };
                let outcome =
                    Outcome::Succeeded { images: Vec::new(), warnings: Vec::new(), picture_key: None };
                block_on(ledger.finish(&job.run(), outcome, cost, now())).expect("finish");
                report(&format!("ended {} {} {}", job.owner, job.id, cost.engine_ms));
            }
        })
    });
    let clients = OWNERS.map(|name| {
        let ledger = ledger.clone();
        std::thread::spawn(move || {
            for i in 0u64.. {
                let key = format!("{}-{i}", std::process::id());
                let answer = block_on(ledger.accept(new_job(name, key.clone()), now())).expect("accept");
                let Acceptance::Accepted { job, .. } = answer else { panic!("{answer:?}") };
                report(&format!("accepted {name} {} {key}", job.id));
                if i % 5 == 4 {
                    block_on(ledger.cancel(&job.owner, job.id, now())).expect("cancel");
                }
            }
        })
    });
    for thread in clients.into_iter().chain(workers) {
        thread.join().expect("no panic before the kill");
    }
}

/// What the children of all rounds reported.
#[derive(Default)]
struct Reports {
    accepted: HashMap<JobId, (OwnerId, String)>,
    ended: HashMap<JobId, u64>,
}

impl Reports {
    fn add(&mut self, line: &str) {
        let words: Vec<_> = line.split(' ').collect();
        let id = words[2].parse().expect("a job's id");
        match words[0] {
            "accepted" => {
                self.accepted.insert(id, (words[1].parse().expect("a name"), words[3].to_owned()));
            }
            "ended" => {
                let before = self.ended.insert(id, words[3].parse().expect("a number"));
                assert_eq!(before, None, "{id} ended twice");
            }
            other => panic!("{other}"),
        }
    }
}

fn parent() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("ledger.db");
    let mut reports = Reports::default();
    for round in 0..ROUNDS {
        // Kills the child after 1 to 150 lines; within its work, the moment depends on the scheduler.
        let count = 1 + uuid::Uuid::new_v4().as_u128() % 150;
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .arg("child")
            .arg(&path)
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        for _ in 0..count {
            reports.add(&lines.next().expect("the child runs until it is killed").expect("a line"));
        }
        child.kill().expect("kill");
        for line in lines {
            reports.add(&line.expect("a line"));
        }
        let status = child.wait().expect("the exit status");
        assert!(!status.success(), "the child was killed");
        let ledger = SqliteLedger::open(&path, Synchronous::Normal).expect("open after a kill");
        block_on(check(&ledger, &reports, round));
    }
    let (accepted, ended) = (reports.accepted.len(), reports.ended.len());
    report(&format!(
        "killed {ROUNDS} times: {accepted} jobs accepted, {ended} of them ended before a kill; none lost"
    ));
}

async fn check(ledger: &SqliteLedger, reports: &Reports, round: u32) {
    ledger.recover(now(), RecoveryScope::All).await.expect("recover");
    // In every other round, the next child finds the queued jobs of the killed one.
    if round % 2 == 1 || round + 1 == ROUNDS {
        while let Some(job) = ledger.claim_next("test", lease("parent"), now()).await.expect("claim") {
            let outcome = Outcome::Succeeded { images: Vec::new(), warnings: Vec::new(), picture_key: None };
            let cost = Spend { engine_ms: 7, amount: None };
            ledger.finish(&job.run(), outcome, cost, now()).await.expect("finish");
        }
        for (id, (owner, _)) in &reports.accepted {
            let job = ledger.job(owner, *id).await.expect("get").expect("the accepted job");
            assert!(job.status.is_final(), "{job:?}");
        }
    }
    for (id, (owner, key)) in &reports.accepted {
        let job = ledger.job(owner, *id).await.expect("get").expect("the accepted job");
        if let Some(engine_ms) = reports.ended.get(id) {
            assert_eq!(job.status, Status::Succeeded);
            assert_eq!(job.cost.map(|cost| cost.engine_ms), Some(*engine_ms));
        }
        assert_eq!(job.idempotency_key.as_ref(), Some(key));
    }
    for name in OWNERS {
        check_account(ledger, name).await;
    }
    if let Some((id, (owner, key))) = reports.accepted.iter().next() {
        let again = ledger.accept(new_job(owner.as_str(), key.clone()), now()).await.expect("accept");
        assert_eq!(again.job().map(|job| job.id), Some(*id), "a retry finds the job");
    }
}

/// Checks that the account has the cost of ended jobs as spent, and the reservations of open jobs as
/// reserved.
async fn check_account(ledger: &SqliteLedger, name: &str) {
    let (mut spent, mut reserved, mut before) = (0, 0, None);
    let owner: OwnerId = name.parse().expect("a name");
    loop {
        let page = ledger.jobs(&owner, before, 1_000).await.expect("list");
        for job in &page.jobs {
            match job.cost {
                Some(cost) => spent += cost.engine_ms,
                None => reserved += job.reservation.reserved.engine_ms,
            }
        }
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    let today = utc_day(now());
    let first = today - Duration::DAY;
    let days = ledger.usage(&name.parse().expect("a name"), first, today).await.expect("usage");
    let recorded = days.iter().map(|(_, day)| (day.spent.engine_ms, day.reserved.engine_ms));
    let recorded = recorded.fold((0, 0), |sum, day| (sum.0 + day.0, sum.1 + day.1));
    assert_eq!(recorded, (spent, reserved), "{name}");
}
