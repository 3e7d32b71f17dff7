//! Output of the commands: results on standard output, errors and messages on standard error.

use std::io::{self, ErrorKind, Write};

use anyhow::Result;
use serde_json::Value;

/// An error in the arguments, the settings or the environment. The exit status is 2 instead of 1.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UsageError(pub(crate) String);

/// Converts any error to a [`UsageError`] with the same message.
pub(crate) fn usage_error(error: anyhow::Error) -> anyhow::Error {
    UsageError(format!("{error:#}")).into()
}

/// Prints text without a line break. A closed pipe is not an error: its reader needs no more output.
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

/// Prints a JSON value on one line.
pub(crate) fn json(value: &Value) -> Result<()> {
    line(&value.to_string())
}

/// Prints an error with its causes on one line of standard error.
pub(crate) fn error(error: &anyhow::Error) {
    // A failure to write to standard error cannot be reported anywhere.
    let _ = writeln!(io::stderr(), "error: {}", format!("{error:#}").replace('\n', " "));
}

/// Prints a message for people on standard error.
pub(crate) fn message(message: &str) {
    let _ = writeln!(io::stderr(), "{message}");
}
