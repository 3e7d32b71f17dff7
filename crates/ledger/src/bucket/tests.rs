use super::*;
use crate::testing::{ledger_contract, race_contract};
use futures::executor::block_on;
use tintype_testing::MemoryStore;

mod crashes;
mod faults;
mod overtaken;

use faults::{DeafStore, patient, quick};

#[test]
fn keeps_the_contract() {
    block_on(ledger_contract(&BucketLedger::new(Arc::new(MemoryStore::default()), quick())));
}

#[test]
fn keeps_the_contract_in_a_race() {
    race_contract(&[Arc::new(BucketLedger::new(Arc::new(MemoryStore::default()), quick()))]);
}

#[test]
fn several_processes_share_a_bucket() {
    let store = Arc::new(MemoryStore::default());
    let open = |_| -> Arc<dyn Ledger> { Arc::new(BucketLedger::new(store.clone(), patient())) };
    race_contract(&(0..4).map(open).collect::<Vec<_>>());
}

#[test]
fn keeps_the_contract_when_answers_are_lost() {
    block_on(ledger_contract(&BucketLedger::new(Arc::new(DeafStore::default()), quick())));
    race_contract(&[Arc::new(BucketLedger::new(Arc::new(DeafStore::default()), quick()))]);
}
