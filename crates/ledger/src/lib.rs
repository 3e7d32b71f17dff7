//! What must not be lost: keys, jobs, usage and idempotency records.
//!
//! [`Ledger`] is the seam. Its methods are intents (*accept this job*, *it ended like this*), each of them one atomic
//! step, so that whoever implements it decides how: with transactions in [`SqliteLedger`], with conditional writes of
//! single objects in [`BucketLedger`], where there is no database. Both are held to the suites in `testing`.
//!
//! The rules themselves are pure and shared: [`Account`](account::Account) does the sums of limits and budgets,
//! [`JobRecord`](job::JobRecord) knows its own states. Nothing here looks at a clock or needs a runtime.
//!
//! # What is promised
//! - A job is **accepted** only once it is in the ledger, and then it ends: succeeded, failed or canceled. What a dead
//!   process leaves is found by [`Ledger::recover`].
//! - A job is **charged once**, however often it is run or its end reported. A local job whose worker died is run
//!   again; a paid call is not, and is charged what was reserved for it.
//! - **Spent and reserved never exceed a budget** when a job is admitted; afterwards they do only by what running
//!   jobs take beyond what was reserved for them.
//! - An **idempotency key** names one request for 24 hours.
//! - **Nothing crosses owners**: not a job, not a picture, not an idempotency key.
//!
//! # A job from end to end
//! ```
//! # use time::{Duration, OffsetDateTime};
//! # use tintype_ledger::accept::{Acceptance, NewJob};
//! # use tintype_ledger::id::WorkerId;
//! # use tintype_ledger::job::{Lease, Outcome, StoredImage};
//! # use tintype_ledger::money::Spend;
//! # use tintype_ledger::{FinishReply, Ledger, Result};
//! # fn delete(_: Vec<StoredImage>) {}
//! # async fn run(ledger: &dyn Ledger, new: NewJob, worker: WorkerId, now: OffsetDateTime, images: Vec<StoredImage>) -> Result<()> {
//! // Whoever answers requests:
//! match ledger.accept(new, now).await? {
//!     Acceptance::Accepted { job, .. } => { /* 202, or wait for it */ }
//!     Acceptance::Joined { job, .. } | Acceptance::Replayed { job } => { /* wait for that one */ }
//!     Acceptance::Stored { job, .. } => { /* sign its pictures anew */ }
//!     Acceptance::Conflict => { /* 422 */ }
//!     Acceptance::LimitExceeded { exceeded, quotas } => { /* 429 or 402, exceeded.retry_after(now) */ }
//!     Acceptance::QueueFull => { /* 429 */ }
//! }
//!
//! // Whoever makes pictures:
//! let lease = Lease { worker, until: now + Duration::MINUTE };
//! if let Some(job) = ledger.claim_next(lease, now).await? {
//!     // … now and then: ledger.heartbeat(&job.run(), now + Duration::MINUTE)
//!     let outcome = Outcome::Succeeded { images: images.clone(), warnings: Vec::new() };
//!     let cost = Spend { engine_ms: 3_120, amount: "0.0031usd".parse().ok() };
//!     match ledger.finish(&job.run(), outcome, cost, now).await? {
//!         FinishReply::Recorded(job) => { /* tell who waits */ }
//!         FinishReply::Deleted(_) | FinishReply::Stale => delete(images),
//!     }
//! }
//! # Ok(())
//! # }
//! ```

pub mod accept;
pub mod account;
mod bucket;
mod error;
mod fairness;
pub mod id;
pub mod job;
pub mod key;
mod ledger;
pub mod limits;
pub mod money;
pub mod policy;
mod serde_as_text;
mod sqlite;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use bucket::{BucketLedger, Sleeper};
pub use error::{Error, Result};
pub use ledger::{ClaimReply, FinishReply, HeartbeatReply, JobPage, Ledger, Load, Recovered};
pub use sqlite::{SqliteLedger, Synchronous};
