//! Findings from a simulation, with remedies.

use std::collections::BTreeSet;

use super::needs::RequiredActions;
use super::simulation::{Decision, Reason};
use crate::doctor::{Finding, Subject};
use crate::error::AwsError;

/// A required action that is not allowed.
#[derive(Clone, Debug)]
pub(super) struct DeniedAction<'a> {
    pub(super) need: &'a RequiredActions,
    pub(super) action: &'static str,
    pub(super) decision: Decision,
}

/// One finding per remedy for the actions that `whom` lacks for `from`.
pub(super) fn denied_findings(whom: &str, from: &str, denied: &[DeniedAction<'_>]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for reason in [Reason::Missing, Reason::Forbidden, Reason::Boundary, Reason::Organization] {
        let decision = Decision::Denied(reason);
        let found: Vec<_> = denied.iter().filter(|one| one.decision == decision).collect();
        if !found.is_empty() {
            let detail = format!("{whom} may not {from}: {}", remedy(reason, &found));
            findings.push(Finding::failed(Subject::Permissions, detail));
        }
    }
    let reasons = denied.iter().filter_map(|one| match &one.decision {
        Decision::Unclear(why) => Some(why),
        _ => None,
    });
    for why in reasons.collect::<BTreeSet<_>>() {
        let decision = Decision::Unclear(why.clone());
        let found: Vec<_> = denied.iter().filter(|one| one.decision == decision).collect();
        let detail = format!("cannot determine whether {whom} may {from}: {why} ({})", actions(&found));
        findings.push(Finding::unknown(Subject::Permissions, detail));
    }
    findings
}

fn remedy(reason: Reason, found: &[&DeniedAction<'_>]) -> String {
    match reason {
        Reason::Missing => format!(
            "no IAM policy allows these actions; attach this policy to the user or role:\n{}",
            policy(found)
        ),
        Reason::Forbidden => format!("remove the Deny in a policy for {}", actions(found)),
        Reason::Boundary => format!("extend the permissions boundary by {}", actions(found)),
        Reason::Organization => format!(
            "the organization's administrator must allow in its service control policies: {}",
            actions(found)
        ),
    }
}

/// The finding if all required actions are allowed; it names the optional actions that are not.
pub(super) fn all_allowed(further: &[DeniedAction<'_>]) -> Finding {
    let denied: Vec<_> = further.iter().filter(|one| matches!(one.decision, Decision::Denied(_))).collect();
    let detail = if denied.is_empty() {
        "you may deploy and destroy".to_owned()
    } else {
        format!("you may deploy and destroy, but not with `--image`, which also needs {}", actions(&denied))
    };
    Finding::passed(Subject::Permissions, detail)
}

/// The finding if the permissions could not be checked.
pub(super) fn not_checked(principal: &str, error: &AwsError) -> Finding {
    let remedy = match error {
        AwsError::Denied { .. } => {
            format!("; allow iam:SimulatePrincipalPolicy on {principal} for this check")
        }
        error if error.code() == Some("NoSuchEntity") => {
            format!("; if {principal} has a path, allow iam:GetRole")
        }
        _ => String::new(),
    };
    Finding::unknown(Subject::Permissions, format!("{error}{remedy}"))
}

fn actions(denied: &[&DeniedAction<'_>]) -> String {
    let names: BTreeSet<_> = denied.iter().map(|one| one.action).collect();
    Vec::from_iter(names).join(", ")
}

/// A policy that allows the missing actions, with one line per statement.
fn policy(missing: &[&DeniedAction<'_>]) -> String {
    let of_one_need = missing.chunk_by(|one, next| one.need == next.need);
    let statements = of_one_need.map(|denied| {
        let actions: Vec<_> = denied.iter().map(|one| one.action).collect();
        format!("    {}", denied[0].need.statement(&actions))
    });
    let statements = Vec::from_iter(statements).join(",\n");
    format!("{{\n  \"Version\": \"2012-10-17\",\n  \"Statement\": [\n{statements}\n  ]\n}}")
}
