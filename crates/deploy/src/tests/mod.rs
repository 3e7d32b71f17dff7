//! Deployment, removal and diagnosis against a fake AWS.

pub(crate) mod fake;

use fake::{Fake, identity};

use crate::{
    Architecture, Aws, AwsError, Deployed, Event, ModelLocation, OutputPaths, Package, Plan, Response,
    Verdict,
};

const NOT_THERE: &str = "Stack with id s does not exist";

fn plan() -> Plan {
    let (model, name) = (ModelLocation::InFunction { folder: false }, "s".parse().expect("a name"));
    Plan { name, model, response: Response::Stream, concurrency: 10, memory: 512 }
}

fn package() -> Package {
    Package { architecture: Architecture::X86_64, zip: b"zip".to_vec(), unzipped: 3 }
}

async fn deploy(aws: &Aws) -> (Result<Deployed, AwsError>, Vec<String>) {
    let mut seen = Vec::new();
    let mut watcher = |event: &Event| seen.push(format!("{} {}", event.resource, event.status));
    let deployed = aws.deploy(&plan(), package(), &identity(), &mut watcher).await;
    (deployed, seen)
}

fn empty_artifacts(fake: Fake) -> Fake {
    let bucket = artifacts();
    fake.responds(&format!("GET {bucket}?versions"), 200, "<ListVersionsResult/>")
}

/// The artifact bucket of the stack `s`.
fn artifacts() -> String {
    "/tintype-code-123456789012-eu-central-1-043a7187".to_owned()
}

#[tokio::test]
async fn a_new_stack_is_created_and_its_events_are_seen_once_the_oldest_first() {
    let fake = empty_artifacts(Fake::default())
        .rejects("DescribeStacks", NOT_THERE)
        .stack("CREATE_IN_PROGRESS")
        .stack("CREATE_COMPLETE")
        .result("CreateStack", "<StackId>arn:stack</StackId>")
        .events(&[("2", "Bucket", "CREATE_IN_PROGRESS", ""), ("1", "s", "CREATE_IN_PROGRESS", "")])
        .events(&[("3", "Bucket", "CREATE_COMPLETE", ""), ("2", "Bucket", "CREATE_IN_PROGRESS", "")])
        .responds(&format!("HEAD {}", artifacts()), 404, "");
    let (deployed, seen) = deploy(&fake.start().await).await;
    let deployed = deployed.expect("deployed");
    assert_eq!((&*deployed.url, &*deployed.bucket, deployed.changed), ("https://a/api", "pictures", true));
    assert_eq!(seen, ["s CREATE_IN_PROGRESS", "Bucket CREATE_IN_PROGRESS", "Bucket CREATE_COMPLETE"]);
    let (calls, bucket) = (fake.calls(), artifacts());
    let at = |what: &str| {
        calls.iter().position(|calls| calls == what).unwrap_or_else(|| panic!("{what}: {calls:?}"))
    };
    let key = format!("PUT {bucket}/{}", package().key());
    assert!(at(&format!("PUT {bucket}")) < at(&format!("PUT {bucket}?publicAccessBlock")));
    assert!(
        at(&format!("PUT {bucket}?publicAccessBlock")) < at(&key),
        "public access is blocked before the upload"
    );
    assert!(at(&key) < at("CreateStack"));
}

#[tokio::test]
async fn a_failed_creation_says_which_resources_failed_and_why() {
    let fake = Fake::default()
        .rejects("DescribeStacks", NOT_THERE)
        .stack("ROLLBACK_COMPLETE")
        .result("CreateStack", "<StackId>arn:stack</StackId>")
        .events(&[
            ("2", "Api", "CREATE_FAILED", "Resource creation cancelled"),
            ("1", "Function", "CREATE_FAILED", "no such quota"),
        ]);
    let (failed, _) = deploy(&fake.start().await).await;
    let Err(AwsError::Stack { status, reasons }) = failed else { panic!("{failed:?}") };
    assert_eq!((&*status, reasons), ("ROLLBACK_COMPLETE", vec!["Function: no such quota".to_owned()]));
}

#[tokio::test]
async fn nothing_to_update_is_success() {
    let fake = empty_artifacts(Fake::default())
        .stack("CREATE_COMPLETE")
        .events(&[("1", "s", "CREATE_COMPLETE", "")])
        .rejects("UpdateStack", "No updates are to be performed.");
    let (deployed, seen) = deploy(&fake.start().await).await;
    assert!(!deployed.expect("deployed").changed);
    assert!(seen.is_empty(), "{seen:?}");
}

#[tokio::test]
async fn an_update_shows_only_its_own_events() {
    let fake = empty_artifacts(Fake::default())
        .stack("CREATE_COMPLETE")
        .stack("UPDATE_COMPLETE")
        .events(&[("1", "s", "CREATE_COMPLETE", "")])
        .events(&[("2", "Function", "UPDATE_COMPLETE", ""), ("1", "s", "CREATE_COMPLETE", "")])
        .result("UpdateStack", "<StackId>arn:stack</StackId>");
    let (deployed, seen) = deploy(&fake.start().await).await;
    assert!(deployed.expect("deployed").changed);
    assert_eq!(seen, ["Function UPDATE_COMPLETE"]);
}

#[tokio::test]
async fn the_operators_parameters_survive_an_update() {
    let fake = empty_artifacts(Fake::default())
        .stack("CREATE_COMPLETE")
        .stack("UPDATE_COMPLETE")
        .events(&[])
        .result("UpdateStack", "<StackId>arn:stack</StackId>");
    deploy(&fake.start().await).await.0.expect("deployed");
    let sent = fake.form("UpdateStack");
    let key = |name: &str| sent.iter().find(|(_, value)| value == name).map(|(key, _)| key.clone());
    let kept = key("KeepPictures").expect("sent").replace("ParameterKey", "UsePreviousValue");
    assert!(sent.contains(&(kept, "true".to_owned())), "{sent:?}");
    assert_eq!(key("LogDays"), None, "this stack was made from a template without it");
    let model = key("Model").expect("sent").replace("ParameterKey", "ParameterValue");
    assert!(sent.contains(&(model, "builtin".to_owned())), "{sent:?}");
}

#[tokio::test]
async fn a_stack_that_cannot_be_updated_is_rejected_before_the_upload() {
    for (status, busy) in [("ROLLBACK_COMPLETE", false), ("UPDATE_IN_PROGRESS", true)] {
        let fake = Fake::default().stack(status);
        let (refused, _) = deploy(&fake.start().await).await;
        match refused {
            Err(AwsError::InProgress(said)) if busy => assert_eq!(said, status),
            Err(AwsError::NotUpdatable(said)) if !busy => assert_eq!(said, status),
            other => panic!("{other:?}"),
        }
        assert_eq!(fake.calls(), ["DescribeStacks"]);
    }
}

#[tokio::test]
async fn a_bucket_of_another_account_is_not_used() {
    let fake = Fake::default().rejects("DescribeStacks", NOT_THERE).responds(
        &format!("HEAD {}", artifacts()),
        403,
        "",
    );
    let (refused, _) = deploy(&fake.start().await).await;
    assert!(matches!(refused, Err(AwsError::Denied { .. })), "{refused:?}");
    assert!(!fake.calls().iter().any(|calls| calls.starts_with("PUT")), "{:?}", fake.calls());
}

pub(crate) const RESOURCES: &str = "<StackResources><member><LogicalResourceId>Bucket</LogicalResourceId>\
    <PhysicalResourceId>pictures</PhysicalResourceId><ResourceType>AWS::S3::Bucket</ResourceType>\
    <ResourceStatus>CREATE_COMPLETE</ResourceStatus></member><member><LogicalResourceId>Role</LogicalResourceId>\
    <PhysicalResourceId>s-Role-1</PhysicalResourceId><ResourceType>AWS::IAM::Role</ResourceType>\
    <ResourceStatus>CREATE_COMPLETE</ResourceStatus></member></StackResources>";
const ONE_OBJECT: &str = "<ListVersionsResult><Version><Key>images/a.png</Key><VersionId>null</VersionId>\
    </Version></ListVersionsResult>";
const NO_OBJECT: &str = "<ListVersionsResult/>";

#[tokio::test]
async fn destroying_empties_the_bucket_again_if_it_was_filled_meanwhile() {
    let fake = empty_artifacts(Fake::default())
        .stack("CREATE_COMPLETE")
        .stack("DELETE_FAILED")
        .stack("DELETE_COMPLETE")
        .events(&[])
        .result("DescribeStackResources", RESOURCES)
        .responds("GET /pictures?versions", 200, ONE_OBJECT)
        .responds("GET /pictures?versions", 200, NO_OBJECT)
        .responds("GET /pictures?versions", 200, ONE_OBJECT)
        .responds("GET /pictures?versions", 200, NO_OBJECT)
        .responds("POST /pictures?delete", 200, "<DeleteResult/>");
    let aws = fake.start().await;
    let resources = aws.resources(&plan().name, &identity()).await.expect("looked");
    assert_eq!(resources.bucket.as_deref(), Some("pictures"));
    aws.destroy(&resources, &identity(), &mut |_| ()).await.expect("destroyed");
    let calls = fake.calls();
    let times = |what: &str| calls.iter().filter(|calls| *calls == what).count();
    assert_eq!((times("POST /pictures?delete"), times("DeleteStack")), (2, 2), "{calls:?}");
    assert_eq!(calls.last(), Some(&format!("DELETE {}", artifacts())), "{calls:?}");
}

#[tokio::test]
async fn a_missing_deployment_has_no_resources() {
    let fake = Fake::default().rejects("DescribeStacks", NOT_THERE).responds(
        &format!("HEAD {}", artifacts()),
        404,
        "",
    );
    let resources = fake.start().await.resources(&plan().name, &identity()).await.expect("looked");
    assert!(resources.is_empty(), "{resources:?}");
}

const DESCRIBE: &str = "SageMaker.DescribeEndpoint";

#[tokio::test]
async fn an_endpoint_is_described() {
    let outputs = r#"{"OutputConfig":{"S3OutputPath":"s3://b/out/"}}"#;
    let fake = Fake::default()
        .responds(DESCRIBE, 200, r#"{"EndpointName":"SD","EndpointStatus":"InService"}"#)
        .responds(
            DESCRIBE,
            200,
            format!(r#"{{"EndpointStatus":"Creating","AsyncInferenceConfig":{outputs}}}"#),
        )
        .responds(
            DESCRIBE,
            400,
            r#"{"__type":"ValidationException","message":"Could not find endpoint \"arn:x\"."}"#,
        )
        .responds(
            DESCRIBE,
            400,
            r#"{"__type":"com.amazon#AccessDeniedException","Message":"User: me is not authorized"}"#,
        );
    let aws = fake.start().await;
    let endpoint = aws.endpoint("sd").await.expect("answered").expect("there");
    assert!(endpoint.in_service() && endpoint.name == "SD" && endpoint.outputs.is_none());
    let endpoint = aws.endpoint("sd").await.expect("answered").expect("there");
    assert!(!endpoint.in_service());
    assert_eq!(endpoint.outputs, Some(OutputPaths { successes: "b/out".into(), failures: "b/out".into() }));
    assert_eq!(aws.endpoint("sd").await.expect("answered"), None);
    assert!(matches!(aws.endpoint("sd").await, Err(AwsError::Denied { .. })));
}

#[tokio::test]
async fn the_doctor_reports_a_remedy_for_each_failure() {
    let fake = Fake::default()
        .result("GetCallerIdentity", "<Arn>arn:aws:iam::1:user/me</Arn><Account>1</Account>")
        .stack("ROLLBACK_COMPLETE")
        .responds(DESCRIBE, 200, r#"{"EndpointStatus":"Failed","FailureReason":"no capacity"}"#)
        .responds("HEAD /pictures", 404, "")
        .result("DescribeStackResources", RESOURCES)
        .judges(|principal, _, _| {
            if principal.ends_with(":user/me") {
                "<EvalDecision>allowed</EvalDecision>"
            } else {
                "<EvalDecision>implicitDeny</EvalDecision>"
            }
        });
    let aws = fake.start().await;
    let findings = aws.examine(&plan().name, Some("sd"), Some("pictures")).await;
    let lines: Vec<_> = findings.iter().map(ToString::to_string).collect();
    let expected = [
        ("ok      region", "eu-central-1"),
        ("ok      clock", "of AWS"),
        ("ok      credentials", "arn:aws:iam::1:user/me"),
        ("FAILED  stack", "tintype destroy"),
        ("FAILED  endpoint", "no capacity"),
        ("FAILED  bucket", "no bucket pictures"),
        ("ok      permissions", "you may deploy and destroy"),
        ("FAILED  permissions", "the function's role s-Role-1"),
    ];
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, (begins, detail)) in lines.iter().zip(expected) {
        assert!(line.starts_with(begins) && line.contains(detail), "{line}");
    }
}

#[tokio::test]
async fn invalid_credentials_stop_the_other_checks() {
    let refusal = "<ErrorResponse><Error><Code>InvalidClientTokenId</Code><Message>no</Message></Error></ErrorResponse>";
    let fake = Fake::default().responds("GetCallerIdentity", 403, refusal);
    let findings = fake.start().await.examine(&plan().name, Some("sd"), None).await;
    let last = findings.last().expect("findings");
    assert_eq!(last.verdict, Verdict::Failed);
    assert!(last.detail.contains("aws configure"), "{last}");
    assert!(!fake.calls().contains(&"DescribeStacks".to_owned()));
}
