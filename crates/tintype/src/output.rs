//! What the program prints: results on standard output, complaints on standard error.

use std::io::{self, ErrorKind, Write};

use anyhow::Result;
use serde_json::Value;

/// The caller got something wrong: the program ends with 2 instead of 1.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UsageError(pub(crate) String);

/// The same error, as the caller's.
pub(crate) fn usage_error(error: anyhow::Error) -> anyhow::Error {
    UsageError(format!("{error:#}")).into()
}

/// Prints text as it is. Whoever closed the pipe has seen enough: that is no error.
pub(crate) fn text(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Prints a line.
pub(crate) fn line(line: &str) -> Result<()> {
    text(&format!("{line}\n"))
}

/// Prints a value on a line of its own.
pub(crate) fn json(value: &Value) -> Result<()> {
    line(&value.to_string())
}

/// Says on one line of standard error what went wrong, causes and all.
pub(crate) fn error(error: &anyhow::Error) {
    // There is nobody left to tell if this fails.
    let _ = writeln!(io::stderr(), "error: {}", format!("{error:#}").replace('\n', " "));
}

/// A remark on standard error.
pub(crate) fn message(remark: &str) {
    let _ = writeln!(io::stderr(), "{remark}");
}
