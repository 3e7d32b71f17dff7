//! A transaction, and the error of one that failed to begin or to end.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;

use crate::BUSY_TIMEOUT;
use crate::connection::Access;
use tintype_ledger::Error;

/// A transaction that uses cached statements: parsing them for each transaction would take a noticeable part
/// of the time. Dropping it rolls it back.
pub(crate) struct Transaction<'c>(pub(crate) &'c mut Connection);

impl<'c> Transaction<'c> {
    /// Begins a transaction. Waits up to `busy_timeout` for another process that writes.
    pub(crate) fn begin(
        connection: &'c mut Connection,
        access: Access,
        busy_timeout: Duration,
    ) -> rusqlite::Result<Self> {
        connection.busy_timeout(busy_timeout)?;
        execute(connection, access.begin_statement())?;
        let transaction = Self(connection);
        transaction.0.busy_timeout(BUSY_TIMEOUT)?;
        Ok(transaction)
    }

    pub(crate) fn commit(self) -> rusqlite::Result<()> {
        execute(self.0, "COMMIT")
    }

    pub(crate) fn roll_back(self) -> rusqlite::Result<()> {
        execute(self.0, "ROLLBACK")
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if !self.0.is_autocommit() {
            // If this fails, SQLite rolls back automatically.
            let _ = execute(self.0, "ROLLBACK");
        }
    }
}

fn execute(connection: &Connection, statement: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(statement)?.execute([]).map(drop)
}

/// The error of a transaction that failed to begin or to end. All callers of its group get a copy.
#[derive(Clone, Debug)]
pub(crate) struct TransactionError(Arc<rusqlite::Error>);

impl fmt::Display for TransactionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for TransactionError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}

impl From<rusqlite::Error> for TransactionError {
    fn from(error: rusqlite::Error) -> Self {
        Self(Arc::new(error))
    }
}

impl From<TransactionError> for Error {
    fn from(error: TransactionError) -> Self {
        crate::error::classify(error.0.sqlite_error_code(), error)
    }
}
