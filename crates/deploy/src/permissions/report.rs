//! What the simulation found, in words and with a way out.

use std::collections::BTreeSet;

use super::needs::Need;
use super::simulation::{Decision, Reason};
use crate::doctor::{Finding, Subject};
use crate::error::AwsError;

/// Something that is needed and not allowed.
#[derive(Clone, Debug)]
pub(super) struct Obstacle<'a> {
    pub(super) need: &'a Need,
    pub(super) action: &'static str,
    pub(super) decision: Decision,
}

/// Whom it keeps from what, with a finding for each way out.
pub(super) fn in_the_way(whom: &str, from: &str, obstacles: &[Obstacle<'_>]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for reason in [Reason::Missing, Reason::Forbidden, Reason::Boundary, Reason::Organization] {
        let decision = Decision::Denied(reason);
        let found: Vec<_> = obstacles.iter().filter(|one| one.decision == decision).collect();
        if !found.is_empty() {
            let says = format!("{whom} may not {from}: {}", way_out(reason, &found));
            findings.push(Finding::bad(Subject::Permissions, says));
        }
    }
    let reasons = obstacles.iter().filter_map(|one| match &one.decision {
        Decision::Unclear(why) => Some(why),
        _ => None,
    });
    for why in reasons.collect::<BTreeSet<_>>() {
        let decision = Decision::Unclear(why.clone());
        let found: Vec<_> = obstacles.iter().filter(|one| one.decision == decision).collect();
        let says = format!("whether {whom} may {from} is not clear: {why} ({})", actions(&found));
        findings.push(Finding::unknown(Subject::Permissions, says));
    }
    findings
}

fn way_out(reason: Reason, found: &[&Obstacle<'_>]) -> String {
    match reason {
        Reason::Missing => format!("no policy allows this, which can be attached as one:\n{}", policy(found)),
        Reason::Forbidden => format!("a policy has a Deny, which must go, for {}", actions(found)),
        Reason::Boundary => format!("the permissions boundary must be widened by {}", actions(found)),
        Reason::Organization => format!(
            "whoever administers the organization must allow, in its service control policies, {}",
            actions(found)
        ),
    }
}

/// We may deploy, and what else we may not.
pub(super) fn nothing_in_the_way(further: &[Obstacle<'_>]) -> Finding {
    let denied: Vec<_> = further.iter().filter(|one| matches!(one.decision, Decision::Denied(_))).collect();
    let says = if denied.is_empty() {
        "you may deploy and destroy".to_owned()
    } else {
        format!("you may deploy and destroy, but not with --image, which needs {} besides", actions(&denied))
    };
    Finding::good(Subject::Permissions, says)
}

/// We could not look.
pub(super) fn not_seen(principal: &str, error: &AwsError) -> Finding {
    let way_out = match error {
        AwsError::Denied { .. } => {
            format!("; with iam:SimulatePrincipalPolicy on {principal} it can be looked at")
        }
        error if error.code() == Some("NoSuchEntity") => {
            format!("; if {principal} has a path, it takes iam:GetRole to find it")
        }
        _ => String::new(),
    };
    Finding::unknown(Subject::Permissions, format!("{error}{way_out}"))
}

fn actions(obstacles: &[&Obstacle<'_>]) -> String {
    let names: BTreeSet<_> = obstacles.iter().map(|one| one.action).collect();
    Vec::from_iter(names).join(", ")
}

/// A policy that allows what is missing, with a line for each statement.
fn policy(missing: &[&Obstacle<'_>]) -> String {
    let of_one_need = missing.chunk_by(|one, next| one.need == next.need);
    let statements = of_one_need.map(|obstacles| {
        let actions: Vec<_> = obstacles.iter().map(|one| one.action).collect();
        format!("    {}", obstacles[0].need.statement(&actions))
    });
    let statements = Vec::from_iter(statements).join(",\n");
    format!("{{\n  \"Version\": \"2012-10-17\",\n  \"Statement\": [\n{statements}\n  ]\n}}")
}
