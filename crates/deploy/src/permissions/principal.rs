//! Whose policies are to be looked at: the user or role behind an ARN that credentials have.

use serde::Deserialize;

use crate::account::Aws;
use crate::call::{IAM, Question};
use crate::error::AwsError;
use crate::query;

const WHAT: &str = "look at our role (iam:GetRole)";

/// Who we are to IAM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Principal {
    /// The account itself, which no policy of its own limits.
    Root,
    /// A user or role, by its ARN.
    Entity(String),
    /// Somebody whose policies IAM cannot look up.
    Other,
}

/// What an ARN of STS or IAM names.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Named<'a> {
    Root,
    User,
    /// A session of the role with this name.
    Session(&'a str),
    Other,
}

fn named(arn: &str) -> Named<'_> {
    let mut parts = arn.splitn(6, ':').skip(2);
    let (service, resource) = (parts.next(), parts.nth(2));
    match (service, resource.map(|resource| resource.split_once('/').unwrap_or((resource, "")))) {
        (Some("iam"), Some(("root", ""))) => Named::Root,
        (Some("iam"), Some(("user", _))) => Named::User,
        (Some("sts"), Some(("assumed-role", session))) => {
            session.split_once('/').map_or(Named::Other, |(role, _)| Named::Session(role))
        }
        _ => Named::Other,
    }
}

/// The partition in an ARN, for example `aws-cn`.
pub(super) fn partition(arn: &str) -> &str {
    arn.split(':').nth(1).unwrap_or("aws")
}

impl Aws {
    /// The user or role that these credentials, with this ARN in this account, are of. A session's ARN has no path of its role, which
    /// only IAM knows; if we may not ask for it, the role is taken for one without.
    pub(super) async fn principal(&self, arn: &str, account: &str) -> Result<Principal, AwsError> {
        let role = match named(arn) {
            Named::Root => return Ok(Principal::Root),
            Named::User => return Ok(Principal::Entity(arn.to_owned())),
            Named::Other => return Ok(Principal::Other),
            Named::Session(role) => role,
        };
        match self.role(role).await {
            Ok(found) => Ok(Principal::Entity(found)),
            Err(AwsError::Denied { .. }) => {
                Ok(Principal::Entity(format!("arn:{}:iam::{account}:role/{role}", partition(arn))))
            }
            Err(error) => Err(error),
        }
    }

    /// The ARN of a role.
    async fn role(&self, name: &str) -> Result<String, AwsError> {
        let question = Question::query("GetRole", query::IAM, &[("RoleName".to_owned(), name.to_owned())]);
        let answer: Answer = query::read(&self.ask(IAM, question, WHAT).await?, WHAT)?;
        Ok(answer.result.role.arn)
    }
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "GetRoleResult")]
    result: Found,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Found {
    role: Role,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Role {
    arn: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arns_name_somebody() {
        for (arn, expected) in [
            ("arn:aws:iam::123456789012:root", Named::Root),
            ("arn:aws:iam::123456789012:user/a/b/me", Named::User),
            ("arn:aws-cn:sts::123456789012:assumed-role/Admin/me@example.com", Named::Session("Admin")),
            ("arn:aws:sts::123456789012:federated-user/me", Named::Other),
            ("arn:aws:sts::123456789012:assumed-role", Named::Other),
            ("arn:aws:iam::123456789012:role/a", Named::Other),
            ("", Named::Other),
        ] {
            assert_eq!(named(arn), expected, "{arn}");
        }
        assert_eq!(partition("arn:aws-cn:sts::123456789012:assumed-role/Admin/me"), "aws-cn");
    }
}
