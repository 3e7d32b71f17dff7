//! Definition of the command line of `tintype ledger`.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::config::{Config, Environment, LedgerFlags};
use crate::output::usage_error;
use crate::{ledger_backup, ledger_check};

const EXAMPLES: &str = "\
Examples:
  tintype ledger check                    list the records that cannot be read
  tintype ledger check --repair           end the jobs whose records are damaged
  tintype ledger backup ledger.backup     write all records to a new file
  tintype ledger restore ledger.backup    write the records of the file into an empty ledger

The commands open the ledger directly. All but `restore` can run beside a server that uses the same ledger.";

const BACKUP_HELP: &str = "\
The backup has API keys as hashes, and prompts and usage as they are, so only you can read the file. Images are not
part of it.

A backup of the SQLite ledger is an SQLite database with the state of one moment. A backup of a bucket ledger has the
state of each record at the time when it was read: it has every job that was accepted before the backup started, and
changes during the backup are in it or not.";

const RESTORE_HELP: &str = "\
Stop all servers that use the ledger first. Jobs that were queued or running at the time of the backup run again at the
next start.";

/// `tintype ledger`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct LedgerArguments {
    /// The subcommand.
    #[command(subcommand)]
    command: LedgerCommand,
}

/// The subcommands of `tintype ledger`.
#[derive(Debug, Subcommand)]
enum LedgerCommand {
    /// List the records that cannot be read; the exit status is 1 if there are any
    Check(CheckLedger),
    /// Write all records to a file, also while a server runs
    #[command(after_help = BACKUP_HELP)]
    Backup(BackUpLedger),
    /// Write the records of a backup into an empty ledger
    #[command(after_help = RESTORE_HELP)]
    Restore(RestoreLedger),
}

/// `tintype ledger check`.
#[derive(Debug, Args)]
pub(crate) struct CheckLedger {
    /// End the jobs whose records are damaged as failed (reason unreadable_record), and release their
    /// reservations; other unreadable records, such as those of a newer version, stay as they are
    #[arg(long)]
    pub(crate) repair: bool,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Settings of the store and the ledger.
    #[command(flatten)]
    flags: LedgerFlags,
}

/// `tintype ledger backup`.
#[derive(Debug, Args)]
pub(crate) struct BackUpLedger {
    /// The new file
    pub(crate) file: PathBuf,
    /// Replace the file if it exists
    #[arg(long)]
    pub(crate) force: bool,
    /// Settings of the store and the ledger.
    #[command(flatten)]
    flags: LedgerFlags,
}

/// `tintype ledger restore`.
#[derive(Debug, Args)]
pub(crate) struct RestoreLedger {
    /// The backup
    pub(crate) file: PathBuf,
    /// Replace all records of an SQLite ledger that is not empty
    #[arg(long)]
    pub(crate) force: bool,
    /// Settings of the store and the ledger.
    #[command(flatten)]
    flags: LedgerFlags,
}

/// Runs a `tintype ledger` command.
///
/// # Errors
/// If a setting is invalid, or the command fails.
pub(crate) fn run(environment: &Environment, arguments: &LedgerArguments) -> Result<()> {
    let config = |flags: &LedgerFlags| Config::load(environment, &flags.0).map_err(usage_error);
    match &arguments.command {
        LedgerCommand::Check(check) => ledger_check::run(&config(&check.flags)?, check),
        LedgerCommand::Backup(backup) => ledger_backup::back_up(&config(&backup.flags)?, backup),
        LedgerCommand::Restore(restore) => ledger_backup::restore(&config(&restore.flags)?, restore),
    }
}
