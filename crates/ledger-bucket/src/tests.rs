use super::*;
use futures::executor::block_on;
use tintype_testing::MemoryStore;
use tintype_testing::ledger::{ledger_contract, race_contract};

mod clock;
mod crashes;
pub(crate) mod faults;
mod interleavings;
mod unreadable;

use faults::{LostAnswerStore, fast_sleep, real_sleep};

#[test]
fn satisfies_the_contract() {
    block_on(ledger_contract(&BucketLedger::new(Arc::new(MemoryStore::default()), fast_sleep())));
}

#[test]
fn satisfies_the_race_contract() {
    race_contract(&[Arc::new(BucketLedger::new(Arc::new(MemoryStore::default()), fast_sleep()))]);
}

#[test]
fn several_processes_share_a_bucket() {
    let store = Arc::new(MemoryStore::default());
    let open = |_| -> Arc<dyn Ledger> { Arc::new(BucketLedger::new(store.clone(), real_sleep())) };
    race_contract(&(0..4).map(open).collect::<Vec<_>>());
}

#[test]
fn satisfies_the_contracts_when_answers_are_lost() {
    block_on(ledger_contract(&BucketLedger::new(Arc::new(LostAnswerStore::default()), fast_sleep())));
    race_contract(&[Arc::new(BucketLedger::new(Arc::new(LostAnswerStore::default()), fast_sleep()))]);
}
