//! One flag per setting, made from the defaults file.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, value_parser};

use super::layers::Flags;
use super::schema::{Setting, settings};

/// The flags of a command that uses every setting.
#[derive(Clone, Debug)]
pub(crate) struct AllFlags(pub(crate) Flags);

/// The flags of a command that only runs a model, here or on a server.
#[derive(Clone, Debug)]
pub(crate) struct ModelFlags(pub(crate) Flags);

/// The flags of a command that only looks at what is kept.
#[derive(Clone, Debug)]
pub(crate) struct LedgerFlags(pub(crate) Flags);

const FILE: &str = "config";

fn is_generate_setting(setting: &Setting) -> bool {
    matches!(setting.heading, "Model" | "SageMaker endpoint" | "Client" | "Log")
}

fn is_ledger_setting(setting: &Setting) -> bool {
    matches!(setting.heading, "Store" | "Customers")
}

fn arguments(wanted: fn(&Setting) -> bool) -> impl Iterator<Item = Arg> {
    let file = Arg::new(FILE)
        .long(FILE)
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .help("Settings file [default: ./tintype.toml, if there is one] [env: TINTYPE_CONFIG]");
    std::iter::once(file).chain(settings().iter().filter(move |setting| wanted(setting)).map(argument))
}

fn argument(setting: &'static Setting) -> Arg {
    let default = match setting.default.as_str() {
        "" | "false" => String::new(),
        default => format!(" [default: {default}]"),
    };
    let argument = Arg::new(setting.key)
        .long(setting.flag())
        // A wrapper script's own flags come first, and the user's after them.
        .overrides_with(setting.key)
        .help(format!("{}{default}", setting.help))
        .help_heading(setting.heading);
    if setting.is_boolean {
        let values = PossibleValuesParser::new(["true", "false"]);
        let switch = argument.num_args(0..=1).require_equals(true).default_missing_value("true");
        switch.value_parser(values).hide_possible_values(true).value_name("BOOL")
    } else {
        argument.value_name("VALUE").allow_hyphen_values(true)
    }
}

fn read(matches: &ArgMatches, wanted: fn(&Setting) -> bool) -> Flags {
    let given = |setting: &'static Setting| {
        matches.get_one::<String>(setting.key).map(|text| (setting.key, text.clone()))
    };
    let values = settings().iter().filter(|setting| wanted(setting)).filter_map(given).collect();
    Flags { file: matches.get_one::<PathBuf>(FILE).cloned(), values }
}

macro_rules! settings_as_flags {
    ($name:ident, $wanted:expr) => {
        impl Args for $name {
            fn augment_args(command: Command) -> Command {
                command.args(arguments($wanted))
            }

            fn augment_args_for_update(command: Command) -> Command {
                Self::augment_args(command)
            }
        }

        impl FromArgMatches for $name {
            fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
                Ok(Self(read(matches, $wanted)))
            }

            fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
                *self = Self(read(matches, $wanted));
                Ok(())
            }
        }
    };
}

settings_as_flags!(AllFlags, |_| true);
settings_as_flags!(ModelFlags, is_generate_setting);
settings_as_flags!(LedgerFlags, is_ledger_setting);
