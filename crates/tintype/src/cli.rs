//! Definition of the command line.

mod generate;

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use tintype_ledger::id::{KeyId, OwnerId};
use tintype_ledger::policy::{Budget, CoarseDuration, Rate};

use crate::config::{AllFlags, LedgerFlags};
use crate::deploy::{Deploy, Destroy, Doctor};
use crate::ledger_commands::LedgerArguments;

pub(crate) use generate::{Generate, GenerateOptions};

const EXAMPLES: &str = "\
Examples:
  tintype serve                           serve API and images at http://127.0.0.1:8080
  curl 'http://127.0.0.1:8080/generate?prompt=a+tiger'
  tintype serve --model ./my-model --store s3://my-bucket/app
  tintype generate \"a tiger\" -o tiger.png
  tintype keys create --name acme --rate 60/min --budget 5usd/day
  tintype config                          show all settings and their sources

Set a setting with a flag, an environment variable TINTYPE_<NAME>, or a line in tintype.toml.";

const KEY_EXAMPLES: &str = "\
Examples:
  tintype keys create --name acme --rate 60/min --concurrency 4 --budget 3600s/day --expires 90d
  KEY=$(tintype keys create --name ci)    standard output has the key and nothing else
  tintype keys revoke 3f9c1a5b7d2e4f60

These commands open the ledger directly. They can run beside a server that uses the same ledger, and
changes take effect immediately.";

const COMPLETION_EXAMPLES: &str = "\
Examples:
  tintype completions bash > ~/.local/share/bash-completion/completions/tintype
  tintype completions fish > ~/.config/fish/completions/tintype.fish";

/// Generate images from text prompts with a diffusion model, and serve them through a REST API
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// The subcommand.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The subcommands of `tintype`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the server: API, model and object store in one process
    Serve(AllFlags),
    /// Run as an AWS Lambda function (the default command on AWS Lambda)
    Lambda(AllFlags),
    /// Generate images on this machine or on a server
    Generate(Generate),
    /// Create, list, show and revoke API keys
    Keys(Keys),
    /// Check, repair, back up and restore the ledger (keys, jobs and usage)
    Ledger(LedgerArguments),
    /// Show all settings with their values and sources
    Config(ShowConfig),
    /// Print the API's OpenAPI 3.1 description
    Openapi,
    /// Deploy to AWS: API Gateway, a Lambda function with this binary, and a bucket
    Deploy(Deploy),
    /// Remove a deployment from AWS, including its images, keys and jobs
    Destroy(Destroy),
    /// Check the AWS setup: credentials, region, clock, endpoint, bucket, permissions
    Doctor(Doctor),
    /// Print the CloudFormation template that `deploy` uses
    Template,
    /// Print the completion script for a shell
    #[command(after_help = COMPLETION_EXAMPLES)]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write the manual pages of all commands into a folder
    Man {
        /// The folder; it is created if it is missing
        folder: PathBuf,
    },
}

/// `tintype keys`.
#[derive(Debug, Args)]
#[command(after_help = KEY_EXAMPLES)]
pub(crate) struct Keys {
    /// The subcommand.
    #[command(subcommand)]
    pub(crate) command: KeyCommand,
}

/// The subcommands of `tintype keys`.
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Create an API key and print it; it cannot be shown again
    Create(CreateKey),
    /// List all keys, without their secrets
    List(KeyOptions),
    /// Show a key and its usage today
    Show(OneKey),
    /// Revoke a key; its jobs continue
    Revoke(OneKey),
}

impl KeyCommand {
    /// The settings on the command line.
    pub(crate) fn flags(&self) -> &LedgerFlags {
        match self {
            Self::Create(create) => &create.common.flags,
            Self::List(options) => &options.flags,
            Self::Show(one) | Self::Revoke(one) => &one.common.flags,
        }
    }
}

/// `tintype keys create`.
#[derive(Debug, Args)]
pub(crate) struct CreateKey {
    /// Name of the key, for people
    #[arg(long)]
    pub(crate) name: String,
    /// Owner whose jobs and images the key can access; several keys can share an owner [default: a new owner]
    #[arg(long)]
    pub(crate) owner: Option<OwnerId>,
    /// Maximum request rate, for example 60/min; per s, min, h or day [default: unlimited]
    #[arg(long)]
    pub(crate) rate: Option<Rate>,
    /// Maximum number of jobs queued or running at the same time [default: unlimited]
    #[arg(long, value_name = "JOBS")]
    pub(crate) concurrency: Option<NonZeroU32>,
    /// Maximum engine time or cost per day or month, for example 3600s/day or 5usd/month; repeatable
    /// [default: unlimited]
    #[arg(long = "budget", value_name = "BUDGET")]
    pub(crate) budgets: Vec<Budget>,
    /// Name of a model that the key can use; repeatable [default: all models]
    #[arg(long = "model", value_name = "NAME")]
    pub(crate) models: Vec<String>,
    /// Lifetime of the key, for example 90d [default: unlimited]
    #[arg(long, value_name = "TIME")]
    pub(crate) expires: Option<CoarseDuration>,
    /// Allow the key to manage keys through the API
    #[arg(long)]
    pub(crate) admin: bool,
    /// Options of all `tintype keys` commands.
    #[command(flatten)]
    pub(crate) common: KeyOptions,
}

/// Options of all `tintype keys` commands.
#[derive(Debug, Args)]
pub(crate) struct KeyOptions {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Settings of the store and the ledger.
    #[command(flatten)]
    pub(crate) flags: LedgerFlags,
}

/// Arguments of a command for one key.
#[derive(Debug, Args)]
pub(crate) struct OneKey {
    /// Id of the key; `tintype keys list` shows it
    pub(crate) id: KeyId,
    /// Options of all `tintype keys` commands.
    #[command(flatten)]
    pub(crate) common: KeyOptions,
}

/// `tintype config`.
#[derive(Debug, Args)]
pub(crate) struct ShowConfig {
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// All settings.
    #[command(flatten)]
    pub(crate) flags: AllFlags,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn settings_are_flags() {
        let words =
            ["tintype", "serve", "--no-get", "--queue", "5", "--config", "a.toml", "--allow-anonymous=false"];
        let Command::Serve(AllFlags(flags)) = Cli::try_parse_from(words).expect("valid").command else {
            panic!()
        };
        assert_eq!(flags.file, Some("a.toml".into()));
        let expected = [("allow_anonymous", "false"), ("no_get", "true"), ("queue", "5")];
        assert_eq!(flags.values, expected.map(|(key, value)| (key, value.to_owned())));
    }

    #[test]
    fn the_last_of_a_flag_counts() {
        let words = ["tintype", "serve", "--queue", "5", "--queue", "6"];
        let Command::Serve(AllFlags(flags)) = Cli::try_parse_from(words).expect("valid").command else {
            panic!()
        };
        assert_eq!(flags.values, [("queue", "6".to_owned())]);
    }
}
