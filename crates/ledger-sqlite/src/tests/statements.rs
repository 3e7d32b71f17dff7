//! The cost of statements.

use futures::executor::block_on;
use rusqlite::StatementStatus;
use tintype_testing::ledger::{MODEL, accepted, at, lease, new_job};

use super::folder;
use crate::{SqliteLedger, Synchronous, jobs};
use tintype_ledger::Ledger;

#[test]
fn the_statement_that_claims_a_job_is_parsed_once() {
    let (_folder, path) = folder();
    let ledger = SqliteLedger::open(&path, Synchronous::Normal).expect("open");
    block_on(async {
        for second in 0..5 {
            accepted(&ledger, new_job("acme", &second.to_string()), second).await;
            let claimed = ledger.claim_next(MODEL, lease("w", 600), at(second)).await.expect("claim");
            assert!(claimed.is_some());
        }
        let parsed_again = |connection: &rusqlite::Connection| {
            let statement = connection.prepare_cached(jobs::OWNER_QUEUES)?;
            let [runs, parsed] =
                [StatementStatus::Run, StatementStatus::RePrepare].map(|status| statement.get_status(status));
            Ok((runs, parsed))
        };
        assert_eq!(ledger.writer.run(parsed_again).await.expect("read"), (5, 0));
    });
}
