//! One command-line flag per setting, generated from the list of settings.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, value_parser};

use super::layers::Flags;
use super::schema::{Section, Setting, settings};

/// The flags of a command that uses every setting.
#[derive(Clone, Debug)]
pub(crate) struct AllFlags(pub(crate) Flags);

/// The flags of `tintype generate`.
#[derive(Clone, Debug)]
pub(crate) struct GenerateFlags(pub(crate) Flags);

/// The flags of the `tintype keys` commands.
#[derive(Clone, Debug)]
pub(crate) struct LedgerFlags(pub(crate) Flags);

const FILE: &str = "config";

fn is_generate_setting(setting: &Setting) -> bool {
    matches!(setting.section, Section::Model | Section::SageMakerEndpoint | Section::Client | Section::Log)
}

fn is_ledger_setting(setting: &Setting) -> bool {
    matches!(setting.section, Section::Store | Section::Ledger)
}

/// What a flag means for one command only; continues its help text.
type Addition = fn(&Setting) -> &'static str;

fn no_addition(_: &Setting) -> &'static str {
    ""
}

/// With `--server`, the flag `--model` is a parameter of the request.
fn addition_for_generate(setting: &Setting) -> &'static str {
    if setting.key == "model" { "; with --server, the name of one of the server's models" } else { "" }
}

fn arguments(includes: fn(&Setting) -> bool, addition: Addition) -> impl Iterator<Item = Arg> {
    let file = Arg::new(FILE)
        .long(FILE)
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .help("Settings file [default: ./tintype.toml if it exists] [env: TINTYPE_CONFIG]");
    std::iter::once(file).chain(
        settings()
            .iter()
            .filter(move |setting| includes(setting))
            .map(move |setting| argument(setting, addition(setting))),
    )
}

fn argument(setting: &'static Setting, addition: &str) -> Arg {
    let default = match setting.default_text().as_str() {
        "" | "false" => String::new(),
        default => format!(" [default: {default}]"),
    };
    let argument = Arg::new(setting.key)
        .long(setting.flag())
        // A user of a wrapper script can override the flags that the script passes.
        .overrides_with(setting.key)
        .help(format!("{}{addition}{default}", setting.help))
        .help_heading(setting.section.heading());
    if setting.is_boolean() {
        let values = PossibleValuesParser::new(["true", "false"]);
        let argument = argument.num_args(0..=1).require_equals(true).default_missing_value("true");
        argument.value_parser(values).hide_possible_values(true).value_name("BOOL")
    } else {
        argument.value_name("VALUE").allow_hyphen_values(true)
    }
}

fn read(matches: &ArgMatches, includes: fn(&Setting) -> bool) -> Flags {
    let given = |setting: &'static Setting| {
        matches.get_one::<String>(setting.key).map(|text| (setting.key, text.clone()))
    };
    let values = settings().iter().filter(|setting| includes(setting)).filter_map(given).collect();
    Flags { file: matches.get_one::<PathBuf>(FILE).cloned(), values }
}

macro_rules! settings_as_flags {
    ($name:ident, $includes:expr, $addition:expr) => {
        impl Args for $name {
            fn augment_args(command: Command) -> Command {
                command.args(arguments($includes, $addition))
            }

            fn augment_args_for_update(command: Command) -> Command {
                Self::augment_args(command)
            }
        }

        impl FromArgMatches for $name {
            fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
                Ok(Self(read(matches, $includes)))
            }

            fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
                *self = Self(read(matches, $includes));
                Ok(())
            }
        }
    };
}

settings_as_flags!(AllFlags, |_| true, no_addition);
settings_as_flags!(GenerateFlags, is_generate_setting, addition_for_generate);
settings_as_flags!(LedgerFlags, is_ledger_setting, no_addition);
