//! The arguments of `tintype generate`.

use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::ProgressDrawTarget;
use tintype_core::picture::Format;
use tintype_core::request::Draft;

use crate::config::GenerateFlags;
use crate::output::UsageError;

/// `tintype generate`.
#[derive(Debug, Args)]
pub(crate) struct Generate {
    /// The request and the output.
    #[command(flatten)]
    pub(crate) options: GenerateOptions,
    /// Settings of the model, the client and the log.
    #[command(flatten)]
    pub(crate) flags: GenerateFlags,
}

/// The request and the output of `tintype generate`.
#[derive(Debug, Args)]
pub(crate) struct GenerateOptions {
    /// Description of the image
    pub(crate) prompt: String,
    /// Output file; its extension selects the format [default: a name made of the prompt and the seed]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Generate on this server, for example http://127.0.0.1:8080, and print the image's URL; with --output,
    /// also download the image; with --model, use the server's model of this name
    #[arg(long, value_name = "URL")]
    pub(crate) server: Option<String>,
    /// The value of `--model` if there is a server, which knows the model by this name.
    #[arg(skip)]
    pub(crate) server_model: Option<String>,
    /// Print one JSON object per image, and no progress bar or preview
    #[arg(long)]
    pub(crate) json: bool,

    /// Description of what the image should not show
    #[arg(long, value_name = "TEXT", help_heading = "Image")]
    negative_prompt: Option<String>,
    /// Width in pixels, a multiple of 8 [default: the model's native width]
    #[arg(long, value_name = "PIXELS", help_heading = "Image")]
    width: Option<i64>,
    /// Height in pixels, a multiple of 8 [default: the model's native height]
    #[arg(long, value_name = "PIXELS", help_heading = "Image")]
    height: Option<i64>,
    /// Number of denoising steps, 1 to 150 [default: depends on the model]
    #[arg(long, value_name = "COUNT", help_heading = "Image")]
    steps: Option<i64>,
    /// Guidance scale, 0 to 30; a higher scale follows the prompt more closely [default: depends on the
    /// model]
    #[arg(long, value_name = "SCALE", help_heading = "Image")]
    guidance: Option<f64>,
    /// Seed of the random noise; the same request with the same seed gives the same image [default: random]
    #[arg(long, help_heading = "Image")]
    seed: Option<i64>,
    /// Number of images; their seeds count up from the first one [default: 1]
    #[arg(short, long, value_name = "COUNT", help_heading = "Image")]
    n: Option<i64>,
    /// Image format: jpeg, png or webp [default: from the extension of --output, or else jpeg]
    #[arg(long, help_heading = "Image")]
    format: Option<Format>,
}

impl Generate {
    /// With `--server`, the flag `--model` is a parameter of the request and not a setting of this process.
    /// Variables and the settings file describe the models of this process, and never those of the server.
    pub(crate) fn with_server_model(mut self) -> Self {
        if self.options.server.is_some() {
            self.options.server_model = self.flags.0.take("model");
        }
        self
    }
}

impl GenerateOptions {
    /// The request, not yet validated.
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

    /// Where the progress is drawn.
    pub(crate) fn progress_display(&self) -> ProgressDrawTarget {
        if self.json { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() }
    }

    fn format_of_output(&self) -> Option<Format> {
        self.output.as_deref()?.extension()?.to_str()?.to_ascii_lowercase().parse().ok()
    }

    /// Checks that the output file's extension names a format, if nothing else does.
    ///
    /// # Errors
    /// [`UsageError`] with the supported extensions.
    pub(crate) fn check_output(&self) -> Result<(), UsageError> {
        let extension = self.output.as_deref().and_then(Path::extension);
        match extension {
            Some(extension) if self.format.is_none() && self.format_of_output().is_none() => {
                Err(UsageError(format!(
                    "unsupported image format `{}`: the extension of `--output` must be jpg, jpeg, png or webp; or set \
                     `--format`",
                    extension.display()
                )))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn generate(arguments: &[&str]) -> Generate {
        let words = ["tintype", "generate"].iter().chain(arguments);
        match Cli::try_parse_from(words).expect("valid").command {
            Command::Generate(generate) => generate,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_file_extension_selects_the_format() {
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
    fn an_extension_that_is_no_format_is_an_error() {
        for (arguments, valid) in [
            (&["x"][..], true),
            (&["x", "-o", "a"], true),
            (&["x", "-o", "dir.v1/a"], true),
            (&["x", "-o", "a.WebP"], true),
            (&["x", "-o", "a.gif"], false),
            (&["x", "-o", "a.png.bak"], false),
            (&["x", "-o", "a.gif", "--format", "png"], true),
        ] {
            assert_eq!(generate(arguments).options.check_output().is_ok(), valid, "{arguments:?}");
        }
    }

    #[test]
    fn a_model_of_a_server_is_not_a_setting() {
        let local = generate(&["x", "--model", "./m"]).with_server_model();
        assert_eq!((local.flags.0.values.len(), local.options.server_model), (1, None));
        let remote = generate(&["x", "--model", "fast", "--server", "http://h", "--log", "off"]);
        let remote = remote.with_server_model();
        assert_eq!(remote.flags.0.values, [("log", "off".to_owned())]);
        assert_eq!(remote.options.server_model.as_deref(), Some("fast"));
    }

    #[test]
    fn generate_takes_only_what_it_uses() {
        let flags = generate(&["x", "--model", "./m", "--threads", "2"]).flags.0;
        assert_eq!(flags.values, [("model", "./m".to_owned()), ("threads", "2".to_owned())]);
        assert!(Cli::try_parse_from(["tintype", "generate", "x", "--listen", "127.0.0.1:1"]).is_err());
    }
}
