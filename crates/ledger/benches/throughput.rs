//! How fast the ledger is by itself: `cargo bench -p tintype-ledger`. A bucket's figures are those of its network;
//! what is measured here is the database.

use std::io::Write;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use futures::executor::block_on;
use serde_json::json;
use time::OffsetDateTime;
use tintype_ledger::accept::{Acceptance, NewJob, Reuse};
use tintype_ledger::id::Fingerprint;
use tintype_ledger::job::{Lease, OnWorkerLoss, Outcome};
use tintype_ledger::money::Spend;
use tintype_ledger::policy::Policy;
use tintype_ledger::{Ledger, SqliteLedger, Synchronous};

const JOBS: usize = 4_000;
const OWNERS: usize = 100;

fn main() {
    for sync in [Synchronous::Normal, Synchronous::Full] {
        let folder = tempfile::tempdir().expect("a folder");
        let ledger = SqliteLedger::open(&folder.path().join("ledger.db"), sync).expect("open");
        say(&format!("SQLite, Synchronous::{sync:?}"));
        measure("accept, 1 caller", 1, JOBS / 4, |i| accept(&ledger, i, Policy::default()));
        measure("accept, 32 callers", 32, JOBS, |i| accept(&ledger, i, Policy::default()));
        let budgets = vec!["0.1s/day".parse().expect("a budget")];
        let spent = Policy { budgets, ..Policy::default() };
        measure("refuse by budget, 32 callers", 32, JOBS, |i| accept(&ledger, i, spent.clone()));
        let waiting = block_on(ledger.load()).expect("load").queued;
        measure(&format!("claim and finish, 2 workers, {waiting} waiting"), 2, JOBS / 2, |i| run(&ledger, i));
    }
}

fn say(line: &str) {
    writeln!(std::io::stdout(), "{line}").expect("somebody reads");
}

/// Does it `count` times from so many threads; prints the rate and what one took.
fn measure(what: &str, threads: usize, count: usize, act: impl Fn(usize) + Sync) {
    let times = Mutex::new(Vec::with_capacity(count));
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (act, times) = (&act, &times);
            scope.spawn(move || {
                let timed = |i| {
                    let begun = Instant::now();
                    act(i);
                    begun.elapsed()
                };
                let own: Vec<Duration> = (thread..count).step_by(threads).map(timed).collect();
                times.lock().expect("no thread fell").extend(own);
            });
        }
    });
    let rate = count as f64 / begun.elapsed().as_secs_f64();
    let mut times = times.into_inner().expect("no thread fell");
    times.sort_unstable();
    let at = |part: usize| times[(times.len() - 1) * part / 100].as_secs_f64() * 1e3;
    say(&format!("  {what:<44} {rate:>8.0}/s   p50 {:>7.2} ms   p99 {:>7.2} ms", at(50), at(99)));
}

fn accept(ledger: &SqliteLedger, i: usize, policy: Policy) {
    let name = format!("owner-{}", i % OWNERS);
    let limited = !policy.budgets.is_empty();
    let new = NewJob {
        owner: name.parse().expect("a name"),
        key: name.parse().expect("a name"),
        policy,
        reserve: Spend { engine_ms: 1_000, amount: "0.01usd".parse().ok() },
        request: json!({"prompt": "a cyborg tiger in the rain", "width": 512, "height": 512, "steps": 25}),
        fingerprint: Fingerprint::of(uuid::Uuid::new_v4().as_bytes()),
        reuse: Reuse { in_flight: true, stored: true, retry: None },
        idempotency: None,
        on_worker_loss: OnWorkerLoss::Requeue,
        waiter: None,
        deadline: None,
        queue: None,
        start_with: None,
    };
    let answer = block_on(ledger.accept(new, OffsetDateTime::now_utc())).expect("accept");
    assert_eq!(matches!(answer, Acceptance::LimitExceeded { .. }), limited, "{answer:?}");
}

fn run(ledger: &SqliteLedger, i: usize) {
    let now = OffsetDateTime::now_utc();
    let worker = format!("w{}", i % 2).parse().expect("a name");
    let lease = Lease { worker, until: now + Duration::from_secs(60) };
    let job = block_on(ledger.claim_next(lease, now)).expect("claim").expect("one waits");
    let outcome = Outcome::Succeeded { images: Vec::new(), warnings: Vec::new() };
    block_on(ledger.finish(&job.run(), outcome, job.reservation.reserved, now)).expect("finish");
}
