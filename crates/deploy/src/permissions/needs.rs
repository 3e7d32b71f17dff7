//! The actions that the deploying identity and the function need.

use serde_json::{Value, json};

use super::tables::{ALWAYS, ENDPOINT, Row, SCALING};
use crate::artifacts;
use crate::plan::StackName;

/// Actions on one resource that an operation needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequiredActions {
    /// For example `s3:PutObject`. IAM simulates them together.
    pub(super) actions: &'static [&'static str],
    /// The resource as a policy names it; `*` replaces the parts that AWS generates.
    pub(super) resource: String,
    /// The condition key and value of a real call, where policies commonly test it.
    pub(super) condition: Option<(&'static str, &'static str)>,
}

impl RequiredActions {
    /// An example of the resource, with generated names replaced.
    pub(super) fn example(&self) -> String {
        if self.resource == "*" { self.resource.clone() } else { self.resource.replace('*', "example") }
    }

    /// A policy statement that allows some of the actions.
    pub(super) fn statement(&self, actions: &[&str]) -> Value {
        let mut statement = json!({"Effect": "Allow", "Action": actions, "Resource": self.resource});
        if let Some((key, value)) = self.condition {
            statement["Condition"] = json!({ "StringEquals": { key: value } });
        }
        statement
    }
}

/// The function's folders in the bucket.
const RECORD_FOLDERS: [&str; 5] = ["images", "jobs", "idem", "keys", "usage"];
/// The function's actions on its folders.
const RECORD_ACTIONS: &[&str] = &["s3:DeleteObject", "s3:GetObject", "s3:PutObject"];

/// The endpoint that the function invokes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// The endpoint's name.
    pub(crate) name: String,
    /// Where an asynchronous endpoint stores results and error reports, as `BUCKET/PREFIX`; empty for a
    /// real-time endpoint.
    pub(crate) outputs: Vec<String>,
}

/// The names of a deployment's resources, from which ARNs are built. A name has `*` for a part that AWS
/// generates.
#[derive(Clone, Debug)]
pub(crate) struct ResourceNames {
    pub(crate) partition: String,
    pub(crate) region: String,
    pub(crate) account: String,
    pub(crate) stack: String,
    pub(crate) code: String,
    pub(crate) bucket: String,
    pub(crate) function: String,
    pub(crate) role: String,
}

/// Characters of a stack's name that CloudFormation always keeps in generated names. It cuts longer names.
const STACK_NAME_PREFIX_CHARS: usize = 24;

impl ResourceNames {
    /// The names for a stack that does not exist.
    pub(crate) fn new(partition: &str, region: &str, account: &str, stack: &StackName) -> Self {
        let made_up = |logical: &str| name_pattern(stack.as_str(), logical);
        Self {
            partition: partition.to_owned(),
            region: region.to_owned(),
            account: account.to_owned(),
            stack: stack.as_str().to_owned(),
            code: artifacts::name(account, region, stack),
            bucket: made_up("Bucket").to_ascii_lowercase(),
            function: made_up("Function"),
            role: made_up("Role"),
        }
    }

    fn fill(&self, pattern: &str) -> String {
        let endpoint_role = name_pattern(&self.stack, "EndpointRole");
        [
            ("{partition}", &self.partition),
            ("{region}", &self.region),
            ("{account}", &self.account),
            ("{stack}", &self.stack),
            ("{code}", &self.code),
            ("{bucket}", &self.bucket),
            ("{function}", &self.function),
            ("{role}", &self.role),
            ("{endpoint role}", &endpoint_role),
        ]
        .into_iter()
        .fold(pattern.to_owned(), |text, (name, value)| text.replace(name, value))
    }

    fn filled(&self, rows: &[Row]) -> Vec<RequiredActions> {
        let one = |row: &Row| RequiredActions {
            actions: row.actions,
            resource: self.fill(row.on),
            condition: row.condition,
        };
        rows.iter().map(one).collect()
    }

    /// The actions for every deployment and removal.
    pub(crate) fn always(&self) -> Vec<RequiredActions> {
        self.filled(ALWAYS)
    }

    /// The additional actions for an endpoint that the stack creates.
    pub(crate) fn endpoint(&self) -> Vec<RequiredActions> {
        self.filled(ENDPOINT)
    }

    /// The additional actions for an endpoint that scales.
    pub(crate) fn scaling(&self) -> Vec<RequiredActions> {
        self.filled(SCALING)
    }

    /// The function's actions.
    pub(crate) fn function(&self, endpoint: Option<&Endpoint>) -> Vec<RequiredActions> {
        let need = |actions, resource: &str| RequiredActions {
            actions,
            resource: self.fill(resource),
            condition: None,
        };
        let mut needs: Vec<_> = RECORD_FOLDERS
            .iter()
            .map(|folder| need(RECORD_ACTIONS, &format!("arn:{{partition}}:s3:::{{bucket}}/{folder}/*")))
            .collect();
        needs.push(need(&["s3:ListBucket"], "arn:{partition}:s3:::{bucket}"));
        needs.push(need(
            &["logs:CreateLogStream", "logs:PutLogEvents"],
            "arn:{partition}:logs:{region}:{account}:log-group:/tintype/{stack}:*",
        ));
        if let Some(Endpoint { name, outputs }) = endpoint {
            let invoke: &[&str] = if outputs.is_empty() {
                &["sagemaker:InvokeEndpoint"]
            } else {
                &["sagemaker:InvokeEndpointAsync"]
            };
            let name = name.to_ascii_lowercase();
            needs.push(need(
                invoke,
                &format!("arn:{{partition}}:sagemaker:{{region}}:{{account}}:endpoint/{name}"),
            ));
            let read = |path: &String| need(&["s3:GetObject"], &format!("arn:{{partition}}:s3:::{path}/*"));
            needs.extend(outputs.iter().map(read));
        }
        needs
    }
}

/// The pattern of a name that CloudFormation generates.
fn name_pattern(stack: &str, logical: &str) -> String {
    match stack.get(..STACK_NAME_PREFIX_CHARS) {
        Some(kept) if kept.len() < stack.len() => format!("{kept}*-{logical}-*"),
        _ => format!("{stack}-{logical}-*"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::TEMPLATE;

    fn names() -> ResourceNames {
        ResourceNames::new("aws", "eu-central-1", "123456789012", &"tintype".parse().expect("a name"))
    }

    #[test]
    fn the_templates_role_and_the_required_actions_agree() {
        let begins = TEMPLATE.find("\n  Role:\n").expect("the function's role");
        let ends = TEMPLATE.find("\n  Function:\n").expect("the function");
        let role = &TEMPLATE[begins..ends];
        let words = role.lines().filter(|line| line.trim_start().starts_with("Action:"));
        let words =
            words.flat_map(|line| line.split(|letter: char| !letter.is_alphanumeric() && letter != ':'));
        let allowed: BTreeSet<_> = words
            .filter(|word| ["s3:", "logs:", "sagemaker:"].iter().any(|service| word.starts_with(service)))
            .collect();
        let real_time = Endpoint { name: "Sd".into(), outputs: vec![] };
        let asynchronous = Endpoint { name: "Sd".into(), outputs: vec!["theirs/out".into()] };
        let needs = [names().function(Some(&real_time)), names().function(Some(&asynchronous))].concat();
        let calls: BTreeSet<_> = needs.iter().flat_map(|need| need.actions).copied().collect();
        assert_eq!(calls, allowed);
        for folder in RECORD_FOLDERS {
            assert!(role.contains(&format!("${{Bucket}}/{folder}/*")), "{folder}");
        }
        let endpoint = needs.iter().find(|need| need.actions == ["sagemaker:InvokeEndpoint"]).expect("asked");
        assert_eq!(endpoint.resource, "arn:aws:sagemaker:eu-central-1:123456789012:endpoint/sd");
    }

    #[test]
    fn every_placeholder_is_filled() {
        let names = names();
        for need in [names.always(), names.endpoint(), names.scaling(), names.function(None)].concat() {
            let example = need.example();
            assert!(!example.contains(['{', '}']) && (example == "*" || !example.contains('*')), "{example}");
            assert!(need.resource == "*" || need.resource.starts_with("arn:aws:"), "{}", need.resource);
        }
        assert_eq!(names.bucket, "tintype-bucket-*");
        assert_eq!(names.function, "tintype-Function-*");
    }

    #[test]
    fn long_stack_names_are_matched_by_their_start() {
        let long = "a-stack-with-a-rather-long-name".parse().expect("a name");
        let names = ResourceNames::new("aws-cn", "cn-north-1", "123456789012", &long);
        assert_eq!(names.function, "a-stack-with-a-rather-lo*-Function-*");
    }

    #[test]
    fn a_role_is_passthroughly_to_its_service() {
        let passed =
            names().always().into_iter().find(|need| need.actions == ["iam:PassRole"]).expect("a need");
        let statement = passed.statement(passed.actions);
        assert_eq!(statement["Condition"]["StringEquals"]["iam:PassedToService"], "lambda.amazonaws.com");
        assert_eq!(statement["Resource"], "arn:aws:iam::123456789012:role/tintype-Role-*");
    }
}
