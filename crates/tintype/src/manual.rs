//! Shell completions and manual pages, generated from the definition of the command line.

use std::path::Path;

use anyhow::{Context, Result};
use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::output;

/// Prints the completion script for a shell.
pub(crate) fn completions(shell: Shell) -> Result<()> {
    output::text(&script(shell)?)
}

fn script(shell: Shell) -> Result<String> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "tintype", &mut script);
    String::from_utf8(script).context("the completion script is not UTF-8")
}

/// Writes one manual page per command into `folder`, which is created if it is missing.
pub(crate) fn manual_pages(folder: &Path) -> Result<()> {
    let written = std::fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(Cli::command().disable_help_subcommand(true), folder));
    written.with_context(|| format!("failed to write the manual pages into {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_manual_page() {
        let folder = tempfile::tempdir().expect("a folder");
        manual_pages(folder.path()).expect("written");
        for page in ["tintype.1", "tintype-serve.1", "tintype-keys-create.1"] {
            let text = std::fs::read_to_string(folder.path().join(page)).expect(page);
            assert!(text.contains(".SH SYNOPSIS"), "{page}: {text}");
        }
    }

    #[test]
    fn completions_know_the_commands() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = script(shell).expect("generated");
            assert!(script.contains("serve") && script.contains("allow-anonymous"), "{shell}");
        }
    }
}
