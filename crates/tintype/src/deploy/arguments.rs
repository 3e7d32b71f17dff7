//! Arguments of the commands for AWS.

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use tintype_deploy::{Response, StackName};

const EXAMPLES: &str = "\
Examples:
  tintype deploy --endpoint jumpstart-sd21       use an existing SageMaker endpoint
  tintype deploy --model builtin                 run the model in the function: no compute cost when idle
  tintype deploy --model ./my-model --memory 8192
  tintype deploy --image 123456789012.dkr.ecr.eu-central-1.amazonaws.com/tintype:1 \\
      --model-data s3://models/sd21.tar.gz --instance-type ml.g5.xlarge --async

Region and credentials come from the AWS configuration. The command shows an estimate of the cost
and asks for confirmation before it creates anything.";

/// `tintype deploy`.
#[derive(Debug, Args)]
#[command(
    after_help = EXAMPLES,
    group = ArgGroup::new("source").required(true).args(["endpoint", "model", "image"])
)]
pub(crate) struct Deploy {
    /// Use this existing SageMaker endpoint
    #[arg(long, value_name = "NAME", help_heading = "Model")]
    pub(crate) endpoint: Option<String>,
    /// Run the model inside the function: `builtin`, or a folder in the diffusers layout
    #[arg(long, value_name = "MODEL", help_heading = "Model")]
    pub(crate) model: Option<String>,
    /// Create a SageMaker endpoint from this container image in ECR
    #[arg(long, value_name = "URI", requires = "instance_type", help_heading = "Model")]
    pub(crate) image: Option<String>,
    /// Model archive of the new endpoint, s3://BUCKET/KEY.tar.gz; SageMaker unpacks it to /opt/ml/model
    #[arg(long, value_name = "S3URI", requires = "image", help_heading = "Model")]
    pub(crate) model_data: Option<String>,
    /// Instance type of the new endpoint, for example ml.g4dn.xlarge
    #[arg(long, value_name = "TYPE", requires = "image", help_heading = "Model")]
    pub(crate) instance_type: Option<String>,
    /// Create an asynchronous endpoint, which scales to zero instances when idle
    #[arg(long = "async", requires = "image", help_heading = "Model")]
    pub(crate) asynchronous: bool,

    /// The deployment.
    #[command(flatten)]
    pub(crate) target: Target,
    /// Deploy without asking for confirmation
    #[arg(long)]
    pub(crate) yes: bool,
    /// Binary to deploy [default: the running one]
    #[arg(long, value_name = "PATH")]
    pub(crate) binary: Option<PathBuf>,
    /// Settings file for the function, which does not read the settings of this computer
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Response mode: `stream` allows 15 minutes per response, `buffered` 29 seconds
    #[arg(long, value_name = "MODE", default_value = "stream")]
    pub(crate) response: Response,
    /// Maximum concurrent executions of the function, which limits the cost; with 0, only the limit
    /// of the AWS account applies [default: 10, or 50 with an asynchronous endpoint]
    #[arg(long, value_name = "COUNT")]
    pub(crate) concurrency: Option<u32>,
    /// Memory of the function in MB, 128 to 10240; CPU power is proportional to it
    /// [default: 512, or 3008 with the model inside the function]
    #[arg(long, value_name = "MB", value_parser = clap::value_parser!(u32).range(128..=10_240))]
    pub(crate) memory: Option<u32>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// The deployment that a command works on.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// Name of the CloudFormation stack
    #[arg(long, value_name = "STACK", default_value = "tintype")]
    pub(crate) name: StackName,
    /// AWS region [default: the region of the AWS configuration]
    #[arg(long)]
    pub(crate) region: Option<String>,
}

/// `tintype destroy`.
#[derive(Debug, Args)]
pub(crate) struct Destroy {
    /// The deployment.
    #[command(flatten)]
    pub(crate) target: Target,
    /// Delete without asking for confirmation
    #[arg(long)]
    pub(crate) yes: bool,
}

/// `tintype doctor`.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// The deployment.
    #[command(flatten)]
    pub(crate) target: Target,
    /// Also check this SageMaker endpoint
    #[arg(long, value_name = "NAME")]
    pub(crate) endpoint: Option<String>,
    /// Check this bucket, s3://BUCKET or s3://BUCKET/PREFIX [default: the deployment's bucket]
    #[arg(long, value_name = "S3URI", value_parser = bucket)]
    pub(crate) store: Option<String>,
}

/// The bucket in `s3://BUCKET/PREFIX`.
fn bucket(text: &str) -> Result<String, String> {
    let bucket = text.strip_prefix("s3://").and_then(|rest| rest.split('/').next());
    bucket
        .filter(|bucket| !bucket.is_empty())
        .map(str::to_owned)
        .ok_or_else(|| "must be s3://BUCKET or s3://BUCKET/PREFIX".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    fn is_rejected(words: &[&str]) -> bool {
        Cli::try_parse_from(["tintype"].iter().chain(words)).is_err()
    }

    #[test]
    fn exactly_one_source_of_the_model_is_required() {
        assert!(is_rejected(&["deploy"]));
        assert!(is_rejected(&["deploy", "--endpoint", "e", "--model", "builtin"]));
        assert!(is_rejected(&["deploy", "--image", "i"]), "an image needs an instance type");
        assert!(is_rejected(&["deploy", "--endpoint", "e", "--async"]), "SageMaker has the kind of endpoint");
        assert!(!is_rejected(&["deploy", "--image", "i", "--instance-type", "t", "--async"]));
        assert!(!is_rejected(&["deploy", "--model", "builtin", "--name", "my-stack"]));
        assert!(is_rejected(&["deploy", "--model", "builtin", "--name", "my_stack"]));
    }

    #[test]
    fn the_bucket_of_a_store() {
        assert_eq!(bucket("s3://pictures/app"), Ok("pictures".into()));
        assert!(bucket("pictures").is_err());
        assert!(bucket("s3:///x").is_err());
    }
}
