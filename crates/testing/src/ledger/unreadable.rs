//! Unreadable records affect no other record, are not rewritten, and can be repaired.

use std::collections::BTreeMap;

use super::{
    MODEL, accepted, any_reuse, at, completed, cost, key_id, lease, new_job, new_key, owner, succeeded,
    usage_today,
};
use tintype_ledger::Error;
use tintype_ledger::Ledger;
use tintype_ledger::accept::NewJob;
use tintype_ledger::account::DayUsage;
use tintype_ledger::job::{JobRecord, Reason, RecoveryScope, Status};
use tintype_ledger::policy::Policy;
use tintype_ledger::quarantine::{RecordFault, RecordName};
use tintype_ledger::stored::VERSION;

/// Access to the stored text of records, to damage it.
pub trait StoredText {
    /// Replaces the stored text of a record, and returns the new text.
    fn edit(&self, name: &RecordName, edit: &dyn Fn(&str) -> String) -> String;

    /// The text of a record with this version.
    fn with_version(&self, text: &str, version: u32) -> String;
}

/// A way to damage a job's record.
type Damage = (&'static str, fn(&str) -> String);

/// Some of them remove the key or the reservation as well.
const DAMAGES: [Damage; 6] = [
    ("an unknown value", |text| text.replace(r#""interrupted":"requeue""#, r#""interrupted":"later""#)),
    ("a missing member", |text| text.replace(r#""hold":"#, r#""held":"#)),
    ("cut text", |text| text[..text.find(r#""request""#).expect("a request")].to_owned()),
    ("cut at the end", |text| text[..text.len() - 2].to_owned()),
    ("an unknown status", |text| text.replace(r#"{"is":"queued"}"#, r#"{"is":"paused"}"#)),
    ("no JSON", |_| "\u{1}".to_owned()),
];

/// The name of a job's record.
fn name(job: &JobRecord) -> RecordName {
    RecordName::Job { owner: job.owner.clone(), id: job.id }
}

/// Tests an empty ledger.
pub async fn contract(ledger: &dyn Ledger, stored: &dyn StoredText) {
    for (index, (what, damage)) in DAMAGES.into_iter().enumerate() {
        let start = index as i64 * 1_000;
        let poisoned = accepted(ledger, new_job("poison", "a"), start).await;
        let text = stored.edit(&name(&poisoned), &|text| damage(text));
        assert_eq!(ledger.check().await.expect("check").len(), 1, "{what}");
        others_are_not_delayed(ledger, &poisoned, start, what).await;
        assert_eq!(stored.edit(&name(&poisoned), &str::to_owned), text, "{what}: not rewritten");
        a_repair_ends_the_job(ledger, &poisoned, start, what).await;
    }
    a_newer_version_is_left_alone(ledger, stored).await;
    an_unreadable_finished_job_is_left_out_of_lists(ledger, stored).await;
    an_identical_request_gets_a_new_job(ledger, stored).await;
    an_unreadable_key_affects_no_other_key(ledger, stored).await;
}

/// Fifty jobs of the same and of another owner run as if the unreadable job did not exist.
async fn others_are_not_delayed(ledger: &dyn Ledger, poisoned: &JobRecord, start: i64, what: &str) {
    let now = start + 60;
    let mut waiting = Vec::new();
    for index in 0..50 {
        let name = if index % 2 == 0 { "poison" } else { "healthy" };
        waiting.push(accepted(ledger, new_job(name, "b"), start + 1 + index).await.id);
    }
    ledger.recover(at(now), RecoveryScope::ExpiredLeases).await.expect("recover");
    let mut ran = Vec::new();
    for _ in 0..50 {
        let job = ledger.claim_next(MODEL, lease("w", now + 60), at(now)).await.expect("claim");
        let job = job.unwrap_or_else(|| panic!("{what}: after {} jobs no job is queued", ran.len()));
        ledger.finish(&job.run(), succeeded(job.id, 1), cost(), at(now)).await.expect("finish");
        ran.push(job.id);
    }
    ran.sort_unstable();
    assert_eq!(ran, waiting, "{what}");
    assert_eq!(ledger.claim_next(MODEL, lease("w", now + 60), at(now)).await.expect("claim"), None, "{what}");
    assert_eq!(ledger.load().await.expect("load"), BTreeMap::new(), "{what}");
    assert_eq!(ledger.unreadable_records(), 1, "{what}");
    let next = accepted(ledger, new_job("poison", "c"), now).await;
    assert_eq!(ledger.position(&next.owner, next.id).await.expect("position"), Some(0), "{what}");
    completed(ledger, &next, now).await;
    let listed = ledger.jobs(&poisoned.owner, None, 1_000).await.expect("list").jobs;
    assert!(listed.len() >= 26 && listed.iter().all(|job| job.id != poisoned.id), "{what}");
    let direct = ledger.job(&poisoned.owner, poisoned.id).await;
    assert!(matches!(direct, Err(Error::Corrupt { .. })), "{what}: {direct:?}");
}

async fn a_repair_ends_the_job(ledger: &dyn Ledger, poisoned: &JobRecord, start: i64, what: &str) {
    let before = usage_today(ledger, "poison").await;
    assert_eq!(before.reserved.engine_ms, 1_000, "{what}");
    let spent = before.models[MODEL].spent.clone();
    let found = ledger.check().await.expect("check");
    assert_eq!((&found[0].name, found[0].fault), (&name(poisoned), RecordFault::Damaged), "{what}");
    let repair = ledger.repair(at(start + 70)).await.expect("repair");
    assert_eq!((&repair.ended, repair.left.len()), (&found, 0), "{what}");
    assert!(repair.reservations_released, "{what}");
    let job = ledger.job(&poisoned.owner, poisoned.id).await.expect("readable").expect("a job");
    assert_eq!(job.status, Status::Failed(Reason::UnreadableRecord), "{what}");
    let after = usage_today(ledger, "poison").await;
    // The job counts as one of its model only if the record still has the name of the model.
    let models = after.models.clone();
    assert_eq!(after, DayUsage { reserved: Default::default(), models, ..before }, "{what}");
    assert_eq!(after.models[MODEL].spent, spent, "{what}: nothing is charged");
    let quotas = ledger.quotas(&key_id("poison"), &one_job(), at(start + 70)).await.expect("quotas");
    assert_eq!(quotas[0].remaining, 1, "{what}: no job is open");
    ledger.recover(at(start + 71), RecoveryScope::ExpiredLeases).await.expect("recover");
    assert_eq!(ledger.unreadable_records(), 0, "{what}");
    assert_eq!(ledger.check().await.expect("check"), [], "{what}");
    assert_eq!(ledger.repair(at(start + 72)).await.expect("repair").ended, [], "{what}");
    assert_eq!(usage_today(ledger, "poison").await, after, "{what}: released once");
    ledger.delete(&job.owner, job.id, at(start + 73)).await.expect("delete").expect("a job");
}

/// A limit of one open job.
fn one_job() -> Policy {
    Policy { concurrency: std::num::NonZeroU32::new(1), ..Policy::default() }
}

async fn a_newer_version_is_left_alone(ledger: &dyn Ledger, stored: &dyn StoredText) {
    let newer = accepted(ledger, new_job("newer", "a"), 10_000).await;
    let text = stored.edit(&name(&newer), &|text| stored.with_version(text, VERSION + 1));
    let other = accepted(ledger, new_job("newer", "b"), 10_001).await;
    let next = ledger.claim_next(MODEL, lease("w", 10_060), at(10_002)).await.expect("claim").expect("a job");
    assert_eq!(next.id, other.id);
    ledger.finish(&next.run(), succeeded(next.id, 1), cost(), at(10_003)).await.expect("finish");
    assert_eq!(ledger.claim_next(MODEL, lease("w", 10_060), at(10_004)).await.expect("claim"), None);
    let repair = ledger.repair(at(10_005)).await.expect("repair");
    assert_eq!((repair.ended.len(), repair.left.len()), (0, 1));
    assert_eq!(repair.left[0].fault, RecordFault::NewerVersion);
    assert_eq!(stored.edit(&name(&newer), &str::to_owned), text, "not rewritten");
    assert_eq!(usage_today(ledger, "newer").await.reserved.engine_ms, 1_000, "still reserved");
    let direct = ledger.job(&newer.owner, newer.id).await;
    assert!(matches!(direct, Err(Error::NewerVersion { found, .. }) if found == VERSION + 1), "{direct:?}");
    // A process that reads the version runs the job.
    stored.edit(&name(&newer), &|text| stored.with_version(text, VERSION));
    let run = ledger.claim_next(MODEL, lease("w", 10_060), at(10_006)).await.expect("claim").expect("a job");
    assert_eq!(run.id, newer.id);
    ledger.finish(&run.run(), succeeded(run.id, 1), cost(), at(10_007)).await.expect("finish");
}

async fn an_unreadable_finished_job_is_left_out_of_lists(ledger: &dyn Ledger, stored: &dyn StoredText) {
    let mut jobs = Vec::new();
    for second in 20_000..20_005 {
        let job = accepted(ledger, new_job("ended", "a"), second).await;
        jobs.push(completed(ledger, &job, second).await);
    }
    let used = usage_today(ledger, "ended").await;
    stored.edit(&name(&jobs[2]), &|text| text.replace(r#""succeeded""#, r#""archived""#));
    stored.edit(&name(&jobs[4]), &|text| text[..50].to_owned());
    // Pages of one job: neither an empty page nor an early end.
    let (mut listed, mut before) = (Vec::new(), None);
    loop {
        let page = ledger.jobs(&owner("ended"), before, 1).await.expect("list");
        listed.extend(page.jobs.iter().map(|job| job.id));
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(listed, [jobs[3].id, jobs[1].id, jobs[0].id]);
    let old = ledger.finished_jobs(at(21_000), 1_000).await.expect("list");
    assert_eq!(old.iter().filter(|job| job.owner == owner("ended")).count(), 3);
    let repair = ledger.repair(at(21_000)).await.expect("repair");
    assert_eq!(repair.ended.len(), 2);
    assert_eq!(ledger.jobs(&owner("ended"), None, 10).await.expect("list").jobs.len(), 5);
    assert_eq!(usage_today(ledger, "ended").await, used, "an ended job has no reservation");
}

async fn an_identical_request_gets_a_new_job(ledger: &dyn Ledger, stored: &dyn StoredText) {
    let reuse = any_reuse();
    let request = || NewJob { reuse, ..new_job("same", "a") };
    let job = accepted(ledger, request(), 30_000).await;
    stored.edit(&name(&job), &|text| text[..80].to_owned());
    let second = accepted(ledger, request(), 30_001).await;
    assert_ne!(second.id, job.id);
    completed(ledger, &second, 30_002).await;
    ledger.repair(at(30_003)).await.expect("repair");
}

async fn an_unreadable_key_affects_no_other_key(ledger: &dyn Ledger, stored: &dyn StoredText) {
    let (broken, record) = ledger.create_key(new_key("broken"), at(0)).await.expect("a key");
    let (_, other) = ledger.create_key(new_key("other"), at(0)).await.expect("a key");
    let key_name = RecordName::Other(format!("keys/{}", record.id));
    stored.edit(&key_name, &|text| text.replace("60/min", "60/year"));
    assert_eq!(ledger.keys().await.expect("keys"), [other]);
    let result = ledger.authenticate(&broken, at(0)).await;
    assert!(matches!(result, Err(Error::Corrupt { .. })), "{result:?}");
    assert_eq!(ledger.unreadable_records(), 1);
    let left = ledger.repair(at(1)).await.expect("repair").left;
    assert_eq!(left.iter().map(|record| &record.name).collect::<Vec<_>>(), [&key_name]);
    stored.edit(&key_name, &|text| text.replace("60/year", "60/min"));
    assert_eq!(ledger.keys().await.expect("keys").len(), 2);
    assert_eq!(ledger.unreadable_records(), 0);
}
