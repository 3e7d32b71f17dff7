//! What the commands for AWS take.

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use tintype_deploy::{Response, StackName};

const EXAMPLES: &str = "\
Examples:
  tintype deploy --endpoint jumpstart-sd21       a SageMaker endpoint that is there
  tintype deploy --model builtin                 the model inside the function: nothing costs while nobody asks
  tintype deploy --model ./my-model --memory 8192
  tintype deploy --image 123456789012.dkr.ecr.eu-central-1.amazonaws.com/tintype:1 \\
      --model-data s3://models/sd21.tar.gz --instance-type ml.g5.xlarge --async

Region and credentials are found as AWS's own tools find them. It asks before it spends.";

/// `tintype deploy`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, group = ArgGroup::new("what").required(true).args(["endpoint", "model", "image"]))]
pub(crate) struct Deploy {
    /// Use this SageMaker endpoint, which is there already
    #[arg(long, value_name = "NAME", help_heading = "Model")]
    pub(crate) endpoint: Option<String>,
    /// Run the model inside the function: `builtin`, or a folder in the diffusers layout
    #[arg(long, value_name = "MODEL", help_heading = "Model")]
    pub(crate) model: Option<String>,
    /// Make an endpoint of this container image, which must be in ECR
    #[arg(long, value_name = "URI", requires = "instance_type", help_heading = "Model")]
    pub(crate) image: Option<String>,
    /// The endpoint's model, s3://BUCKET/KEY.tar.gz; it is unpacked to /opt/ml/model
    #[arg(long, value_name = "S3URI", requires = "image", help_heading = "Model")]
    pub(crate) model_data: Option<String>,
    /// What the endpoint runs on, for example ml.g4dn.xlarge
    #[arg(long, value_name = "TYPE", requires = "image", help_heading = "Model")]
    pub(crate) instance_type: Option<String>,
    /// Make it an asynchronous endpoint, which scales to zero when nobody asks
    #[arg(long = "async", requires = "image", help_heading = "Model")]
    pub(crate) asynchronous: bool,

    /// What every command about a deployment takes.
    #[command(flatten)]
    pub(crate) target: Target,
    /// Do not ask before it costs something
    #[arg(long)]
    pub(crate) yes: bool,
    /// The program to deploy, if it is not this one
    #[arg(long, value_name = "PATH")]
    pub(crate) binary: Option<PathBuf>,
    /// Settings for the function, as in tintype.toml; it does not see your own
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// How answers leave: `stream` may take 15 minutes, `buffered` 29 seconds
    #[arg(long, value_name = "HOW", default_value = "stream")]
    pub(crate) response: Response,
    /// Calls that may run at once, which caps what is spent; 0 leaves it to the account's own limit [default: 10, in front of an
    /// asynchronous endpoint 50]
    #[arg(long, value_name = "COUNT")]
    pub(crate) concurrency: Option<u32>,
    /// The function's memory, 128 to 10240 MB; its processors grow with it [default: 512, with a model inside 3008]
    #[arg(long, value_name = "MB", value_parser = clap::value_parser!(u32).range(128..=10_240))]
    pub(crate) memory: Option<u32>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which deployment.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// The stack's name
    #[arg(long, value_name = "STACK", default_value = "tintype")]
    pub(crate) name: StackName,
    /// The region [default: as AWS's own tools find it]
    #[arg(long)]
    pub(crate) region: Option<String>,
}

/// `tintype destroy`.
#[derive(Debug, Args)]
pub(crate) struct Destroy {
    /// What every command about a deployment takes.
    #[command(flatten)]
    pub(crate) target: Target,
    /// Do not ask, although pictures, keys and jobs go with it
    #[arg(long)]
    pub(crate) yes: bool,
}

/// `tintype doctor`.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// What every command about a deployment takes.
    #[command(flatten)]
    pub(crate) target: Target,
    /// Look at this SageMaker endpoint
    #[arg(long, value_name = "NAME")]
    pub(crate) endpoint: Option<String>,
    /// Look at this bucket, s3://BUCKET or s3://BUCKET/PREFIX
    #[arg(long, value_name = "S3URI", value_parser = bucket)]
    pub(crate) store: Option<String>,
}

/// The bucket in `s3://BUCKET/PREFIX`.
fn bucket(text: &str) -> Result<String, String> {
    let bucket = text.strip_prefix("s3://").and_then(|rest| rest.split('/').next());
    bucket.filter(|bucket| !bucket.is_empty()).map(str::to_owned).ok_or_else(|| "s3://BUCKET".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    fn refused(words: &[&str]) -> bool {
        Cli::try_parse_from(["tintype"].iter().chain(words)).is_err()
    }

    #[test]
    fn exactly_one_place_for_the_model() {
        assert!(refused(&["deploy"]));
        assert!(refused(&["deploy", "--endpoint", "e", "--model", "builtin"]));
        assert!(refused(&["deploy", "--image", "i"]), "an image needs an instance type");
        assert!(refused(&["deploy", "--endpoint", "e", "--async"]), "what is there says itself what it is");
        assert!(!refused(&["deploy", "--image", "i", "--instance-type", "t", "--async"]));
        assert!(!refused(&["deploy", "--model", "builtin", "--name", "my-stack"]));
        assert!(refused(&["deploy", "--model", "builtin", "--name", "my_stack"]));
    }

    #[test]
    fn the_bucket_of_a_store() {
        assert_eq!(bucket("s3://pictures/app"), Ok("pictures".into()));
        assert!(bucket("pictures").is_err());
        assert!(bucket("s3:///x").is_err());
    }
}
