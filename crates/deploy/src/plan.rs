//! What is to be deployed, and the template's parameters for it.

use std::fmt;
use std::str::FromStr;

use crate::binary::Architecture;
use crate::endpoint::Answers;

/// A stack's name: 1 to 64 letters, digits and hyphens, beginning with a letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackName(String);

/// The text is no name of a stack.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a stack's name has 1 to 64 letters, digits and hyphens, and begins with a letter")]
pub struct InvalidStackName;

impl StackName {
    /// Longest name. CloudFormation allows 128, and the names of what is in the stack are made from it.
    const LONGEST: usize = 64;

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for StackName {
    type Err = InvalidStackName;

    fn from_str(text: &str) -> Result<Self, InvalidStackName> {
        let begins = text.starts_with(|first: char| first.is_ascii_alphabetic());
        let fits = text.len() <= Self::LONGEST
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
pub enum What {
    /// Inside the function: the one that is built in, or a folder that is packed beside the program.
    Inside {
        /// It is a folder.
        folder: bool,
    },
    /// Behind an endpoint that is there.
    Existing {
        /// Its name.
        name: String,
        /// Where it puts its answers, if it is an asynchronous one.
        answers: Option<Answers>,
    },
    /// Behind an endpoint that the stack makes.
    New {
        /// The container's image in a registry of ECR.
        image: String,
        /// The model's archive, `s3://BUCKET/KEY.tar.gz`; none if the image has the model in it.
        data: Option<String>,
        /// What it runs on, for example `ml.g4dn.xlarge`.
        instance: String,
        /// It takes requests into a queue, and scales to zero.
        asynchronous: bool,
    },
}

/// How answers leave the function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Response {
    /// Whole, within 29 seconds.
    Buffered,
    /// As they are made, for up to 15 minutes.
    Stream,
}

impl Response {
    /// As the template and the setting `lambda_response` have it.
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
            _ => Err("buffered or stream".to_owned()),
        }
    }
}

/// What is to be deployed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The stack's name.
    pub name: StackName,
    /// Where the model is.
    pub what: What,
    /// How answers leave.
    pub response: Response,
    /// Calls that may run at once; 0 leaves it to the account.
    pub concurrency: u32,
    /// The function's memory in MB; its share of the processors goes with it.
    pub memory: u32,
}

/// The function's memory in MB if it only calls an endpoint: a third of a processor, for signatures and JSON.
const REMOTE_MEMORY: u32 = 512;
/// The function's memory in MB with the model in it: what every account may have without asking, about two processors.
const INSIDE_MEMORY: u32 = 3_008;

impl What {
    /// The model is behind an endpoint that takes requests into a queue.
    fn is_asynchronous(&self) -> bool {
        match self {
            Self::Inside { .. } => false,
            Self::Existing { answers, .. } => answers.is_some(),
            Self::New { asynchronous, .. } => *asynchronous,
        }
    }

    /// The function's memory in MB if nobody says.
    pub fn memory(&self) -> u32 {
        match self {
            Self::Inside { .. } => INSIDE_MEMORY,
            Self::Existing { .. } | Self::New { .. } => REMOTE_MEMORY,
        }
    }

    /// Calls that may run at once if nobody says. One whose client waits while an asynchronous endpoint wakes up takes its place
    /// for a minute instead of seconds.
    pub fn concurrency(&self) -> u32 {
        if self.is_asynchronous() { 50 } else { 10 }
    }

    fn parameters(&self) -> Vec<(&'static str, String)> {
        let switch = |on: bool| if on { "true" } else { "false" }.to_owned();
        match self {
            Self::Inside { folder } => {
                vec![("Model", if *folder { "/var/task/model" } else { "builtin" }.to_owned())]
            }
            Self::Existing { name, answers } => {
                let Answers { successes, failures } =
                    answers.clone().unwrap_or(Answers { successes: String::new(), failures: String::new() });
                vec![
                    ("EndpointName", name.clone()),
                    ("EndpointNameInArn", name.to_ascii_lowercase()),
                    ("Asynchronous", switch(self.is_asynchronous())),
                    ("AnswersAt", successes),
                    ("FailuresAt", failures),
                ]
            }
            Self::New { image, data, instance, .. } => vec![
                ("ModelImage", image.clone()),
                ("ModelData", data.clone().unwrap_or_default()),
                ("InstanceType", instance.clone()),
                ("Asynchronous", switch(self.is_asynchronous())),
            ],
        }
    }
}

impl Plan {
    /// The template's parameters; the others keep their defaults.
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
        parameters.extend(self.what.parameters());
        parameters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(what: What) -> Plan {
        let name = "tintype".parse().expect("a name");
        Plan { name, what, response: Response::Stream, concurrency: 10, memory: 512 }
    }

    fn all() -> Vec<What> {
        let answers = Answers { successes: "b/out".into(), failures: "b/failed".into() };
        vec![
            What::Inside { folder: true },
            What::Existing { name: "JumpStart-SD".into(), answers: Some(answers) },
            What::New { image: "i".into(), data: None, instance: "ml.g5.xlarge".into(), asynchronous: false },
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
