//! A planned deployment and its template parameters.

use std::fmt;
use std::str::FromStr;

use crate::binary::Architecture;
use crate::endpoint::OutputPaths;

/// The name of a stack: 1 to 64 letters, digits and hyphens, starting with a letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackName(String);

/// The text is not a valid stack name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a stack name has 1 to 64 letters, digits and hyphens, and starts with a letter")]
pub struct InvalidStackName;

impl StackName {
    /// Maximum length in bytes. CloudFormation allows 128, but the names of resources are derived from it.
    const MAX_BYTES: usize = 64;

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for StackName {
    type Err = InvalidStackName;

    fn from_str(text: &str) -> Result<Self, InvalidStackName> {
        let begins = text.starts_with(|first: char| first.is_ascii_alphabetic());
        let fits = text.len() <= Self::MAX_BYTES
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if begins && fits { Ok(Self(text.to_owned())) } else { Err(InvalidStackName) }
    }
}

impl fmt::Display for StackName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where the model is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelLocation {
    /// In the function: the built-in model, or a folder in the package.
    InFunction {
        /// Whether the model is a folder.
        folder: bool,
    },
    /// On an existing SageMaker endpoint.
    ExistingEndpoint {
        /// The endpoint's name.
        name: String,
        /// Where an asynchronous endpoint stores its results.
        outputs: Option<OutputPaths>,
    },
    /// On an endpoint that the stack creates.
    NewEndpoint {
        /// The container image in ECR.
        image: String,
        /// The model archive, `s3://BUCKET/KEY.tar.gz`; `None` if the image contains the model.
        data: Option<String>,
        /// The instance type, for example `ml.g4dn.xlarge`.
        instance: String,
        /// Whether the endpoint is asynchronous: it queues requests and scales to zero.
        asynchronous: bool,
    },
}

/// How the function returns responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Response {
    /// Complete, within 29 s.
    Buffered,
    /// Streamed, for up to 15 minutes.
    Stream,
}

impl Response {
    /// The value of the template parameter and of the setting `lambda_response`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Buffered => "buffered",
            Self::Stream => "stream",
        }
    }
}

impl FromStr for Response {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "buffered" => Ok(Self::Buffered),
            "stream" => Ok(Self::Stream),
            _ => Err("must be `buffered` or `stream`".to_owned()),
        }
    }
}

/// A planned deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The stack's name.
    pub name: StackName,
    /// Where the model is.
    pub model: ModelLocation,
    /// How the function returns responses.
    pub response: Response,
    /// Maximum number of concurrent invocations; 0 means the account's limit.
    pub concurrency: u32,
    /// The function's memory in MB. Lambda assigns CPU time in proportion.
    pub memory: u32,
}

/// Default memory in MB of a function that calls an endpoint: a third of a CPU, for signatures and JSON.
const ENDPOINT_MEMORY: u32 = 512;
/// Default memory in MB of a function with the model in it: the initial quota of every account, about two
/// CPUs.
const MODEL_MEMORY: u32 = 3_008;

impl ModelLocation {
    /// Whether the model is on an asynchronous endpoint.
    fn is_asynchronous(&self) -> bool {
        match self {
            Self::InFunction { .. } => false,
            Self::ExistingEndpoint { outputs, .. } => outputs.is_some(),
            Self::NewEndpoint { asynchronous, .. } => *asynchronous,
        }
    }

    /// The function's default memory in MB.
    pub fn memory(&self) -> u32 {
        match self {
            Self::InFunction { .. } => MODEL_MEMORY,
            Self::ExistingEndpoint { .. } | Self::NewEndpoint { .. } => ENDPOINT_MEMORY,
        }
    }

    /// The default number of concurrent invocations. It is higher for an asynchronous endpoint, where an
    /// invocation may wait for a minute while the endpoint starts.
    pub fn concurrency(&self) -> u32 {
        if self.is_asynchronous() { 50 } else { 10 }
    }

    fn parameters(&self) -> Vec<(&'static str, String)> {
        let bool_text = |on: bool| if on { "true" } else { "false" }.to_owned();
        match self {
            Self::InFunction { folder } => {
                vec![("Model", if *folder { "/var/task/model" } else { "builtin" }.to_owned())]
            }
            Self::ExistingEndpoint { name, outputs } => {
                let OutputPaths { successes, failures } = outputs
                    .clone()
                    .unwrap_or(OutputPaths { successes: String::new(), failures: String::new() });
                vec![
                    ("EndpointName", name.clone()),
                    ("EndpointNameInArn", name.to_ascii_lowercase()),
                    ("Asynchronous", bool_text(self.is_asynchronous())),
                    ("AnswersAt", successes),
                    ("FailuresAt", failures),
                ]
            }
            Self::NewEndpoint { image, data, instance, .. } => vec![
                ("ModelImage", image.clone()),
                ("ModelData", data.clone().unwrap_or_default()),
                ("InstanceType", instance.clone()),
                ("Asynchronous", bool_text(self.is_asynchronous())),
            ],
        }
    }
}

impl Plan {
    /// The template parameters that differ from the defaults.
    pub(crate) fn parameters(
        &self,
        architecture: Architecture,
        bucket: &str,
        key: &str,
    ) -> Vec<(&'static str, String)> {
        let mut parameters = vec![
            ("CodeBucket", bucket.to_owned()),
            ("CodeKey", key.to_owned()),
            ("Architecture", architecture.as_str().to_owned()),
            ("Memory", self.memory.to_string()),
            ("Concurrency", self.concurrency.to_string()),
            ("Response", self.response.as_str().to_owned()),
        ];
        parameters.extend(self.model.parameters());
        parameters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(what: ModelLocation) -> Plan {
        let name = "tintype".parse().expect("a name");
        Plan { name, model: what, response: Response::Stream, concurrency: 10, memory: 512 }
    }

    fn all() -> Vec<ModelLocation> {
        let outputs = OutputPaths { successes: "b/out".into(), failures: "b/failed".into() };
        vec![
            ModelLocation::InFunction { folder: true },
            ModelLocation::ExistingEndpoint { name: "JumpStart-SD".into(), outputs: Some(outputs) },
            ModelLocation::NewEndpoint {
                image: "i".into(),
                data: None,
                instance: "ml.g5.xlarge".into(),
                asynchronous: false,
            },
        ]
    }

    #[test]
    fn every_parameter_is_one_of_the_templates() {
        for what in all() {
            for (name, _) in plan(what).parameters(Architecture::Arm64, "b", "k") {
                assert!(crate::TEMPLATE.contains(&format!("\n  {name}:\n    Type: ")), "{name}");
            }
        }
    }

    #[test]
    fn an_endpoints_name_is_in_lower_case_in_its_arn() {
        let parameters = plan(all().remove(1)).parameters(Architecture::X86_64, "b", "k");
        assert!(parameters.contains(&("EndpointName", "JumpStart-SD".into())));
        assert!(parameters.contains(&("EndpointNameInArn", "jumpstart-sd".into())));
        assert!(parameters.contains(&("Asynchronous", "true".into())));
        assert!(parameters.contains(&("FailuresAt", "b/failed".into())));
    }

    #[test]
    fn names_of_stacks() {
        for good in ["a", "tintype", "Tintype-2"] {
            assert!(good.parse::<StackName>().is_ok(), "{good}");
        }
        let long = "a".repeat(65);
        for bad in ["", "2a", "-a", "a_b", "a.b", "ä", long.as_str()] {
            assert_eq!(bad.parse::<StackName>(), Err(InvalidStackName), "{bad}");
        }
    }
}
