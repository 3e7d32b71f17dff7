//! What must be allowed: to whoever deploys, and to the function.

use serde_json::{Value, json};

use super::tables::{ALWAYS, ENDPOINT, Row, SCALING};
use crate::artifacts;
use crate::plan::StackName;

/// Actions on one resource, without which something does not work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Need {
    /// For example `s3:PutObject`. They are simulated together.
    pub(super) actions: &'static [&'static str],
    /// As a policy names it: `*` stands for what AWS makes up.
    pub(super) resource: String,
    /// What a real call says in a condition's words, where policies commonly ask for it: key and value.
    pub(super) said: Option<(&'static str, &'static str)>,
}

impl Need {
    /// A resource that the need is about: names that are not known yet are made up.
    pub(super) fn example(&self) -> String {
        if self.resource == "*" { self.resource.clone() } else { self.resource.replace('*', "example") }
    }

    /// The statement of a policy that allows some of the actions.
    pub(super) fn statement(&self, actions: &[&str]) -> Value {
        let mut statement = json!({"Effect": "Allow", "Action": actions, "Resource": self.resource});
        if let Some((key, value)) = self.said {
            statement["Condition"] = json!({ "StringEquals": { key: value } });
        }
        statement
    }
}

/// What the function keeps in the bucket.
const RECORDS: [&str; 5] = ["images", "jobs", "idem", "keys", "usage"];
/// What it does with that.
const KEEPING: &[&str] = &["s3:DeleteObject", "s3:GetObject", "s3:PutObject"];

/// Which model the function speaks to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Its name.
    pub(crate) name: String,
    /// Where it puts its answers and failures, as `BUCKET/PREFIX`, if it is an asynchronous one.
    pub(crate) answers: Vec<String>,
}

/// Where the resources of a deployment are: what their ARNs are made of. A name may have `*` for what is not known yet.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) partition: String,
    pub(crate) region: String,
    pub(crate) account: String,
    pub(crate) stack: String,
    pub(crate) code: String,
    pub(crate) bucket: String,
    pub(crate) function: String,
    pub(crate) role: String,
}

/// Letters of a stack's name that CloudFormation surely keeps in the names it makes up from it; the rest is cut where a name would
/// get too long.
const KEPT_OF_NAME: usize = 24;

impl Place {
    /// Of a stack that is not there yet.
    pub(crate) fn new(partition: &str, region: &str, account: &str, stack: &StackName) -> Self {
        let made_up = |logical: &str| begins_like(stack.as_str(), logical);
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
        let endpoint_role = begins_like(&self.stack, "EndpointRole");
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

    fn filled(&self, rows: &[Row]) -> Vec<Need> {
        let one = |row: &Row| Need { actions: row.actions, resource: self.fill(row.on), said: row.said };
        rows.iter().map(one).collect()
    }

    /// What whoever deploys and destroys needs.
    pub(crate) fn always(&self) -> Vec<Need> {
        self.filled(ALWAYS)
    }

    /// What an endpoint needs that the stack makes, besides.
    pub(crate) fn endpoint(&self) -> Vec<Need> {
        self.filled(ENDPOINT)
    }

    /// What its scaling needs, besides.
    pub(crate) fn scaling(&self) -> Vec<Need> {
        self.filled(SCALING)
    }

    /// What the function needs.
    pub(crate) fn function(&self, endpoint: Option<&Endpoint>) -> Vec<Need> {
        let need = |actions, resource: &str| Need { actions, resource: self.fill(resource), said: None };
        let mut needs: Vec<_> = RECORDS
            .iter()
            .map(|folder| need(KEEPING, &format!("arn:{{partition}}:s3:::{{bucket}}/{folder}/*")))
            .collect();
        needs.push(need(&["s3:ListBucket"], "arn:{partition}:s3:::{bucket}"));
        needs.push(need(
            &["logs:CreateLogStream", "logs:PutLogEvents"],
            "arn:{partition}:logs:{region}:{account}:log-group:/tintype/{stack}:*",
        ));
        if let Some(Endpoint { name, answers }) = endpoint {
            let invoke: &[&str] = if answers.is_empty() {
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
            needs.extend(answers.iter().map(read));
        }
        needs
    }
}

/// How CloudFormation names what is not given a name.
fn begins_like(stack: &str, logical: &str) -> String {
    match stack.get(..KEPT_OF_NAME) {
        Some(kept) if kept.len() < stack.len() => format!("{kept}*-{logical}-*"),
        _ => format!("{stack}-{logical}-*"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::TEMPLATE;

    fn place() -> Place {
        Place::new("aws", "eu-central-1", "123456789012", &"tintype".parse().expect("a name"))
    }

    #[test]
    fn what_the_template_lets_the_function_do_is_what_is_asked() {
        let begins = TEMPLATE.find("\n  Role:\n").expect("the function's role");
        let ends = TEMPLATE.find("\n  Function:\n").expect("the function");
        let role = &TEMPLATE[begins..ends];
        let words = role.lines().filter(|line| line.trim_start().starts_with("Action:"));
        let words =
            words.flat_map(|line| line.split(|letter: char| !letter.is_alphanumeric() && letter != ':'));
        let allowed: BTreeSet<_> = words
            .filter(|word| ["s3:", "logs:", "sagemaker:"].iter().any(|service| word.starts_with(service)))
            .collect();
        let real_time = Endpoint { name: "Sd".into(), answers: vec![] };
        let asynchronous = Endpoint { name: "Sd".into(), answers: vec!["theirs/out".into()] };
        let needs = [place().function(Some(&real_time)), place().function(Some(&asynchronous))].concat();
        let asked: BTreeSet<_> = needs.iter().flat_map(|need| need.actions).copied().collect();
        assert_eq!(asked, allowed);
        for folder in RECORDS {
            assert!(role.contains(&format!("${{Bucket}}/{folder}/*")), "{folder}");
        }
        let endpoint = needs.iter().find(|need| need.actions == ["sagemaker:InvokeEndpoint"]).expect("asked");
        assert_eq!(endpoint.resource, "arn:aws:sagemaker:eu-central-1:123456789012:endpoint/sd");
    }

    #[test]
    fn nothing_is_left_open() {
        let place = place();
        for need in [place.always(), place.endpoint(), place.scaling(), place.function(None)].concat() {
            let example = need.example();
            assert!(!example.contains(['{', '}']) && (example == "*" || !example.contains('*')), "{example}");
            assert!(need.resource == "*" || need.resource.starts_with("arn:aws:"), "{}", need.resource);
        }
        assert_eq!(place.bucket, "tintype-bucket-*");
        assert_eq!(place.function, "tintype-Function-*");
    }

    #[test]
    fn long_names_are_cut_by_cloudformation_somewhere_behind_what_is_kept() {
        let long = "a-stack-with-a-rather-long-name".parse().expect("a name");
        let place = Place::new("aws-cn", "cn-north-1", "123456789012", &long);
        assert_eq!(place.function, "a-stack-with-a-rather-lo*-Function-*");
    }

    #[test]
    fn a_role_is_passed_to_its_service_alone() {
        let passed =
            place().always().into_iter().find(|need| need.actions == ["iam:PassRole"]).expect("a need");
        let statement = passed.statement(passed.actions);
        assert_eq!(statement["Condition"]["StringEquals"]["iam:PassedToService"], "lambda.amazonaws.com");
        assert_eq!(statement["Resource"], "arn:aws:iam::123456789012:role/tintype-Role-*");
    }
}
