//! Backups of a ledger that is in use.

use std::collections::BTreeSet;
use std::sync::mpsc;
use std::thread;

use futures::executor::block_on;

use super::{MODEL, accepted, completed, new_job, owner};
use tintype_ledger::Ledger;
use tintype_ledger::id::JobId;
use tintype_ledger::job::JobRecord;

/// The owner of all jobs.
const OWNER: &str = "acme";
/// Number of backups.
const BACKUPS: usize = 5;
/// Minimum number of jobs that are accepted between two backups.
const JOBS_BETWEEN: usize = 20;

pub(super) fn contract<L: Ledger>(ledger: &dyn Ledger, mut back_up_and_restore: impl FnMut() -> L) {
    thread::scope(|scope| {
        let (send, acknowledged) = mpsc::channel();
        scope.spawn(move || write_until_closed(ledger, &send));
        // Moved here, so that the writer also stops if an assertion fails.
        let acknowledged = acknowledged;
        let mut before = BTreeSet::new();
        for _ in 0..BACKUPS {
            before.extend(acknowledged.iter().take(JOBS_BETWEEN));
            before.extend(acknowledged.try_iter());
            let restored = back_up_and_restore();
            assert_eq!(block_on(restored.check()).expect("check"), []);
            let jobs = all_jobs(&restored);
            let found: BTreeSet<_> = jobs.iter().map(|job| job.id).collect();
            assert!(before.is_subset(&found), "{} of {}", found.len(), before.len());
            // The queue has all open jobs.
            let open = jobs.iter().filter(|job| !job.status.is_final()).count();
            let load = block_on(restored.load()).expect("load").remove(MODEL).unwrap_or_default();
            assert_eq!(load.queued + load.running, open as u64);
        }
        assert!(before.len() >= BACKUPS * JOBS_BETWEEN, "{} jobs", before.len());
    });
}

/// Accepts jobs and runs every other one, and sends their ids, until the receiver is dropped.
fn write_until_closed(ledger: &dyn Ledger, acknowledged: &mpsc::Sender<JobId>) {
    for i in 0.. {
        let job = block_on(accepted(ledger, new_job(OWNER, &i.to_string()), i));
        if i % 2 == 0 {
            block_on(completed(ledger, &job, i));
        }
        if acknowledged.send(job.id).is_err() {
            return;
        }
    }
}

fn all_jobs(ledger: &dyn Ledger) -> Vec<JobRecord> {
    let (owner, mut all, mut before) = (owner(OWNER), Vec::new(), None);
    loop {
        let page = block_on(ledger.jobs(&owner, before, 1_000)).expect("list");
        all.extend(page.jobs);
        before = page.next;
        if before.is_none() {
            return all;
        }
    }
}
