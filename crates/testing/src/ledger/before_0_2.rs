//! Records of versions before 0.2 have no model, and one key instead of a request key and a picture key.

use super::unreadable::StoredText;
use super::{MODEL, accepted, any_reuse, at, completed, cost, lease, new_job, picture_keys, succeeded};
use tintype_ledger::Ledger;
use tintype_ledger::accept::{Acceptance, NewJob, PictureKeys, Reuse};
use tintype_ledger::id::Fingerprint;
use tintype_ledger::job::{JobRecord, Status};
use tintype_ledger::quarantine::RecordName;

/// Tests a ledger whose records can be edited.
pub async fn contract(ledger: &dyn Ledger, stored: &dyn StoredText) {
    stored_images_are_found_by_the_earlier_key(ledger, stored).await;
    queued_jobs_run(ledger, stored).await;
}

/// Removes the members that version 0.1 did not write.
fn as_before_0_2(stored: &dyn StoredText, job: &JobRecord) {
    let name = RecordName::Job { owner: job.owner.clone(), id: job.id };
    let key = format!(r#","picture_key":"{}""#, picture_keys().current);
    stored.edit(&name, &|text| {
        let text = text.replace(&format!(r#","model":"{MODEL}""#), "").replace(&key, "");
        stored.with_version(&text, 1)
    });
}

async fn stored_images_are_found_by_the_earlier_key(ledger: &dyn Ledger, stored: &dyn StoredText) {
    let (earlier_key, later_key) = (Fingerprint::of(b"earlier"), Fingerprint::of(b"later"));
    let earlier = NewJob { request_key: earlier_key, reuse: any_reuse(), ..new_job("early", "a") };
    let earlier = accepted(ledger, earlier, 0).await;
    let earlier = completed(ledger, &earlier, 1).await;
    as_before_0_2(stored, &earlier);
    let request = |before_0_2| {
        let keys = PictureKeys { before_0_2, ..picture_keys() };
        let reuse = Reuse { stored: Some(keys), ..any_reuse() };
        NewJob { request_key: later_key, reuse, ..new_job("early", "a") }
    };
    let hit = ledger.accept(request(Some(earlier_key)), at(2)).await.expect("accept");
    let Acceptance::Stored { job, .. } = hit else { panic!("not found: {hit:?}") };
    assert_eq!((job.id, job.images.len()), (earlier.id, 1));
    let other_weights = request(Some(Fingerprint::of(b"other weights")));
    let made = accepted(ledger, other_weights, 3).await;
    completed(ledger, &made, 4).await;
}

async fn queued_jobs_run(ledger: &dyn Ledger, stored: &dyn StoredText) {
    let request = serde_json::json!({"model": MODEL, "request": {"prompt": "a"}});
    let queued = accepted(ledger, NewJob { request, ..new_job("early", "b") }, 10).await;
    as_before_0_2(stored, &queued);
    assert_eq!(ledger.position(&queued.owner, queued.id).await.expect("position"), Some(0));
    assert_eq!(ledger.claim_next("other", lease("w", 60), at(11)).await.expect("claim"), None);
    let claimed = ledger.claim_next(MODEL, lease("w", 60), at(11)).await.expect("claim").expect("a job");
    assert_eq!((claimed.id, claimed.model()), (queued.id, MODEL));
    ledger.finish(&claimed.run(), succeeded(claimed.id, 1), cost(), at(12)).await.expect("finish");
    let ended = ledger.job(&queued.owner, queued.id).await.expect("get").expect("a job");
    assert_eq!(ended.status, Status::Succeeded);
}
