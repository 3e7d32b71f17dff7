//! The command line.

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use tintype_core::picture::Format;
use tintype_core::request::Draft;
use tintype_ledger::id::{KeyId, OwnerId};
use tintype_ledger::policy::{Budget, CoarseDuration, Rate};

use crate::config::{AllFlags, LedgerFlags, ModelFlags};
use crate::deploy::{Deploy, Destroy, Doctor};

const EXAMPLES: &str = "\
Examples:
  tintype serve                                  API, model and object store on http://127.0.0.1:8080
  curl 'http://127.0.0.1:8080/generate?prompt=a+tiger'
  tintype serve --model ./my-model --store s3://pictures/app
  tintype generate \"a tiger\" -o tiger.png
  tintype keys create --name acme --rate 60/min --budget 5usd/day
  tintype config                                 every setting, its value and where that came from

Each setting can be a flag, a TINTYPE_ variable in the environment, or a line in tintype.toml.";

const KEY_EXAMPLES: &str = "\
Examples:
  tintype keys create --name acme --rate 60/min --concurrency 4 --budget 3600s/day --expires 90d
  KEY=$(tintype keys create --name ci)           the key alone goes to standard output
  tintype keys revoke 3f9c1a5b7d2e4f60

They work on the same folder as a server that runs, at once.";

/// A prompt goes in, a picture is made by a diffusion model, and a signed link to it comes back.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve the API, with the model and the object store in the same process
    Serve(AllFlags),
    /// Answer the events of AWS Lambda, which starts the program with this or without any command
    Lambda(AllFlags),
    /// Make a picture, here or on a server
    Generate(Generate),
    /// Make, list and revoke the keys that customers call the API with
    Keys(Keys),
    /// Show every setting, its value and where that came from
    Config(Show),
    /// Print the API's description (OpenAPI 3.1)
    Openapi,
    /// Put it on AWS: API Gateway, a function with this program in it, a bucket
    Deploy(Deploy),
    /// Take it off AWS again, all of it
    Destroy(Destroy),
    /// Look at what AWS needs: credentials, region, clock, endpoint, bucket, permissions
    Doctor(Doctor),
    /// Print the CloudFormation template that `deploy` uses
    Template,
}

/// `tintype keys`.
#[derive(Debug, Args)]
#[command(after_help = KEY_EXAMPLES)]
pub(crate) struct Keys {
    /// What to do with keys.
    #[command(subcommand)]
    pub(crate) command: KeyCommand,
}

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a key and print it; it is shown this once
    Create(CreateKey),
    /// List every key, without the secrets
    List(AnyKey),
    /// Show one key and what it has used today
    Show(OneKey),
    /// Take a key back; its jobs go on
    Revoke(OneKey),
}

impl KeyCommand {
    /// The settings that were given.
    pub(crate) fn flags(&self) -> &LedgerFlags {
        match self {
            Self::Create(create) => &create.common.flags,
            Self::List(any) => &any.flags,
            Self::Show(one) | Self::Revoke(one) => &one.common.flags,
        }
    }
}

/// `tintype keys create`.
#[derive(Debug, Args)]
pub(crate) struct CreateKey {
    /// What people call it
    #[arg(long)]
    pub(crate) name: String,
    /// Whose jobs and pictures it reaches; several keys may have one owner [default: one of its own]
    #[arg(long)]
    pub(crate) owner: Option<OwnerId>,
    /// Requests per time, as in 60/min (per s, min, h or day)
    #[arg(long)]
    pub(crate) rate: Option<Rate>,
    /// Jobs queued or running at the same time
    #[arg(long, value_name = "JOBS")]
    pub(crate) concurrency: Option<NonZeroU32>,
    /// Engine time or money per day or month, as in 3600s/day or 5usd/month; may be given several times
    #[arg(long = "budget")]
    pub(crate) budgets: Vec<Budget>,
    /// How long it works, as in 90d [default: until it is revoked]
    #[arg(long, value_name = "TIME")]
    pub(crate) expires: Option<CoarseDuration>,
    /// It may manage keys over the API
    #[arg(long)]
    pub(crate) admin: bool,
    /// What every one of these commands takes.
    #[command(flatten)]
    pub(crate) common: AnyKey,
}

/// What every one of the commands for keys takes.
#[derive(Debug, Args)]
pub(crate) struct AnyKey {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// The settings that matter here.
    #[command(flatten)]
    pub(crate) flags: LedgerFlags,
}

/// A command for one key.
#[derive(Debug, Args)]
pub(crate) struct OneKey {
    /// The key's id, as `tintype keys list` shows it
    pub(crate) id: KeyId,
    /// What every one of these commands takes.
    #[command(flatten)]
    pub(crate) common: AnyKey,
}

/// `tintype config`.
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// The settings.
    #[command(flatten)]
    pub(crate) flags: AllFlags,
}

/// `tintype generate`.
#[derive(Debug, Args)]
pub(crate) struct Generate {
    /// What to make, and where to put it.
    #[command(flatten)]
    pub(crate) options: GenerateOptions,
    /// The settings that matter here.
    #[command(flatten)]
    pub(crate) flags: ModelFlags,
}

/// What to make, and where to put it.
#[derive(Debug, Args)]
pub(crate) struct GenerateOptions {
    /// What the picture shows
    pub(crate) prompt: String,
    /// File to write; its ending chooses the format [default: named after the prompt and the seed]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Let this server make it, for example http://127.0.0.1:8080, and print the link (or, with --output,
    /// fetch it)
    #[arg(long, value_name = "URL")]
    pub(crate) server: Option<String>,
    /// Print one JSON object per picture, and show neither progress nor pictures
    #[arg(long)]
    pub(crate) json: bool,

    /// What it should not show
    #[arg(long, value_name = "TEXT", help_heading = "Picture")]
    negative_prompt: Option<String>,
    /// Pixels per row, a multiple of 8 [default: the model's]
    #[arg(long, value_name = "PIXELS", help_heading = "Picture")]
    width: Option<i64>,
    /// Rows, a multiple of 8 [default: the model's]
    #[arg(long, value_name = "PIXELS", help_heading = "Picture")]
    height: Option<i64>,
    /// Denoising steps, 1 to 150 [default: the model's]
    #[arg(long, value_name = "COUNT", help_heading = "Picture")]
    steps: Option<i64>,
    /// How closely to follow the prompt, 0 to 30 [default: the model's]
    #[arg(long, value_name = "SCALE", help_heading = "Picture")]
    guidance: Option<f64>,
    /// Seed of the noise: the same seed gives the same picture [default: random]
    #[arg(long, help_heading = "Picture")]
    seed: Option<i64>,
    /// How many pictures, with seeds that count up
    #[arg(short, long, value_name = "COUNT", help_heading = "Picture")]
    n: Option<i64>,
    /// jpeg, png or webp [default: by the file's ending, else jpeg]
    #[arg(long, help_heading = "Picture")]
    format: Option<Format>,
}

impl GenerateOptions {
    /// The request, not yet checked.
    pub(crate) fn draft(&self) -> Draft {
        Draft {
            prompt: Some(self.prompt.clone()),
            negative_prompt: self.negative_prompt.clone(),
            width: self.width,
            height: self.height,
            steps: self.steps,
            guidance: self.guidance,
            seed: self.seed,
            n: self.n,
            format: self.format.or_else(|| self.format_of_output()),
            compression: None,
            expires_in: None,
        }
    }

    fn format_of_output(&self) -> Option<Format> {
        self.output.as_deref()?.extension()?.to_str()?.to_ascii_lowercase().parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn generate(arguments: &[&str]) -> Generate {
        let words = ["tintype", "generate"].iter().chain(arguments);
        match Cli::try_parse_from(words).expect("valid").command {
            Command::Generate(generate) => generate,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_files_ending_chooses_the_format() {
        for (arguments, format) in [
            (&["x"][..], None),
            (&["x", "-o", "a.PNG"], Some(Format::Png)),
            (&["x", "-o", "a.jpg"], Some(Format::Jpeg)),
            (&["x", "-o", "a.xyz"], None),
            (&["x", "-o", "a.png", "--format", "webp"], Some(Format::Webp)),
        ] {
            assert_eq!(generate(arguments).options.draft().format, format, "{arguments:?}");
        }
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

    #[test]
    fn generate_takes_only_what_it_uses() {
        let flags = generate(&["x", "--model", "./m", "--threads", "2"]).flags.0;
        assert_eq!(flags.values, [("model", "./m".to_owned()), ("threads", "2".to_owned())]);
        assert!(Cli::try_parse_from(["tintype", "generate", "x", "--listen", "127.0.0.1:1"]).is_err());
    }
}
