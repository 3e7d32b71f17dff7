//! The ledger: the persistent record of API keys, jobs, usage and idempotency keys.
//!
//! [`Ledger`] and [`KeyStore`] are the traits that the rest of the program uses. Each of their methods is one
//! atomic change or one query (accept a job, finish a run, revoke a key). A store is a crate of its own:
//! `tintype-ledger-sqlite` runs each method in a transaction of an SQLite database, and
//! `tintype-ledger-bucket` uses conditional writes of single objects in an S3 bucket. Both pass the contract
//! suites in `testing`.
//!
//! The rules are pure functions that all stores share. [`Account`](account::Account) calculates limits and
//! budgets, [`JobRecord`](job::JobRecord) defines the states of a job, [`fairness`] the turns of owners,
//! [`stored`] the form of a record, and [`quarantine`] what happens to a record that cannot be read. Callers
//! pass the current time, which is [`Ledger::now`]: the rules read no clock and need no async runtime.
//!
//! # Guarantees
//! - **Durability.** A job is accepted only after the ledger has stored it. Every accepted job ends as
//!   succeeded, failed or canceled. [`Ledger::recover`] finds the jobs of a process that died.
//! - **Charged once.** A job is charged exactly once, however often it runs or its end is reported. If a
//!   worker dies, a job of a local engine runs again. A paid call to a remote model is not repeated: its job
//!   fails and is charged the reserved amount.
//! - **Budgets.** When a job is admitted, spent plus reserved is within every budget. Running jobs can exceed
//!   a budget later, but only by what they use beyond their reservations.
//! - **Idempotency.** An idempotency key identifies one request for 24 hours.
//! - **Isolation.** An owner never sees another owner's jobs, images or idempotency keys.
//!
//! # The life of a job
//! ```
//! # use time::{Duration, OffsetDateTime};
//! # use tintype_ledger::accept::{Acceptance, NewJob};
//! # use tintype_ledger::id::WorkerId;
//! # use tintype_ledger::job::{Lease, Outcome, StoredImage};
//! # use tintype_ledger::money::Spend;
//! # use tintype_ledger::{FinishReply, Ledger, Result};
//! # fn delete(_: Vec<StoredImage>) {}
//! # async fn run(ledger: &dyn Ledger, new: NewJob, worker: WorkerId, now: OffsetDateTime, images: Vec<StoredImage>) -> Result<()> {
//! // The API server accepts a request:
//! match ledger.accept(new, now).await? {
//!     Acceptance::Accepted { job, .. } => { /* 202, or wait for the job */ }
//!     Acceptance::Joined { job, .. } | Acceptance::Replayed { job } => { /* wait for this job */ }
//!     Acceptance::Stored { job, .. } => { /* sign new URLs for its images */ }
//!     Acceptance::Conflict => { /* 422 */ }
//!     Acceptance::LimitExceeded { exceeded, quotas } => { /* 429 or 402, exceeded.retry_after(now) */ }
//!     Acceptance::QueueFull => { /* 429 */ }
//! }
//!
//! // A worker runs the next job:
//! let lease = Lease { worker, until: now + Duration::MINUTE };
//! if let Some(job) = ledger.claim_next("emoji", lease, now).await? {
//!     // While it runs, extend the lease: ledger.heartbeat(&job.run(), now + Duration::MINUTE)
//!     let outcome = Outcome::Succeeded { images: images.clone(), warnings: Vec::new(), picture_key: None };
//!     let cost = Spend { engine_ms: 3_120, amount: "0.0031usd".parse().ok() };
//!     match ledger.finish(&job.run(), outcome, cost, now).await? {
//!         FinishReply::Recorded(job) => { /* notify the waiting clients */ }
//!         FinishReply::Deleted(_) | FinishReply::Stale => delete(images),
//!     }
//! }
//! # Ok(())
//! # }
//! ```

pub mod accept;
pub mod account;
pub mod backup;
mod engine_times;
mod error;
pub mod fairness;
pub mod id;
pub mod job;
pub mod key;
mod key_store;
mod ledger;
pub mod limits;
pub mod money;
pub mod policy;
pub mod quarantine;
mod serde_as_text;
pub mod stored;

pub use engine_times::EngineTimes;
pub use error::{Error, Result};
pub use key_store::KeyStore;
pub use ledger::{ClaimReply, FinishReply, HeartbeatReply, JobPage, Ledger, Load, Recovered};
pub use quarantine::{RecordFault, RecordName, Repair, UnreadableRecord};
