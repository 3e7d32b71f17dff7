//! Permission checks against a fake IAM.

use std::collections::BTreeSet;

use serde_json::Value;

use super::*;
use crate::doctor::Verdict;
use crate::plan::{ModelLocation, Plan, Response};
use crate::tests::RESOURCES;
use crate::tests::fake::{Fake, identity};
use crate::{Architecture, Package};

const ALLOWED: &str = "<MissingContextValues/><EvalDecision>allowed</EvalDecision>";
const DENIED: &str = "<MatchedStatements/><MissingContextValues/><EvalDecision>implicitDeny</EvalDecision>";
pub(super) const ME: &str = "arn:aws:iam::123456789012:user/me";
pub(super) const SIMULATE: &str = "SimulatePrincipalPolicy";

fn name() -> StackName {
    "s".parse().expect("a name")
}

async fn look(fake: &Fake, arn: &str) -> Vec<Finding> {
    let who = Identity { arn: arn.to_owned(), ..identity() };
    let aws = fake.start().await;
    let there = aws.stack("s").await.expect("looked");
    aws.permissions(&who, &name(), there.as_ref()).await
}

/// A fake without a stack.
fn bare() -> Fake {
    Fake::default().rejects("DescribeStacks", "Stack with id s does not exist")
}

/// What was asked of IAM: principals, actions and resources.
fn calls(fake: &Fake) -> BTreeSet<(String, String, String)> {
    let all = fake.forms(SIMULATE);
    let of = |form: &[(String, String)], name: &str| {
        let found = form.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    };
    let one = |form: &Vec<(String, String)>| {
        let (principal, resource) = (of(form, "PolicySourceArn"), of(form, "ResourceArns.member.1"));
        let actions = form.iter().filter(|(key, _)| key.starts_with("ActionNames.member."));
        let triple = |(_, action): &(String, String)| (principal.clone(), action.clone(), resource.clone());
        actions.map(triple).collect::<Vec<_>>()
    };
    all.iter().flat_map(one).collect()
}

fn only(findings: Vec<Finding>) -> Finding {
    let [finding] = <[Finding; 1]>::try_from(findings).unwrap_or_else(|all| panic!("{all:#?}"));
    assert_eq!(finding.subject, Subject::Permissions);
    finding
}

#[tokio::test]
async fn an_administrator_passes() {
    let fake = bare().judges(|_, _, _| ALLOWED);
    let finding = only(look(&fake, ME).await);
    assert_eq!((finding.verdict, &*finding.detail), (Verdict::Passed, "you may deploy and destroy"));
    let calls = calls(&fake);
    assert!(calls.iter().all(|(principal, ..)| principal == ME), "{calls:#?}");
    let about = |action: &str, resource: &str| {
        calls.contains(&(ME.to_owned(), action.to_owned(), resource.to_owned()))
    };
    assert!(about(
        "cloudformation:CreateStack",
        "arn:aws:cloudformation:eu-central-1:123456789012:stack/s/example"
    ));
    assert!(about("s3:PutObject", "arn:aws:s3:::tintype-code-123456789012-eu-central-1-043a7187/example"));
    assert!(about("iam:PassRole", "arn:aws:iam::123456789012:role/s-Role-example"));
    assert!(about("logs:DescribeLogGroups", "*"));
}

#[tokio::test]
async fn known_condition_values_are_sent() {
    let fake = bare().judges(|_, _, _| ALLOWED);
    look(&fake, ME).await;
    let forms = fake.forms(SIMULATE);
    let given = |action: &str| {
        let with = |form: &&Vec<(String, String)>| form.iter().any(|(_, value)| value == action);
        let form = forms.iter().find(with).expect("asked");
        let context = form.iter().filter(|(key, _)| key.starts_with("ContextEntries."));
        context.map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>()
    };
    let entry = |key: &str, value: &str| {
        vec![
            format!("ContextEntries.member.1.ContextKeyName={key}"),
            "ContextEntries.member.1.ContextKeyType=string".to_owned(),
            format!("ContextEntries.member.1.ContextKeyValues.member.1={value}"),
        ]
    };
    assert_eq!(given("iam:PassRole"), entry("iam:PassedToService", "lambda.amazonaws.com"));
    assert_eq!(given("lambda:CreateFunction"), entry("aws:RequestedRegion", "eu-central-1"));
}

#[tokio::test]
async fn missing_actions_are_reported_as_a_policy() {
    let fake = bare().judges(|_, action, _| {
        if ["iam:PassRole", "s3:PutBucketTagging"].contains(&action) { DENIED } else { ALLOWED }
    });
    let finding = only(look(&fake, ME).await);
    assert_eq!(finding.verdict, Verdict::Failed);
    let (detail, policy) = finding.detail.split_once('\n').expect("a policy");
    assert!(
        detail.starts_with("you may not deploy and destroy: no IAM policy allows these actions"),
        "{detail}"
    );
    let policy: Value = serde_json::from_str(policy).expect("JSON");
    let statements = policy["Statement"].as_array().expect("statements");
    assert_eq!(statements.len(), 3, "{policy:#}");
    assert_eq!(statements[0]["Action"], serde_json::json!(["s3:PutBucketTagging"]));
    assert_eq!(statements[1]["Resource"], "arn:aws:s3:::s-bucket-*");
    assert_eq!(statements[2]["Condition"]["StringEquals"]["iam:PassedToService"], "lambda.amazonaws.com");
}

/// What each kind of denial looks like in an answer, from the operation's reference.
fn judged_by_all(_: &str, action: &str, _: &str) -> &'static str {
    match action {
        "s3:CreateBucket" => "<EvalDecision>explicitDeny</EvalDecision>",
        "lambda:CreateFunction" => {
            "<PermissionsBoundaryDecisionDetail><AllowedByPermissionsBoundary>false</AllowedByPermissionsBoundary>\
             </PermissionsBoundaryDecisionDetail><EvalDecision>implicitDeny</EvalDecision>"
        }
        "lambda:AddPermission" => {
            "<EvalDecision>implicitDeny</EvalDecision><ResourceSpecificResults><member><EvalResourceName>x\
             </EvalResourceName><PermissionsBoundaryDecisionDetail><AllowedByPermissionsBoundary>false\
             </AllowedByPermissionsBoundary></PermissionsBoundaryDecisionDetail></member></ResourceSpecificResults>"
        }
        "iam:CreateRole" => {
            "<OrganizationsDecisionDetail><AllowedByOrganizations>false</AllowedByOrganizations>\
             </OrganizationsDecisionDetail><EvalDecision>explicitDeny</EvalDecision>"
        }
        "cloudformation:CreateStack" => {
            "<MissingContextValues><member>aws:MultiFactorAuthPresent</member></MissingContextValues>\
             <EvalDecision>explicitDeny</EvalDecision>"
        }
        "cloudformation:DeleteStack" => {
            "<EvalDecision>implicitDeny</EvalDecision><ResourceSpecificResults><member><EvalResourceName>x\
             </EvalResourceName><MissingContextValues><member>aws:MultiFactorAuthPresent</member>\
             </MissingContextValues></member></ResourceSpecificResults>"
        }
        _ => {
            "<OrganizationsDecisionDetail><AllowedByOrganizations>true</AllowedByOrganizations>\
             </OrganizationsDecisionDetail><EvalDecision>allowed</EvalDecision>"
        }
    }
}

#[tokio::test]
async fn each_kind_of_denial_has_its_own_remedy() {
    let findings = look(&bare().judges(judged_by_all), ME).await;
    let found: Vec<_> = findings.iter().map(|one| (one.verdict, &*one.detail)).collect();
    let expected = [
        (Verdict::Failed, "remove the Deny in a policy for s3:CreateBucket"),
        (Verdict::Failed, "extend the permissions boundary by lambda:AddPermission, lambda:CreateFunction"),
        (Verdict::Failed, "in its service control policies: iam:CreateRole"),
        (
            Verdict::Unknown,
            "a policy condition depends on aws:MultiFactorAuthPresent, which only a real call has \
             (cloudformation:CreateStack, cloudformation:DeleteStack)",
        ),
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for ((verdict, detail), (expected, ends)) in found.into_iter().zip(expected) {
        assert!(verdict == expected && detail.ends_with(ends), "{detail}");
    }
}

fn no_sagemaker(_: &str, action: &str, _: &str) -> &'static str {
    if action == "sagemaker:CreateModel" { DENIED } else { ALLOWED }
}

#[tokio::test]
async fn actions_for_an_endpoint_are_required_only_if_the_stack_creates_one() {
    let finding = only(look(&bare().judges(no_sagemaker), ME).await);
    assert_eq!(finding.verdict, Verdict::Passed);
    assert!(
        finding.detail.ends_with("but not with `--image`, which also needs sagemaker:CreateModel"),
        "{finding}"
    );

    let fake = Fake::default()
        .stack_with("CREATE_COMPLETE", &[("Asynchronous", "true")], &[("Endpoint", "Sd-1")])
        .result("DescribeStackResources", RESOURCES)
        .judges(no_sagemaker);
    let findings = look(&fake, ME).await;
    let verdicts: Vec<_> = findings.iter().map(|finding| finding.verdict).collect();
    assert_eq!(verdicts, [Verdict::Failed, Verdict::Passed], "{findings:#?}");
    let calls = calls(&fake);
    let role = "arn:aws:iam::123456789012:role/s-Role-1";
    for (action, resource) in [
        ("sagemaker:InvokeEndpointAsync", "arn:aws:sagemaker:eu-central-1:123456789012:endpoint/sd-1"),
        ("s3:GetObject", "arn:aws:s3:::pictures/async/example"),
        ("s3:PutObject", "arn:aws:s3:::pictures/jobs/example"),
    ] {
        assert!(calls.contains(&(role.to_owned(), action.to_owned(), resource.to_owned())), "{calls:#?}");
    }
}

#[tokio::test]
async fn missing_permissions_of_the_function_name_its_role() {
    let fake = Fake::default()
        .stack_with(
            "UPDATE_COMPLETE",
            &[
                ("EndpointName", "Sd"),
                ("Asynchronous", "true"),
                ("AnswersAt", "b/out"),
                ("FailuresAt", "b/bad"),
            ],
            &[],
        )
        .result("DescribeStackResources", RESOURCES)
        .judges(|_, _, resource| if resource == "arn:aws:s3:::b/bad/example" { DENIED } else { ALLOWED });
    let findings = look(&fake, ME).await;
    let [ours, functions] = &*findings else { panic!("{findings:#?}") };
    assert_eq!((ours.verdict, functions.verdict), (Verdict::Passed, Verdict::Failed));
    assert!(functions.detail.starts_with("the function's role s-Role-1 may not"), "{functions}");
    assert!(functions.detail.contains("arn:aws:s3:::b/bad/*"), "{functions}");
    let invoked = calls(&fake).into_iter().find(|(_, action, _)| action == "sagemaker:InvokeEndpointAsync");
    assert!(invoked.expect("asked").2.ends_with(":endpoint/sd"));
}

#[tokio::test]
async fn a_deleted_role_fails() {
    let fake = Fake::default().stack("UPDATE_COMPLETE").result("DescribeStackResources", RESOURCES).responds(
        SIMULATE,
        404,
        refusal("NoSuchEntity", "there is none"),
    );
    let findings = look(&fake, "arn:aws:iam::123456789012:root").await;
    assert_eq!(findings[1].verdict, Verdict::Failed);
    assert!(findings[1].detail.contains("s-Role-1 was deleted"), "{findings:#?}");
}

const SESSION: &str = "arn:aws:sts::123456789012:assumed-role/Deployer/me@example.com";

#[tokio::test]
async fn a_session_is_simulated_as_its_role() {
    let arn = "arn:aws:iam::123456789012:role/aws-reserved/sso.amazonaws.com/Deployer";
    let role =
        format!("<Role><Path>/aws-reserved/</Path><RoleName>Deployer</RoleName><Arn>{arn}</Arn></Role>");
    let fake = bare().result("GetRole", &role).judges(|_, _, _| ALLOWED);
    assert_eq!(only(look(&fake, SESSION).await).verdict, Verdict::Passed);
    assert!(fake.form("GetRole").contains(&("RoleName".to_owned(), "Deployer".to_owned())));
    assert!(calls(&fake).iter().all(|(principal, ..)| principal == arn));
}

#[tokio::test]
async fn without_get_role_the_role_is_assumed_to_have_no_path() {
    let fake = bare().responds("GetRole", 403, refusal("AccessDenied", "no")).judges(|_, _, _| ALLOWED);
    assert_eq!(only(look(&fake, SESSION).await).verdict, Verdict::Passed);
    let calls = calls(&fake);
    assert!(calls.iter().all(|(principal, ..)| principal == "arn:aws:iam::123456789012:role/Deployer"));

    let fake = bare().responds("GetRole", 403, refusal("AccessDenied", "no")).responds(
        SIMULATE,
        404,
        refusal("NoSuchEntity", "there is none"),
    );
    let finding = only(look(&fake, SESSION).await);
    assert_eq!(finding.verdict, Verdict::Unknown);
    assert!(finding.detail.contains("iam:GetRole"), "{finding}");
}

pub(super) fn refusal(code: &str, message: &str) -> String {
    let error = format!("<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>");
    format!("<ErrorResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\">{error}</ErrorResponse>")
}

#[tokio::test]
async fn other_identities_are_not_simulated() {
    for (arn, verdict) in [
        ("arn:aws:iam::123456789012:root", Verdict::Passed),
        ("arn:aws:sts::123456789012:federated-user/me", Verdict::Unknown),
    ] {
        let fake = bare();
        assert_eq!(only(look(&fake, arn).await).verdict, verdict, "{arn}");
        assert!(fake.forms(SIMULATE).is_empty(), "{arn}");
    }
}

#[tokio::test]
async fn a_missing_simulation_permission_is_named() {
    let fake = bare().responds(SIMULATE, 403, refusal("AccessDenied", "User: me is not authorized"));
    let finding = only(look(&fake, ME).await);
    assert_eq!(finding.verdict, Verdict::Unknown);
    assert!(
        finding.detail.contains("iam:SimulatePrincipalPolicy") && finding.detail.contains(ME),
        "{finding}"
    );
    assert_eq!(fake.forms(SIMULATE).len(), 1, "one rejection is enough");
}

/// The action that a call of CloudFormation's or S3's takes, by the name that the fake gives it.
fn permission(call: &str) -> Option<String> {
    let (method, target) = call.split_once(' ').unwrap_or(("", call));
    let object = target.trim_start_matches('/').contains('/');
    Some(match (method, target.split_once('?').map(|(_, query)| query), object) {
        ("", ..) => format!("cloudformation:{call}"),
        ("GET", Some("versions"), _) => "s3:ListBucketVersions".to_owned(),
        ("PUT", Some("publicAccessBlock"), _) => "s3:PutBucketPublicAccessBlock".to_owned(),
        ("PUT", Some("tagging"), _) => "s3:PutBucketTagging".to_owned(),
        ("POST", Some("delete"), _) => "s3:DeleteObjectVersion".to_owned(),
        ("HEAD", None, false) => "s3:ListBucket".to_owned(),
        ("PUT", None, false) => "s3:CreateBucket".to_owned(),
        ("PUT", None, true) => "s3:PutObject".to_owned(),
        ("DELETE", None, false) => "s3:DeleteBucket".to_owned(),
        _ => return None,
    })
}

#[tokio::test]
async fn every_call_is_among_the_required_actions() {
    let artifacts = "/tintype-code-123456789012-eu-central-1-043a7187";
    let object =
        "<ListVersionsResult><Version><Key>a</Key><VersionId>null</VersionId></Version></ListVersionsResult>";
    let fake = bare()
        .stack("CREATE_COMPLETE")
        .stack("UPDATE_COMPLETE")
        .stack("UPDATE_COMPLETE")
        .stack("DELETE_COMPLETE")
        .result("CreateStack", "<StackId>arn:stack</StackId>")
        .result("UpdateStack", "<StackId>arn:stack</StackId>")
        .result("DescribeStackResources", RESOURCES)
        .events(&[])
        .responds(&format!("HEAD {artifacts}"), 404, "")
        .responds(&format!("HEAD {artifacts}"), 200, "")
        .responds(&format!("GET {artifacts}?versions"), 200, object)
        .responds(&format!("GET {artifacts}?versions"), 200, "<ListVersionsResult/>")
        .responds("GET /pictures?versions", 200, "<ListVersionsResult/>")
        .responds(&format!("POST {artifacts}?delete"), 200, "<DeleteResult/>");
    let (aws, model) = (fake.start().await, ModelLocation::InFunction { folder: false });
    let plan = Plan { name: name(), model, response: Response::Stream, concurrency: 10, memory: 512 };
    for _ in ["a new one", "the same again"] {
        let package = Package { architecture: Architecture::X86_64, zip: b"zip".to_vec(), unzipped: 3 };
        aws.deploy(&plan, package, &identity(), &mut |_| ()).await.expect("deployed");
    }
    let resources = aws.resources(&plan.name, &identity()).await.expect("looked");
    aws.destroy(&resources, &identity(), &mut |_| ()).await.expect("destroyed");

    let needs = ResourceNames::new("aws", "eu-central-1", "123456789012", &plan.name).always();
    let needed: BTreeSet<_> = needs.iter().flat_map(|need| need.actions).copied().collect();
    let called: BTreeSet<_> =
        fake.calls().iter().map(|call| permission(call).unwrap_or_else(|| panic!("{call}"))).collect();
    for action in ["cloudformation:UpdateStack", "s3:CreateBucket", "s3:DeleteObjectVersion"] {
        assert!(called.contains(action), "{called:?}");
    }
    let forgotten: Vec<_> = called.iter().filter(|action| !needed.contains(action.as_str())).collect();
    assert!(forgotten.is_empty(), "{forgotten:?}");
}
