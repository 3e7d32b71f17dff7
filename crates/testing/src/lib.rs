//! Doubles and contract suites, for tests and benches only.

mod memory_store;
mod null_engine;
mod remote_jobs_engine;
mod store_contract;

pub use memory_store::MemoryStore;
pub use null_engine::{Fault, NullEngine};
pub use remote_jobs_engine::{Others, RemoteJobsEngine};
pub use store_contract::{store_contract, store_contract_with_keys, strange_keys};
