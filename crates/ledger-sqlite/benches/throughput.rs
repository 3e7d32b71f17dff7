//! Measures the throughput of the SQLite ledger: `cargo bench -p tintype-ledger-sqlite`. The throughput of a bucket
//! ledger depends on its network and is not measured.

use std::io::Write;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use futures::executor::block_on;
use serde_json::json;
use time::OffsetDateTime;
use tintype_ledger::Ledger;
use tintype_ledger::accept::{Acceptance, NewJob, Reuse};
use tintype_ledger::id::Fingerprint;
use tintype_ledger::job::{Lease, OnWorkerLoss, Outcome};
use tintype_ledger::money::Spend;
use tintype_ledger::policy::Policy;
use tintype_ledger_sqlite::{SqliteLedger, Synchronous};

const JOBS: usize = 4_000;
const OWNERS: usize = 100;

fn main() {
    for sync in [Synchronous::Normal, Synchronous::Full] {
        let folder = tempfile::tempdir().expect("a folder");
        let ledger = SqliteLedger::open(&folder.path().join("ledger.db"), sync).expect("open");
        print(&format!("SQLite, Synchronous::{sync:?}"));
        measure("accept, 1 caller", 1, JOBS / 4, |i| accept(&ledger, i, Policy::default()));
        measure("accept, 32 callers", 32, JOBS, |i| accept(&ledger, i, Policy::default()));
        let budgets = vec!["0.1s/day".parse().expect("a budget")];
        let exhausted = Policy { budgets, ..Policy::default() };
        measure("reject by budget, 32 callers", 32, JOBS, |i| accept(&ledger, i, exhausted.clone()));
        let queued = block_on(ledger.load()).expect("load").values().map(|load| load.queued).sum::<u64>();
        measure(&format!("claim and finish, 2 workers, {queued} queued"), 2, JOBS / 2, |i| run(&ledger, i));
    }
}

fn print(line: &str) {
    writeln!(std::io::stdout(), "{line}").expect("standard output");
}

/// Calls `operation` `count` times from so many threads. Prints the rate and the latency percentiles.
fn measure(label: &str, threads: usize, count: usize, operation: impl Fn(usize) + Sync) {
    let times = Mutex::new(Vec::with_capacity(count));
    let start = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (operation, times) = (&operation, &times);
            scope.spawn(move || {
                let timed = |i| {
                    let start = Instant::now();
                    operation(i);
                    start.elapsed()
                };
                let own: Vec<Duration> = (thread..count).step_by(threads).map(timed).collect();
                times.lock().expect("no panic").extend(own);
            });
        }
    });
    let rate = count as f64 / start.elapsed().as_secs_f64();
    let mut times = times.into_inner().expect("no panic");
    times.sort_unstable();
    let percentile = |p: usize| times[(times.len() - 1) * p / 100].as_secs_f64() * 1e3;
    print(&format!(
        "  {label:<44} {rate:>8.0}/s   p50 {:>7.2} ms   p99 {:>7.2} ms",
        percentile(50),
        percentile(99)
    ));
}

fn accept(ledger: &SqliteLedger, i: usize, policy: Policy) {
    let name = format!("owner-{}", i % OWNERS);
    let limited = !policy.budgets.is_empty();
    let new = NewJob {
        owner: name.parse().expect("a name"),
        key: name.parse().expect("a name"),
        policy,
        reserve: Spend { engine_ms: 1_000, amount: "0.01usd".parse().ok() },
        model: "test".to_owned(),
        request: json!({"prompt": "a cyborg tiger in the rain", "width": 512, "height": 512, "steps": 25}),
        request_key: Fingerprint::of(uuid::Uuid::new_v4().as_bytes()),
        reuse: Reuse { in_flight: true, ..Reuse::default() },
        idempotency: None,
        on_worker_loss: OnWorkerLoss::Requeue,
        waiter: None,
        deadline: None,
        events_key: None,
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
    let job = block_on(ledger.claim_next("test", lease, now)).expect("claim").expect("a queued job");
    let outcome = Outcome::Succeeded { images: Vec::new(), warnings: Vec::new(), picture_key: None };
    block_on(ledger.finish(&job.run(), outcome, job.reservation.reserved, now)).expect("finish");
}
