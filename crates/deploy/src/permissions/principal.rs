//! The user or role behind the credentials, whose policies are simulated.

use serde::Deserialize;

use crate::account::Aws;
use crate::call::{IAM, ServiceRequest};
use crate::error::AwsError;
use crate::query;

const WHAT: &str = "read the role (iam:GetRole)";

/// The kind of identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Principal {
    /// The root user, which no policy limits.
    Root,
    /// The ARN of a user or role.
    Entity(String),
    /// Another identity, for example a federated user, which IAM cannot simulate.
    Other,
}

/// The kind of identity in an ARN of STS or IAM.
#[derive(Clone, Debug, PartialEq, Eq)]
enum ArnKind<'a> {
    Root,
    User,
    /// A session of the role with this name.
    Session(&'a str),
    Other,
}

fn arn_kind(arn: &str) -> ArnKind<'_> {
    let mut parts = arn.splitn(6, ':').skip(2);
    let (service, resource) = (parts.next(), parts.nth(2));
    match (service, resource.map(|resource| resource.split_once('/').unwrap_or((resource, "")))) {
        (Some("iam"), Some(("root", ""))) => ArnKind::Root,
        (Some("iam"), Some(("user", _))) => ArnKind::User,
        (Some("sts"), Some(("assumed-role", session))) => {
            session.split_once('/').map_or(ArnKind::Other, |(role, _)| ArnKind::Session(role))
        }
        _ => ArnKind::Other,
    }
}

/// The partition in an ARN, for example `aws-cn`.
pub(super) fn partition(arn: &str) -> &str {
    arn.split(':').nth(1).unwrap_or("aws")
}

impl Aws {
    /// Finds the user or role of an ARN. A session's ARN lacks the path of its role, so IAM is asked for it;
    /// without the permission for that call, the role is assumed to have no path.
    pub(super) async fn principal(&self, arn: &str, account: &str) -> Result<Principal, AwsError> {
        let role = match arn_kind(arn) {
            ArnKind::Root => return Ok(Principal::Root),
            ArnKind::User => return Ok(Principal::Entity(arn.to_owned())),
            ArnKind::Other => return Ok(Principal::Other),
            ArnKind::Session(role) => role,
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
        let request =
            ServiceRequest::query("GetRole", query::IAM, &[("RoleName".to_owned(), name.to_owned())]);
        let answer: GetRoleResponse = query::read(&self.call(IAM, request, WHAT).await?, WHAT)?;
        Ok(answer.result.role.arn)
    }
}

#[derive(Deserialize)]
struct GetRoleResponse {
    #[serde(rename = "GetRoleResult")]
    result: GetRoleResult,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetRoleResult {
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
    fn arns_are_classified() {
        for (arn, expected) in [
            ("arn:aws:iam::123456789012:root", ArnKind::Root),
            ("arn:aws:iam::123456789012:user/a/b/me", ArnKind::User),
            ("arn:aws-cn:sts::123456789012:assumed-role/Admin/me@example.com", ArnKind::Session("Admin")),
            ("arn:aws:sts::123456789012:federated-user/me", ArnKind::Other),
            ("arn:aws:sts::123456789012:assumed-role", ArnKind::Other),
            ("arn:aws:iam::123456789012:role/a", ArnKind::Other),
            ("", ArnKind::Other),
        ] {
            assert_eq!(arn_kind(arn), expected, "{arn}");
        }
        assert_eq!(partition("arn:aws-cn:sts::123456789012:assumed-role/Admin/me"), "aws-cn");
    }
}
