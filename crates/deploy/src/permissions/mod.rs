//! Looking whether whoever deploys may do that, and whether the function may do its work.
//!
//! IAM is asked to simulate the policies: nothing is tried. It knows the policies of users, groups and roles, permissions boundaries
//! and the organization's service control policies. It is not asked for policies of resources, of sessions or of VPC endpoints.

mod needs;
mod principal;
mod report;
mod simulation;
mod tables;
#[cfg(test)]
mod tests;

use needs::{Endpoint, Need, Place};
use principal::Principal;
use report::Obstacle;
use simulation::Decision;

use crate::account::{Aws, Identity};
use crate::doctor::{Finding, Subject};
use crate::error::AwsError;
use crate::plan::StackName;
use crate::stack::State;

const ROOT: &str = "the account's root user may deploy and destroy; a user or role of your own is safer";
const NOBODY: &str =
    "IAM simulates users and roles, and these credentials are neither's: no telling what they may do";

impl Aws {
    /// Looks at the permissions of who we are, and of the function's role if it is there.
    pub(crate) async fn permissions(
        &self,
        who: &Identity,
        name: &StackName,
        there: Option<&State>,
    ) -> Vec<Finding> {
        let mut place = Place::new(principal::partition(&who.arn), &self.region, &who.account, name);
        let mut role = Ok(None);
        if let Some(state) = there {
            role = self.resource(&state.id, "Role").await;
            let is = |output| state.output(output).ok();
            place.bucket = is("Bucket").unwrap_or(place.bucket);
            place.function = is("Function").unwrap_or(place.function);
            place.role = role.as_ref().ok().cloned().flatten().unwrap_or(place.role);
        }
        let mut findings = self.may_deploy(who, &place, there).await;
        match (role, there) {
            (Ok(Some(_)), Some(state)) => findings.extend(self.may_work(&place, state).await),
            (Err(error), _) => findings.push(Finding::unknown(Subject::Permissions, error.to_string())),
            _ => {}
        }
        findings
    }

    /// What we may.
    async fn may_deploy(&self, who: &Identity, place: &Place, there: Option<&State>) -> Vec<Finding> {
        let principal = match self.principal(&who.arn, &who.account).await {
            Ok(Principal::Entity(arn)) => arn,
            Ok(Principal::Root) => return vec![Finding::good(Subject::Permissions, ROOT)],
            Ok(Principal::Other) => return vec![Finding::unknown(Subject::Permissions, NOBODY)],
            Err(error) => return vec![Finding::unknown(Subject::Permissions, error.to_string())],
        };
        let (mut needed, mut imaginable) = (place.always(), Vec::new());
        let makes_endpoint = there.is_some_and(|state| state.output("Endpoint").is_ok());
        let scales = makes_endpoint && there.is_some_and(is_asynchronous);
        if makes_endpoint { &mut needed } else { &mut imaginable }.extend(place.endpoint());
        if scales { &mut needed } else { &mut imaginable }.extend(place.scaling());
        let found = async {
            let obstacles = self.obstacles(&principal, &needed).await?;
            if !obstacles.is_empty() {
                return Ok(report::in_the_way("you", "deploy and destroy", &obstacles));
            }
            let further = self.obstacles(&principal, &imaginable).await?;
            Ok(vec![report::nothing_in_the_way(&further)])
        };
        found.await.unwrap_or_else(|error| vec![report::not_seen(&principal, &error)])
    }

    /// What the function may.
    async fn may_work(&self, place: &Place, state: &State) -> Vec<Finding> {
        let principal = format!("arn:{}:iam::{}:role/{}", place.partition, place.account, place.role);
        let endpoint = endpoint(place, state);
        match self.obstacles(&principal, &place.function(endpoint.as_ref())).await {
            Ok(obstacles) if obstacles.is_empty() => {
                vec![Finding::good(Subject::Permissions, "the function may do its work")]
            }
            Ok(obstacles) => {
                let role = format!("the function's role {}", place.role);
                report::in_the_way(&role, "do the function's work", &obstacles)
            }
            Err(error) if error.code() == Some("NoSuchEntity") => {
                let says = format!("the function's role {} is gone: destroy and deploy again", place.role);
                vec![Finding::bad(Subject::Permissions, says)]
            }
            Err(error) => vec![report::not_seen(&principal, &error)],
        }
    }

    /// What is needed and not allowed.
    async fn obstacles<'a>(&self, principal: &str, needs: &'a [Need]) -> Result<Vec<Obstacle<'a>>, AwsError> {
        let mut obstacles = Vec::new();
        for need in needs {
            for (action, decision) in self.simulate(principal, need).await? {
                if decision != Decision::Allowed {
                    obstacles.push(Obstacle { need, action, decision });
                }
            }
        }
        Ok(obstacles)
    }
}

fn is_asynchronous(state: &State) -> bool {
    state.parameter("Asynchronous") == Some("true")
}

/// The endpoint that the function of a stack invokes.
fn endpoint(place: &Place, state: &State) -> Option<Endpoint> {
    let made = state.output("Endpoint").ok();
    let answers = match (&made, is_asynchronous(state)) {
        (_, false) => vec![],
        (Some(_), true) => vec![format!("{}/async", place.bucket)],
        (None, true) => {
            let places = ["AnswersAt", "FailuresAt"].into_iter().filter_map(|name| state.parameter(name));
            places.map(str::to_owned).collect()
        }
    };
    let name = made.or_else(|| state.parameter("EndpointName").map(str::to_owned))?;
    Some(Endpoint { name, answers })
}
