//! Test doubles and contract test suites, for tests and benchmarks only.

pub mod ledger;
mod memory_store;
mod null_engine;
mod remote_jobs_engine;
mod store_contract;

pub use memory_store::MemoryStore;
pub use null_engine::{Fault, NullEngine};
pub use remote_jobs_engine::{RemoteJobsEngine, RemoteService};
pub use store_contract::{store_contract, store_contract_with_keys, strange_keys};
