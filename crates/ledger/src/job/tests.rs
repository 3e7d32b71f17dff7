use super::*;
use crate::accept::{NewJob, Reuse};
use crate::policy::Policy;
use serde_json::json;
use time::macros::datetime;

#[test]
fn the_stored_form_of_a_record_does_not_change() {
    let now = datetime!(2026-11-23 12:00 UTC);
    let reservation = Reservation {
        id: uuid::Uuid::nil(),
        day: now.date(),
        reserved: Spend { engine_ms: 1_000, amount: "0.01usd".parse().ok() },
    };
    let events_key = serde_json::from_value(json!("00000000-0000-0000-0000-000000000000")).expect("a key");
    let new = NewJob {
        owner: "acme".parse().expect("a name"),
        key: "acme".parse().expect("a name"),
        policy: Policy::default(),
        reserve: reservation.reserved,
        model: "test".to_owned(),
        request: json!({"prompt": "tiger"}),
        request_key: Fingerprint::of(b"tiger"),
        reuse: Reuse::default(),
        idempotency: None,
        on_worker_loss: OnWorkerLoss::Requeue,
        waiter: None,
        deadline: None,
        events_key: Some(events_key),
        queue: None,
        start_with: None,
    };
    let mut job = new.into_record(JobId::from(uuid::Uuid::nil()), reservation, now);
    job.start(Lease { worker: "w".parse().expect("a name"), until: now + time::Duration::MINUTE }, now);
    job.end(Outcome::Failed(Reason::OutcomeUnknown.into()), Spend { engine_ms: 1, amount: None }, now);
    let text = serde_json::to_value(&job).expect("plain data");
    let nil = "00000000-0000-0000-0000-000000000000";
    let expected = json!({
        "id": nil, "owner": "acme", "key": "acme", "model": "test", "request": {"prompt": "tiger"},
        "fingerprint": Fingerprint::of(b"tiger").to_string(), "interrupted": "requeue",
        "status": {"is": "failed", "reason": "outcome_unknown"},
        "created": "2026-11-23T12:00:00Z", "started": "2026-11-23T12:00:00Z", "finished": "2026-11-23T12:00:00Z",
        "hold": {"id": nil, "day": "2026-11-23", "reserved": {"engine_ms": 1000, "amount": "0.01usd"}},
        "cost": {"engine_ms": 1}, "runs": 1, "cancel_requested": false, "events_key": nil, "deleted": false,
    });
    assert_eq!(text, expected);
    assert_eq!(serde_json::from_value::<JobRecord>(text).expect("its own text"), job);
}

#[test]
fn reasons_have_the_same_names_in_records_and_in_the_api() {
    for reason in [
        Reason::Engine,
        Reason::Store,
        Reason::StoreFull,
        Reason::EngineUnavailable,
        Reason::Deadline,
        Reason::Overrun,
        Reason::OutcomeUnknown,
        Reason::Crashed,
        Reason::Busy,
        Reason::Model,
        Reason::UnreadableRecord,
        Reason::NotFinite,
    ] {
        assert_eq!(serde_json::to_value(reason).expect("plain data"), reason.name());
    }
    assert!(Status::Failed(Reason::Engine).is_final() && !Status::Running.is_final());
}
