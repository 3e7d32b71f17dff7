//! The `tintype` binary: a text-to-image server and its command-line tools.

mod cli;
mod client;
mod clock;
mod config;
mod deploy;
mod engine;
mod generate;
mod keys;
mod lambda;
mod ledger;
mod ledger_backup;
mod ledger_check;
mod ledger_commands;
mod logging;
mod manual;
mod output;
mod regular_file;
mod serve;
mod store;
mod telemetry;

use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::Result;
use clap::Parser;

use cli::{Cli, Command};
use config::{AllFlags, Config, Environment, Flags, Layers};
use generate::Interrupted;
use output::{UsageError, usage_error};

/// Keeps freed pages instead of returning them to the system and faulting them in again: a denoising step
/// allocates and frees gigabytes of tensors.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::error(&error);
            if error.is::<UsageError>() {
                ExitCode::from(2)
            } else if error.is::<Interrupted>() {
                ExitCode::from(Interrupted::EXIT_STATUS)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

/// The command to run. AWS Lambda starts the program without arguments.
fn command(environment: &Environment) -> Command {
    match std::env::args_os().len() {
        0 | 1 if environment.on_lambda => Command::Lambda(AllFlags(Flags::default())),
        _ => Cli::parse().command,
    }
}

fn run() -> Result<()> {
    clock::check(SystemTime::now())?;
    let environment = Environment::read().map_err(usage_error)?;
    match command(&environment) {
        Command::Serve(flags) => serve::run(Config::load(&environment, &flags.0).map_err(usage_error)?),
        Command::Lambda(_) if !environment.on_lambda => {
            let message = "AWS_LAMBDA_RUNTIME_API is not set: `tintype lambda` runs on AWS Lambda only; use \
                           `tintype deploy` to deploy it, or `tintype serve` to run a server";
            Err(UsageError(message.to_owned()).into())
        }
        Command::Lambda(flags) => lambda::run(&Config::load(&environment, &flags.0).map_err(usage_error)?),
        Command::Generate(arguments) => {
            let arguments = arguments.with_server_model();
            let config = Config::load(&environment, &arguments.flags.0).map_err(usage_error)?;
            generate::run(&config, &arguments.options)
        }
        Command::Keys(arguments) => {
            let config = Config::load(&environment, &arguments.command.flags().0).map_err(usage_error)?;
            keys::run(&config, arguments.command)
        }
        Command::Ledger(arguments) => ledger_commands::run(&environment, &arguments),
        Command::Deploy(arguments) => deploy::deploy(&arguments),
        Command::Destroy(arguments) => deploy::destroy(&arguments),
        Command::Doctor(arguments) => deploy::doctor(&arguments),
        Command::Template => deploy::template(),
        Command::Completions { shell } => manual::completions(shell),
        Command::Man { folder } => manual::manual_pages(&folder),
        Command::Openapi => output::text(tintype_http::openapi()),
        Command::Config(arguments) => {
            let layers = Layers::gather(&environment, &arguments.flags.0).map_err(usage_error)?;
            // Print the settings even if a value is invalid: the output shows its source.
            if arguments.json {
                output::json(&config::as_json(&layers))?;
            } else {
                output::text(&config::as_toml(&layers))?;
            }
            Config::check(&layers, &environment).map(|_| ()).map_err(usage_error)
        }
    }
}
