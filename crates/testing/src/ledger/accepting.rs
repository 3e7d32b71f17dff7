//! Accepting jobs: idempotency keys, reuse of jobs in flight and of stored images, isolation of owners.

use super::{
    accepted, any_reuse, at, claimed, completed, new_job, new_job_with_key, owner, picture_keys, usage_today,
};
use tintype_ledger::accept::{Acceptance, NewJob, PictureKeys, QueueLimit, RetryReuse, Reuse};
use tintype_ledger::id::Fingerprint;
use tintype_ledger::job::{Failure, Outcome, Reason, UpstreamError};
use tintype_ledger::money::Spend;
use tintype_ledger::{FinishReply, Ledger};

pub(super) async fn contract(ledger: &dyn Ledger) {
    an_accepted_job_can_be_read(ledger).await;
    an_idempotency_key_identifies_one_request(ledger).await;
    identical_requests_share_a_job(ledger).await;
    stored_images_have_the_picture_key(ledger).await;
    a_retry_finds_an_undelivered_job(ledger).await;
    the_end_of_a_job_with_a_waiter_counts_as_delivery(ledger).await;
    the_queue_is_limited(ledger).await;
}

fn sharing(name: &str, prompt: &str, reuse: Reuse) -> NewJob {
    NewJob { reuse, ..new_job(name, prompt) }
}

async fn accept(ledger: &dyn Ledger, new: NewJob, seconds: i64) -> Acceptance {
    ledger.accept(new, at(seconds)).await.expect("accept")
}

async fn an_accepted_job_can_be_read(ledger: &dyn Ledger) {
    let new = NewJob { deadline: Some(at(500)), ..new_job_with_key("there", "tiger", "key") };
    let job = accepted(ledger, new, 0).await;
    assert_eq!((job.created, job.deadline, job.runs), (at(0), Some(at(500)), 0));
    assert_eq!((job.status.name(), job.request["prompt"].as_str()), ("queued", Some("tiger")));
    assert_eq!((job.reservation.reserved.engine_ms, job.idempotency_key.as_deref()), (1_000, Some("key")));
    assert_eq!(ledger.job(&owner("there"), job.id).await.expect("get"), Some(job.clone()));
    assert_eq!(
        ledger.job(&owner("else"), job.id).await.expect("get"),
        None,
        "another owner's job is invisible"
    );

    let ended = completed(ledger, &job, 1).await;
    assert_eq!(ledger.job(&owner("there"), job.id).await.expect("get"), Some(ended));
    let used = usage_today(ledger, "there").await;
    assert_eq!((used.jobs, used.pictures, used.spent.engine_ms), (1, 1, 700));
    assert_eq!(used.spent.micros("usd".parse().expect("usd")), 7_000);
    assert!(used.reserved.is_zero(), "{used:?}");
}

async fn an_idempotency_key_identifies_one_request(ledger: &dyn Ledger) {
    let job = accepted(ledger, new_job_with_key("idem", "tiger", "k1"), 0).await;
    let replay = accept(ledger, new_job_with_key("idem", "tiger", "k1"), 1).await;
    assert_eq!(replay, Acceptance::Replayed { job: job.clone() }, "while the job is queued");
    assert_eq!(accept(ledger, new_job_with_key("idem", "lion", "k1"), 1).await, Acceptance::Conflict);
    let other = accepted(ledger, new_job_with_key("idem", "tiger", "k2"), 2).await;
    assert_ne!(other.id, job.id, "another key is another request");
    let other_owner = accepted(ledger, new_job_with_key("idem-b", "lion", "k1"), 2).await;
    assert_ne!(other_owner.id, job.id, "idempotency keys are per owner");

    let ended = completed(ledger, &job, 3).await;
    let day = 24 * 3_600;
    let replay = accept(ledger, new_job_with_key("idem", "tiger", "k1"), day - 1).await;
    assert_eq!(replay, Acceptance::Replayed { job: ended }, "after the job has ended, for 24 hours");
    let later = accepted(ledger, new_job_with_key("idem", "lion", "k1"), day).await;
    assert_ne!(later.id, job.id, "the key has expired");

    let busy = accepted(ledger, new_job_with_key("idem", "tiger", "k3"), 3).await;
    let running = claimed(ledger, &busy, 3).await;
    let upstream_error = UpstreamError { status: None, message: String::new(), retry_after: Some(5) };
    let failure = Failure { reason: Reason::Busy, upstream_error: Some(upstream_error) };
    let ended = ledger.finish(&running.run(), Outcome::Failed(failure.clone()), Spend::ZERO, at(3)).await;
    let Ok(FinishReply::Recorded(ended)) = ended else { panic!("{ended:?}") };
    assert_eq!(ended.failure(), Some(failure));
    let again = accepted(ledger, new_job_with_key("idem", "tiger", "k3"), 4).await;
    assert_ne!(again.id, busy.id, "a retry of a busy job gets a new job");
    ledger.cancel(&owner("idem"), again.id, at(4)).await.expect("cancel");

    ledger.delete(&owner("idem"), other.id, at(4)).await.expect("delete").expect("a job");
    let fresh = accepted(ledger, new_job_with_key("idem", "lion", "k2"), 5).await;
    assert_ne!(fresh.id, other.id, "deleting the job removes its idempotency key");
    for job in [&other_owner, &later, &fresh] {
        completed(ledger, job, 6).await;
    }
}

async fn identical_requests_share_a_job(ledger: &dyn Ledger) {
    let first = accepted(ledger, sharing("same", "tiger", any_reuse()), 0).await;
    let Acceptance::Joined { job, .. } = accept(ledger, sharing("same", "tiger", any_reuse()), 1).await
    else {
        panic!("an identical request in flight is joined");
    };
    assert_eq!(job.id, first.id);
    let alone = accepted(ledger, new_job("same", "tiger"), 1).await;
    assert_ne!(alone.id, first.id, "the request does not allow reuse");
    let other = accepted(ledger, sharing("same", "lion", any_reuse()), 1).await;
    let other_owner = accepted(ledger, sharing("same-b", "tiger", any_reuse()), 1).await;
    assert_ne!(other_owner.id, first.id, "never across owners");
    ledger.cancel(&owner("same"), alone.id, at(2)).await.expect("cancel").expect("a job");

    let wolf = sharing("same", "wolf", any_reuse());
    let running = accepted(ledger, wolf.clone(), 1).await;
    let running = claimed(ledger, &running, 1).await;
    let joined = accept(ledger, once_sharing("same", "wolf", "k"), 2).await;
    assert_eq!(joined.job().map(|job| job.id), Some(running.id), "{joined:?}");
    ledger.cancel(&owner("same"), running.id, at(3)).await.expect("cancel").expect("a job");
    let replay = accept(ledger, once_sharing("same", "wolf", "k"), 3).await;
    assert!(matches!(&replay, Acceptance::Replayed { job } if job.id == running.id), "{replay:?}");
    let fresh = accepted(ledger, wolf, 3).await;
    assert_ne!(fresh.id, running.id, "a job with a cancel request is not joined");
    let canceled =
        ledger.finish(&running.run(), tintype_ledger::job::Outcome::Canceled, super::cost(), at(4)).await;
    assert!(matches!(canceled, Ok(tintype_ledger::FinishReply::Recorded(_))), "{canceled:?}");

    let ended = completed(ledger, &other, 2).await;
    let Acceptance::Stored { job, .. } = accept(ledger, sharing("same", "lion", any_reuse()), 9).await else {
        panic!("a stored image is found");
    };
    assert_eq!(job, ended);
    let in_flight = Reuse { in_flight: true, ..Reuse::default() };
    let new_lion = accepted(ledger, sharing("same", "lion", in_flight), 9).await;
    assert_ne!(new_lion.id, ended.id, "only jobs in flight may be reused");
    let used = usage_today(ledger, "same").await;
    assert_eq!((used.joined, used.stored), (2, 1), "{used:?}");

    for job in [&first, &other_owner, &fresh, &new_lion] {
        completed(ledger, job, 10).await;
    }
    ledger.delete(&owner("same"), new_lion.id, at(11)).await.expect("delete").expect("a job");
    let gone = accepted(ledger, sharing("same-c", "lion", any_reuse()), 12).await;
    ledger.delete(&owner("same-c"), gone.id, at(12)).await.expect("delete").expect("a job");
    let after = accepted(ledger, sharing("same-c", "lion", any_reuse()), 13).await;
    assert_ne!(after.id, gone.id, "a deleted job is not shared");
    completed(ledger, &after, 14).await;
}

fn once_sharing(name: &str, prompt: &str, key: &str) -> NewJob {
    NewJob { reuse: any_reuse(), ..new_job_with_key(name, prompt, key) }
}

/// The model's weights or the settings of finishing images may have changed since.
async fn stored_images_have_the_picture_key(ledger: &dyn Ledger) {
    let current = Fingerprint::of(b"other weights");
    let with_keys = |keys| Reuse { stored: Some(keys), ..any_reuse() };
    let other = with_keys(PictureKeys { current, ..picture_keys() });
    let first = accepted(ledger, sharing("picture", "tiger", any_reuse()), 0).await;
    let Acceptance::Joined { job, .. } = accept(ledger, sharing("picture", "tiger", other), 1).await else {
        panic!("a job in flight will be finished as the settings are then");
    };
    assert_eq!(job.id, first.id);
    completed(ledger, &first, 2).await;
    let second = accepted(ledger, sharing("picture", "tiger", other), 3).await;
    assert_ne!(second.id, first.id, "the stored image is of other weights");
    completed(ledger, &second, 4).await;
}

async fn a_retry_finds_an_undelivered_job(ledger: &dyn Ledger) {
    let retry = |since| {
        let retry = RetryReuse { accepted_since: at(since), delivered_since: at(105) };
        Reuse { retry: Some(retry), ..Reuse::default() }
    };
    let first = accepted(ledger, new_job("retry", "tiger"), 100).await;
    let joined = accept(ledger, sharing("retry", "tiger", retry(0)), 101).await;
    assert!(matches!(&joined, Acceptance::Joined { job, .. } if job.id == first.id), "{joined:?}");
    let ended = completed(ledger, &first, 102).await;
    let found = accept(ledger, sharing("retry", "tiger", retry(0)), 103).await;
    assert!(matches!(&found, Acceptance::Stored { job, .. } if *job == ended), "{found:?}");
    let too_old = accepted(ledger, sharing("retry", "tiger", retry(101)), 104).await;
    assert_ne!(too_old.id, first.id);
    completed(ledger, &too_old, 104).await;

    ledger.mark_delivered(&owner("retry"), too_old.id, at(104)).await.expect("mark as delivered");
    ledger.mark_delivered(&owner("retry"), too_old.id, at(107)).await.expect("mark as delivered");
    let delivered = ledger.job(&owner("retry"), too_old.id).await.expect("get").expect("a job");
    assert_eq!(delivered.delivered, Some(at(104)), "the first time counts");
    let used = usage_today(ledger, "retry").await;
    assert_eq!((used.jobs, used.spent.engine_ms), (2, 1_400), "delivery costs nothing");
    ledger.delete(&owner("retry"), first.id, at(107)).await.expect("delete").expect("a job");
    let fresh = accepted(ledger, sharing("retry", "tiger", retry(0)), 108).await;
    assert_ne!(fresh.id, too_old.id, "a delivered job does not answer a retry");
    completed(ledger, &fresh, 109).await;
    ledger.mark_delivered(&owner("retry"), fresh.id, at(110)).await.expect("mark as delivered");
    let found = accept(ledger, sharing("retry", "tiger", retry(0)), 111).await;
    let same = found.job().is_some_and(|job| job.id == fresh.id);
    assert!(same, "a recent delivery may have been lost: {found:?}");
}

/// If a client waits until the end of the job, the images count as delivered at that time.
async fn the_end_of_a_job_with_a_waiter_counts_as_delivery(ledger: &dyn Ledger) {
    let waiter = |prompt: &str| {
        let waiter = "process".parse().ok();
        NewJob { waiter, ..new_job("waited", prompt) }
    };
    let delivered_since = |seconds| {
        let retry = RetryReuse { accepted_since: at(0), delivered_since: at(seconds) };
        Reuse { retry: Some(retry), ..Reuse::default() }
    };
    let first = accepted(ledger, waiter("tiger"), 100).await;
    let completed_first = completed(ledger, &first, 110).await;
    let lost = accept(ledger, sharing("waited", "tiger", delivered_since(110)), 111).await;
    assert!(matches!(&lost, Acceptance::Stored { job, .. } if *job == completed_first), "{lost:?}");
    let fresh = accepted(ledger, sharing("waited", "tiger", delivered_since(111)), 121).await;
    assert_ne!(fresh.id, first.id, "the client has received the images");
    completed(ledger, &fresh, 122).await;
}

async fn the_queue_is_limited(ledger: &dyn Ledger) {
    let limit = Some(QueueLimit { per_owner: 2, total: 3 });
    let limited = |name: &str| NewJob { queue: limit, ..new_job(name, "tiger") };
    let first = accepted(ledger, limited("bounded"), 0).await;
    let second = accepted(ledger, limited("bounded"), 1).await;
    let full =
        NewJob { idempotency: new_job_with_key("bounded", "tiger", "k").idempotency, ..limited("bounded") };
    assert_eq!(accept(ledger, full.clone(), 2).await, Acceptance::QueueFull, "the limit per owner");
    let third = accepted(ledger, limited("bounded-b"), 2).await;
    assert_eq!(accept(ledger, limited("bounded-c"), 3).await, Acceptance::QueueFull, "the total limit");
    completed(ledger, &first, 4).await;
    let again = accepted(ledger, full, 5).await;
    for job in [&second, &third, &again] {
        completed(ledger, job, 6).await;
    }
    let used = usage_today(ledger, "bounded").await;
    assert_eq!(
        (used.jobs, used.reserved.is_zero()),
        (3, true),
        "a request that finds the queue full reserves nothing"
    );
}
