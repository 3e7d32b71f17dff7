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

pub mod accept;
pub mod account;
mod bucket;
mod error;
pub mod id;
pub mod job;
pub mod key;
mod ledger;
pub mod limits;
pub mod money;
pub mod policy;
mod sqlite;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod text;
mod turns;

pub use bucket::{BucketLedger, Sleeper};
pub use error::{Error, Result};
pub use ledger::{Claimed, Finished, JobPage, Ledger, Load, Pulse, Recovered};
pub use sqlite::{SqliteLedger, Synchronous};
