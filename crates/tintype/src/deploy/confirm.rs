//! Confirmation before a command costs money or deletes data.

use std::io::{self, BufRead, IsTerminal, Write};

use anyhow::{Result, bail};

use crate::output::UsageError;

/// Whether the command line has confirmed the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Confirmation {
    /// By `--yes`.
    Given,
    /// The command asks for it on the terminal.
    Required,
}

impl Confirmation {
    /// The confirmation by the flag `--yes`.
    pub(super) fn from_flag(yes: bool) -> Self {
        if yes { Self::Given } else { Self::Required }
    }
}

/// Asks the question on the terminal unless the confirmation is given, and returns if the answer is yes.
///
/// # Errors
/// [`UsageError`] if standard input is not a terminal; another error if the answer is no.
pub(super) fn require_confirmation(question: &str, confirmation: Confirmation) -> Result<()> {
    if confirmation == Confirmation::Given {
        return Ok(());
    }
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        let message = "confirmation required, but standard input is not a terminal: pass --yes to confirm";
        return Err(UsageError(message.to_owned()).into());
    }
    let mut stderr = io::stderr();
    write!(stderr, "{question} [y/N] ")?;
    stderr.flush()?;
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer)?;
    if is_yes(&answer) { Ok(()) } else { bail!("canceled; nothing was changed") }
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_yes_is_yes() {
        assert!(is_yes("y\n") && is_yes(" YES "));
        assert!(!is_yes("") && !is_yes("\n") && !is_yes("no") && !is_yes("yep"));
    }
}
