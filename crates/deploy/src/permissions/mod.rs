//! Checks the permissions of the deploying identity and of the function.
//!
//! IAM simulates the policies; no action is tried. The simulation covers the policies of users, groups and
//! roles, permissions boundaries and service control policies. It does not cover resource policies, session
//! policies and VPC endpoint policies.

mod needs;
mod principal;
mod report;
mod simulation;
mod tables;
#[cfg(test)]
mod tests;

use needs::{Endpoint, RequiredActions, ResourceNames};
use principal::Principal;
use report::DeniedAction;
use simulation::Decision;

use crate::account::{Aws, Identity};
use crate::doctor::{Finding, Subject};
use crate::error::AwsError;
use crate::plan::StackName;
use crate::stack::StackState;

const ROOT_USER: &str = "the root user may deploy and destroy; a separate user or role is safer";
const UNSUPPORTED_PRINCIPAL: &str =
    "the credentials belong to neither a user nor a role, so IAM cannot simulate their permissions";

impl Aws {
    /// Checks the permissions of the identity, and of the function's role if it exists.
    pub(crate) async fn permissions(
        &self,
        who: &Identity,
        name: &StackName,
        there: Option<&StackState>,
    ) -> Vec<Finding> {
        let mut names = ResourceNames::new(principal::partition(&who.arn), &self.region, &who.account, name);
        let mut role = Ok(None);
        if let Some(state) = there {
            role = self.resource(&state.id, "Role").await;
            let is = |output| state.output(output).ok();
            names.bucket = is("Bucket").unwrap_or(names.bucket);
            names.function = is("Function").unwrap_or(names.function);
            names.role = role.as_ref().ok().cloned().flatten().unwrap_or(names.role);
        }
        let mut findings = self.may_deploy(who, &names, there).await;
        match (role, there) {
            (Ok(Some(_)), Some(state)) => findings.extend(self.may_work(&names, state).await),
            (Err(error), _) => findings.push(Finding::unknown(Subject::Permissions, error.to_string())),
            _ => {}
        }
        findings
    }

    /// Checks the permissions of the identity.
    async fn may_deploy(
        &self,
        who: &Identity,
        names: &ResourceNames,
        there: Option<&StackState>,
    ) -> Vec<Finding> {
        let principal = match self.principal(&who.arn, &who.account).await {
            Ok(Principal::Entity(arn)) => arn,
            Ok(Principal::Root) => return vec![Finding::passed(Subject::Permissions, ROOT_USER)],
            Ok(Principal::Other) => {
                return vec![Finding::unknown(Subject::Permissions, UNSUPPORTED_PRINCIPAL)];
            }
            Err(error) => return vec![Finding::unknown(Subject::Permissions, error.to_string())],
        };
        let (mut needed, mut optional) = (names.always(), Vec::new());
        let creates_endpoint = there.is_some_and(|state| state.output("Endpoint").is_ok());
        let scales = creates_endpoint && there.is_some_and(is_asynchronous);
        if creates_endpoint { &mut needed } else { &mut optional }.extend(names.endpoint());
        if scales { &mut needed } else { &mut optional }.extend(names.scaling());
        let found = async {
            let denied = self.denied(&principal, &needed).await?;
            if !denied.is_empty() {
                return Ok(report::denied_findings("you", "deploy and destroy", &denied));
            }
            let further = self.denied(&principal, &optional).await?;
            Ok(vec![report::all_allowed(&further)])
        };
        found.await.unwrap_or_else(|error| vec![report::not_checked(&principal, &error)])
    }

    /// Checks the permissions of the function.
    async fn may_work(&self, names: &ResourceNames, state: &StackState) -> Vec<Finding> {
        let principal = format!("arn:{}:iam::{}:role/{}", names.partition, names.account, names.role);
        let endpoint = endpoint(names, state);
        match self.denied(&principal, &names.function(endpoint.as_ref())).await {
            Ok(denied) if denied.is_empty() => {
                vec![Finding::passed(Subject::Permissions, "the function has all permissions")]
            }
            Ok(denied) => {
                let role = format!("the function's role {}", names.role);
                report::denied_findings(&role, "do the function's work", &denied)
            }
            Err(error) if error.code() == Some("NoSuchEntity") => {
                let detail =
                    format!("the function's role {} was deleted; destroy and deploy again", names.role);
                vec![Finding::failed(Subject::Permissions, detail)]
            }
            Err(error) => vec![report::not_checked(&principal, &error)],
        }
    }

    /// The required actions that are not allowed.
    async fn denied<'a>(
        &self,
        principal: &str,
        needs: &'a [RequiredActions],
    ) -> Result<Vec<DeniedAction<'a>>, AwsError> {
        let mut denied = Vec::new();
        for need in needs {
            for (action, decision) in self.simulate(principal, need).await? {
                if decision != Decision::Allowed {
                    denied.push(DeniedAction { need, action, decision });
                }
            }
        }
        Ok(denied)
    }
}

fn is_asynchronous(state: &StackState) -> bool {
    state.parameter("Asynchronous") == Some("true")
}

/// The endpoint that the stack's function invokes.
fn endpoint(names: &ResourceNames, state: &StackState) -> Option<Endpoint> {
    let made = state.output("Endpoint").ok();
    let outputs = match (&made, is_asynchronous(state)) {
        (_, false) => vec![],
        (Some(_), true) => vec![format!("{}/async", names.bucket)],
        (None, true) => {
            let places = ["AnswersAt", "FailuresAt"].into_iter().filter_map(|name| state.parameter(name));
            places.map(str::to_owned).collect()
        }
    };
    let name = made.or_else(|| state.parameter("EndpointName").map(str::to_owned))?;
    Some(Endpoint { name, outputs })
}
