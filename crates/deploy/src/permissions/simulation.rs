//! IAM's policy simulation.

use serde::Deserialize;
use std::collections::BTreeSet;

use super::needs::RequiredActions;
use crate::account::Aws;
use crate::call::{IAM, ServiceRequest};
use crate::error::AwsError;
use crate::query::{self, Members};

const WHAT: &str = "simulate policies (iam:SimulatePrincipalPolicy)";

/// The decision for an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Allowed.
    Allowed,
    /// Denied.
    Denied(Reason),
    /// Undecided, with the reason.
    Unclear(String),
}

/// Why an action is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// No policy allows it.
    Missing,
    /// A policy denies it.
    Forbidden,
    /// The permissions boundary does not include it.
    Boundary,
    /// The organization's policies do not allow it.
    Organization,
}

impl Aws {
    /// Simulates the required actions for a user or role. IAM rejects some combinations of actions in one
    /// request, without documenting which; these are split into several requests.
    pub(super) async fn simulate(
        &self,
        principal: &str,
        need: &RequiredActions,
    ) -> Result<Vec<(&'static str, Decision)>, AwsError> {
        let mut decisions = Vec::new();
        let mut rest = vec![need.actions];
        while let Some(actions) = rest.pop() {
            match self.evaluations(principal, need, actions).await {
                Ok(evaluations) => {
                    let of = |action| evaluations.iter().find(|one| one.eval_action_name == action);
                    let decided = |action: &&'static str| {
                        (*action, of(*action).map_or_else(no_decision, Evaluation::decision))
                    };
                    decisions.extend(actions.iter().map(decided));
                }
                Err(error) if error.code() == Some("InvalidInput") => match actions {
                    [action] => decisions.push((*action, Decision::Unclear(error.to_string()))),
                    several => {
                        let (some, others) = several.split_at(several.len() / 2);
                        rest.extend([others, some]);
                    }
                },
                Err(error) => return Err(error),
            }
        }
        Ok(decisions)
    }

    /// Sends one request and reads all pages of the response.
    async fn evaluations(
        &self,
        principal: &str,
        need: &RequiredActions,
        actions: &[&str],
    ) -> Result<Vec<Evaluation>, AwsError> {
        let mut fields = vec![("PolicySourceArn".to_owned(), principal.to_owned())];
        fields.extend(query::members("ActionNames", actions.iter().copied()));
        fields.push(("ResourceArns.member.1".to_owned(), need.example()));
        for (index, (key, value)) in context(need, self.region()).enumerate() {
            let entry = format!("ContextEntries.member.{}", index + 1);
            fields.push((format!("{entry}.ContextKeyName"), key.to_owned()));
            fields.push((format!("{entry}.ContextKeyType"), "string".to_owned()));
            fields.push((format!("{entry}.ContextKeyValues.member.1"), value.to_owned()));
        }
        let mut evaluations = Vec::new();
        loop {
            let page = self.page(&fields).await?;
            evaluations.extend(page.evaluation_results.members);
            match page.marker.filter(|_| page.is_truncated) {
                None => return Ok(evaluations),
                Some(marker) => {
                    fields.retain(|(name, _)| name != "Marker");
                    fields.push(("Marker".to_owned(), marker));
                }
            }
        }
    }

    async fn page(&self, fields: &[(String, String)]) -> Result<Page, AwsError> {
        let request = ServiceRequest::query("SimulatePrincipalPolicy", query::IAM, fields);
        let answer: SimulateResponse = query::read(&self.call(IAM, request, WHAT).await?, WHAT)?;
        Ok(answer.result)
    }
}

/// The condition values of a call, as far as they are known.
fn context<'a>(need: &RequiredActions, region: &'a str) -> impl Iterator<Item = (&'static str, &'a str)> {
    // IAM has no regions.
    let regional = !need.actions.iter().any(|action| action.starts_with("iam:"));
    regional.then_some(("aws:RequestedRegion", region)).into_iter().chain(need.condition)
}

fn no_decision() -> Decision {
    Decision::Unclear("IAM returned no decision".to_owned())
}

#[derive(Deserialize)]
struct SimulateResponse {
    #[serde(rename = "SimulatePrincipalPolicyResult")]
    result: Page,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    evaluation_results: Members<Evaluation>,
    #[serde(default)]
    is_truncated: bool,
    marker: Option<String>,
}

/// The decision for one action. With a resource in the request, some details are only in the resource's
/// results.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Evaluation {
    eval_action_name: String,
    eval_decision: String,
    #[serde(default)]
    missing_context_values: Members<String>,
    organizations_decision_detail: Option<Organization>,
    permissions_boundary_decision_detail: Option<Boundary>,
    #[serde(default)]
    resource_specific_results: Members<ResourceResult>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ResourceResult {
    #[serde(default)]
    missing_context_values: Members<String>,
    permissions_boundary_decision_detail: Option<Boundary>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Organization {
    allowed_by_organizations: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Boundary {
    allowed_by_permissions_boundary: bool,
}

impl Evaluation {
    fn decision(&self) -> Decision {
        let specific = &self.resource_specific_results.members;
        if self.eval_decision == "allowed" {
            return Decision::Allowed;
        }
        if self.organizations_decision_detail.as_ref().is_some_and(|detail| !detail.allowed_by_organizations)
        {
            return Decision::Denied(Reason::Organization);
        }
        let of_resources = specific.iter().map(|one| &one.missing_context_values);
        let keys = of_resources.chain([&self.missing_context_values]).flat_map(|keys| &keys.members);
        let keys: BTreeSet<_> = keys.map(String::as_str).collect();
        if !keys.is_empty() {
            let keys = Vec::from_iter(keys).join(", ");
            return Decision::Unclear(format!(
                "a policy condition depends on {keys}, which only a real call has"
            ));
        }
        if self.eval_decision == "explicitDeny" {
            return Decision::Denied(Reason::Forbidden);
        }
        let of_resources = specific.iter().map(|one| &one.permissions_boundary_decision_detail);
        let mut boundaries = of_resources.chain([&self.permissions_boundary_decision_detail]).flatten();
        let within = boundaries.all(|boundary| boundary.allowed_by_permissions_boundary);
        Decision::Denied(if within { Reason::Missing } else { Reason::Boundary })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ME, SIMULATE, refusal};
    use super::*;
    use crate::tests::fake::Fake;

    fn need(actions: &'static [&'static str]) -> RequiredActions {
        RequiredActions { actions, resource: "*".into(), condition: None }
    }

    fn page(evaluated: &[(&str, &str)], more: &str) -> String {
        let one = |(action, decision): &(&str, &str)| {
            format!(
                "<member><EvalDecision>{decision}</EvalDecision><EvalActionName>{action}</EvalActionName></member>"
            )
        };
        let evaluated: String = evaluated.iter().map(one).collect();
        format!(
            "<SimulatePrincipalPolicyResponse><SimulatePrincipalPolicyResult>{more}<EvaluationResults>{evaluated}\
             </EvaluationResults></SimulatePrincipalPolicyResult></SimulatePrincipalPolicyResponse>"
        )
    }

    #[tokio::test]
    async fn all_pages_of_a_response_are_read() {
        let more = "<IsTruncated>true</IsTruncated><Marker>next&amp;</Marker>";
        let fake = Fake::default().responds(SIMULATE, 200, page(&[("a:A", "allowed")], more)).responds(
            SIMULATE,
            200,
            page(&[("a:B", "implicitDeny")], ""),
        );
        let need = need(&["a:A", "a:B", "a:C"]);
        let decisions = fake.start().await.simulate(ME, &need).await.expect("answered");
        assert_eq!(decisions[0], ("a:A", Decision::Allowed));
        assert_eq!(decisions[1], ("a:B", Decision::Denied(Reason::Missing)));
        assert!(
            matches!(decisions[2], ("a:C", Decision::Unclear(_))),
            "an action without a decision is not allowed"
        );
        assert!(fake.form(SIMULATE).contains(&("Marker".to_owned(), "next&".to_owned())));
    }

    #[tokio::test]
    async fn a_throttled_request_is_repeated_a_few_times() {
        let busy = refusal("Throttling", "Rate exceeded");
        let fake = Fake::default().responds(SIMULATE, 400, &*busy).responds(SIMULATE, 400, &*busy).responds(
            SIMULATE,
            200,
            page(&[("a:A", "allowed")], ""),
        );
        let decisions = fake.start().await.simulate(ME, &need(&["a:A"])).await;
        assert_eq!(decisions.expect("answered"), [("a:A", Decision::Allowed)]);

        let fake = Fake::default().responds(SIMULATE, 400, busy);
        let refused = fake.start().await.simulate(ME, &need(&["a:A"])).await;
        assert!(refused.is_err() && fake.forms(SIMULATE).len() < 10, "{refused:?}");
    }

    #[tokio::test]
    async fn a_rejected_combination_of_actions_is_split() {
        let apart = "Invalid Input Actions: [a:A] and [a:B] require different authorization information.";
        let fake = Fake::default()
            .responds(SIMULATE, 400, refusal("InvalidInput", apart))
            .responds(SIMULATE, 200, page(&[("a:A", "allowed")], ""))
            .responds(SIMULATE, 400, refusal("InvalidInput", "no such action"));
        let need = need(&["a:A", "a:B"]);
        let decisions = fake.start().await.simulate(ME, &need).await.expect("answered");
        assert_eq!(decisions[0], ("a:A", Decision::Allowed));
        assert!(matches!(&decisions[1], ("a:B", Decision::Unclear(why)) if why.contains("no such action")));
    }
}
