//! Doubles and contract suites, for tests and benches only.

mod deferred_engine;
mod memory_store;
mod null_engine;
mod store_contract;

pub use deferred_engine::{DeferredEngine, Others};
pub use memory_store::MemoryStore;
pub use null_engine::{Fault, NullEngine};
pub use store_contract::{store_contract, store_contract_with_keys, strange_keys};
