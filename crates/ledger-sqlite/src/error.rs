//! The error of the functions that run in a transaction.

use std::error::Error as StdError;

use rusqlite::ErrorCode;
use tintype_ledger::Error;

use crate::DATABASE;

/// An error of the ledger to which `?` also converts SQLite's errors.
#[derive(Debug)]
pub(crate) struct SqliteError(Error);

/// The result of a function that runs in a transaction.
pub(crate) type Result<T, E = SqliteError> = std::result::Result<T, E>;

/// Converts an SQLite error.
pub(crate) fn classify(code: Option<ErrorCode>, source: impl StdError + Send + Sync + 'static) -> Error {
    match code {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            Error::Contended { record: DATABASE.to_owned() }
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Error::corrupt(DATABASE, source),
        Some(ErrorCode::DiskFull) => Error::StorageFull(source.into()),
        _ => Error::unavailable(source),
    }
}

impl From<rusqlite::Error> for SqliteError {
    fn from(error: rusqlite::Error) -> Self {
        Self(classify(error.sqlite_error_code(), error))
    }
}

impl From<Error> for SqliteError {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl From<SqliteError> for Error {
    fn from(error: SqliteError) -> Self {
        error.0
    }
}
