//! Asking before something is spent or lost.

use std::io::{self, BufRead, IsTerminal, Write};

use anyhow::{Result, bail};

use crate::output::UsageError;

/// Asks on the terminal, and returns if the answer is yes. With `agreed` nobody is asked.
///
/// # Errors
/// [`UsageError`] if there is nobody to ask; an error if the answer is no.
pub(super) fn require_confirmation(question: &str, agreed: bool) -> Result<()> {
    if agreed {
        return Ok(());
    }
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return Err(UsageError(format!("{question} Nobody is at a terminal to answer: say --yes")).into());
    }
    let mut stderr = io::stderr();
    write!(stderr, "{question} [y/N] ")?;
    stderr.flush()?;
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer)?;
    if is_yes(&answer) { Ok(()) } else { bail!("nothing was done") }
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
